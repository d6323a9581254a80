//! Statements: the contents of `{%` and `%}`.

use std::sync::Arc;

use super::Parser;
use crate::jinja::ast::{Expr, For, MacroDef, Node, Stmt, Target};
use crate::jinja::error::Result;
use crate::jinja::lexer::Token;

impl Parser {
    /// Nodes up to a block that begins with one of `ends`, which is then the current token; all nodes if empty.
    pub(super) fn body(&mut self, ends: &[&str]) -> Result<Vec<Node>> {
        let mut nodes = Vec::new();
        loop {
            let line = self.line();
            let stmt = match self.next() {
                Token::Data(text) => Stmt::Data(text),
                Token::VariableBegin => {
                    let value = self.tuple(true, &[], false)?;
                    self.expect_end(Token::VariableEnd)?;
                    Stmt::Output(value)
                }
                Token::BlockBegin => {
                    if ends.iter().any(|end| self.is_name(end)) {
                        return Ok(nodes);
                    }
                    let stmt = self.nested(Parser::statement)?;
                    self.expect_end(Token::BlockEnd)?;
                    stmt
                }
                Token::End if ends.is_empty() => return Ok(nodes),
                _ => {
                    self.position -= 1;
                    let wanted: Vec<String> = ends.iter().map(|end| format!("'{end}'")).collect();
                    return self.unexpected(&wanted.join(" or "));
                }
            };
            nodes.push(Node { line, stmt });
        }
    }

    fn expect_end(&mut self, end: Token) -> Result<()> {
        if *self.peek() != end {
            return self.unexpected("the end of the tag");
        }
        self.position += 1;
        Ok(())
    }

    /// The body of a statement, from the end of its tag.
    fn statements(&mut self, ends: &[&str]) -> Result<Vec<Node>> {
        self.skip_op(":");
        self.expect_end(Token::BlockEnd)?;
        self.body(ends)
    }

    /// [`statements`](Self::statements) with a single end, which is consumed too.
    fn block(&mut self, end: &str) -> Result<Vec<Node>> {
        let body = self.statements(&[end])?;
        self.position += 1;
        Ok(body)
    }

    fn statement(&mut self) -> Result<Stmt> {
        let line = self.line();
        let keyword = self.expect_name()?;
        match keyword.as_str() {
            "if" => self.if_statement(),
            "for" => self.for_statement(),
            "set" => self.set_statement(),
            "with" => self.with_statement(),
            "macro" => self.macro_statement(),
            "call" => self.call_statement(line),
            "filter" => {
                let filter = self.filter_chain(None)?;
                Ok(Stmt::Filter(filter, self.block("endfilter")?))
            }
            "generation" => {
                let body = self.function_body("endgeneration")?;
                Ok(Stmt::Generation(body))
            }
            "break" | "continue" if self.loops == 0 => self.fail(format!("'{keyword}' stands outside of a loop")),
            "break" => Ok(Stmt::Break),
            "continue" => Ok(Stmt::Continue),
            "print" | "block" | "extends" | "include" | "import" | "from" | "autoescape" => {
                self.fail(format!("the tag '{keyword}' is not supported in chat templates here"))
            }
            _ => self.fail(format!("unknown tag '{keyword}'")),
        }
    }

    fn if_statement(&mut self) -> Result<Stmt> {
        let mut branches = Vec::new();
        loop {
            let condition = self.tuple(false, &[], false)?;
            branches.push((condition, self.statements(&["elif", "else", "endif"])?));
            match self.expect_name()?.as_str() {
                "elif" => {}
                "else" => return Ok(Stmt::If(branches, self.block("endif")?)),
                _ => return Ok(Stmt::If(branches, Vec::new())),
            }
        }
    }

    fn for_statement(&mut self) -> Result<Stmt> {
        let target = self.target(false, &["in"])?;
        if names_of(&target).contains(&"loop") {
            return self.fail("a for-loop cannot assign to 'loop'");
        }
        if !self.skip_name("in") {
            return self.unexpected("'in'");
        }
        let iter = self.tuple(false, &["recursive"], false)?;
        let test = if self.skip_name("if") { Some(self.expression()?) } else { None };
        let recursive = self.skip_name("recursive");
        // The body of a recursive loop is a function.
        let outside = self.loops;
        self.loops += 1;
        let body = self.statements(&["endfor", "else"]);
        self.loops = outside;
        let body = body?;
        let otherwise = if self.expect_name()? == "else" { self.block("endfor")? } else { Vec::new() };
        Ok(Stmt::For(Arc::new(For { target, iter, test, body, otherwise, recursive })))
    }

    fn set_statement(&mut self) -> Result<Stmt> {
        let target = self.target(true, &[])?;
        if self.skip_op("=") {
            return Ok(Stmt::Set(target, self.tuple(true, &[], false)?));
        }
        let filter = if self.skip_op("|") { Some(self.filter_chain(None)?) } else { None };
        Ok(Stmt::SetBlock(target, filter, self.block("endset")?))
    }

