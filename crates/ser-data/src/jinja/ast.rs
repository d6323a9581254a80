//! The syntax tree of a template.

use std::sync::Arc;

#[derive(Debug)]
pub(crate) enum Expr {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Str(String),
    Name(String),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Dict(Vec<(Expr, Expr)>),
    /// `a.b`
    Attr(Box<Expr>, String),
    /// `a[b]`
    Item(Box<Expr>, Box<Expr>),
    /// `a[start:stop:step]`
    Slice(Box<Expr>, [Option<Box<Expr>>; 3]),
    Call(Box<Expr>, CallArgs),
    /// A filter; without a value in `{% filter %}` and `{% set x | f %}`, where the value is the body.
    Filter(Option<Box<Expr>>, String, CallArgs),
    Test(Box<Expr>, String, CallArgs),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    /// `value if condition else other`
    If(Box<Expr>, Box<Expr>, Option<Box<Expr>>),
    Compare(Box<Expr>, Vec<(Comparison, Expr)>),
    Binary(Operator, Box<Expr>, Box<Expr>),
    Concat(Vec<Expr>),
    Negative(Box<Expr>),
    Positive(Box<Expr>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    NotIn,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Operator {
    Add,
    Sub,
    Mul,
    Div,
    FloorDiv,
    Mod,
    Pow,
}

#[derive(Debug, Default)]
pub(crate) struct CallArgs {
    pub(crate) positional: Vec<Expr>,
    pub(crate) named: Vec<(String, Expr)>,
    /// `*args`
    pub(crate) list: Option<Box<Expr>>,
    /// `**kwargs`
    pub(crate) dict: Option<Box<Expr>>,
}

/// Targets of assignments.
#[derive(Debug)]
pub(crate) enum Target {
    Name(String),
    /// `namespace.attribute`
    Attr(String, String),
    Tuple(Vec<Target>),
}

/// A statement with its first line.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) stmt: Stmt,
}

#[derive(Debug)]
pub(crate) enum Stmt {
    Data(String),
    Output(Expr),
    /// Conditions with their bodies, then the body of `else`.
    If(Vec<(Expr, Vec<Node>)>, Vec<Node>),
    For(Arc<For>),
    Set(Target, Expr),
    /// `{% set x %}…{% endset %}`, with the filters to apply.
    SetBlock(Target, Option<Expr>, Vec<Node>),
    With(Vec<(Target, Expr)>, Vec<Node>),
    Filter(Expr, Vec<Node>),
    Macro(Arc<MacroDef>),
    /// `{% call(args) f() %}…{% endcall %}`
    Call(Arc<MacroDef>, Expr),
    /// `{% generation %}…{% endgeneration %}` of transformers: marks the assistant's text and renders its body.
    Generation(Vec<Node>),
    Break,
    Continue,
}

#[derive(Debug)]
pub(crate) struct For {
    pub(crate) target: Target,
    pub(crate) iter: Expr,
    pub(crate) test: Option<Expr>,
    pub(crate) body: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
    pub(crate) recursive: bool,
}

/// A macro, or the body of a `call` block.
#[derive(Debug)]
pub(crate) struct MacroDef {
    pub(crate) name: String,
    pub(crate) params: Vec<String>,
    /// Defaults of the last parameters.
    pub(crate) defaults: Vec<Expr>,
    pub(crate) body: Vec<Node>,
    /// Whether the body mentions `caller`, `kwargs` or `varargs`, and so accepts them.
    pub(crate) caller: bool,
    pub(crate) kwargs: bool,
    pub(crate) varargs: bool,
}