    fn with_statement(&mut self) -> Result<Stmt> {
        let mut values = Vec::new();
        while *self.peek() != Token::BlockEnd {
            if !values.is_empty() {
                self.expect_op(",")?;
            }
            let target = self.target(false, &[])?;
            self.expect_op("=")?;
            values.push((target, self.expression()?));
        }
        Ok(Stmt::With(values, self.block("endwith")?))
    }

    /// `a(…) | b(…)`, after `filter` or the first `|`.
    fn filter_chain(&mut self, value: Option<Box<Expr>>) -> Result<Expr> {
        let mut filter = self.filter(value)?;
        while self.skip_op("|") {
            filter = self.filter(Some(Box::new(filter)))?;
        }
        Ok(filter)
    }

    /// A body that Jinja2 compiles to a function: it cannot break out of an outer loop.
    fn function_body(&mut self, end: &str) -> Result<Vec<Node>> {
        let outside = std::mem::take(&mut self.loops);
        let body = self.block(end);
        self.loops = outside;
        body
    }

    fn macro_statement(&mut self) -> Result<Stmt> {
        let name = self.expect_name()?;
        let (params, defaults) = self.signature()?;
        self.macro_def(name, params, defaults, "endmacro").map(Stmt::Macro)
    }

    fn call_statement(&mut self, line: usize) -> Result<Stmt> {
        let (params, defaults) = if self.is_op("(") { self.signature()? } else { (Vec::new(), Vec::new()) };
        let call = self.expression()?;
        if !matches!(call, Expr::Call(..)) {
            return Err(crate::jinja::error::TemplateError::at(line, "a call block needs a call"));
        }
        let body = self.macro_def("caller".to_string(), params, defaults, "endcall")?;
        Ok(Stmt::Call(body, call))
    }

    fn macro_def(
        &mut self,
        name: String,
        params: Vec<String>,
        defaults: Vec<Expr>,
        end: &str,
    ) -> Result<Arc<MacroDef>> {
        let before = self.names.len();
        let body = self.function_body(end)?;
        let mentions = |name: &str| {
            let read = self.names.get(before..).unwrap_or_default().iter().any(|found| found == name);
            read && !params.iter().any(|param| param == name)
        };
        let (caller, kwargs, varargs) = (mentions("caller"), mentions("kwargs"), mentions("varargs"));
        Ok(Arc::new(MacroDef { name, params, defaults, body, caller, kwargs, varargs }))
    }

    fn signature(&mut self) -> Result<(Vec<String>, Vec<Expr>)> {
        let (mut params, mut defaults) = (Vec::new(), Vec::new());
        self.expect_op("(")?;
        while !self.is_op(")") {
            if !params.is_empty() {
                self.expect_op(",")?;
            }
            params.push(self.expect_name()?);
            if self.skip_op("=") {
                defaults.push(self.expression()?);
            } else if !defaults.is_empty() {
                return self.fail("a parameter without a default cannot follow one with a default");
            }
        }
        self.expect_op(")")?;
        Ok((params, defaults))
    }

    fn target(&mut self, with_attribute: bool, ends: &[&str]) -> Result<Target> {
        let mut targets = Vec::new();
        let mut is_tuple = false;
        loop {
            if !targets.is_empty() {
                self.expect_op(",")?;
            }
            if matches!(self.peek(), Token::Name(name) if ends.contains(&name.as_str())) || self.is_op("=") {
                break;
            }
            targets.push(self.single_target(with_attribute)?);
            if !self.is_op(",") {
                break;
            }
            is_tuple = true;
        }
        match targets.pop() {
            Some(only) if !is_tuple => Ok(only),
            Some(last) => {
                targets.push(last);
                Ok(Target::Tuple(targets))
            }
            None => self.unexpected("a name to assign to"),
        }
    }

    fn single_target(&mut self, with_attribute: bool) -> Result<Target> {
        if self.skip_op("(") {
            let target = self.nested(|parser| parser.target(false, &[]))?;
            self.expect_op(")")?;
            return Ok(target);
        }
        let name = self.expect_name()?;
        if matches!(name.as_str(), "true" | "false" | "none" | "True" | "False" | "None") {
            return self.fail(format!("cannot assign to '{name}'"));
        }
        if with_attribute && self.skip_op(".") {
            let attribute = self.expect_name()?;
            self.names.push(name.clone());
            return Ok(Target::Attr(name, attribute));
        }
        Ok(Target::Name(name))
    }
}

fn names_of(target: &Target) -> Vec<&str> {
    match target {
        Target::Name(name) => vec![name],
        Target::Attr(..) => Vec::new(),
        Target::Tuple(targets) => targets.iter().flat_map(names_of).collect(),
    }
}
