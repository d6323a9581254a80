//! Runs a syntax tree: statements, scopes and limits.

mod calls;
mod expressions;
mod loops;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::ast::{Expr, Node, Stmt, Target};
use super::display::check_text;
use super::error::{Result, fail, unsupported};
use super::value::{Function, Macro, Scope, Value};

/// Maximum number of steps of one rendering; a conversation takes thousands. Stops endless templates.
const MAX_STEPS: usize = 20_000_000;
/// Maximum nesting of statements, expressions and calls while rendering.
const MAX_DEPTH: usize = 160;

#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

pub(crate) struct Interpreter<'t> {
    /// The date that `strftime_now` writes.
    pub(super) now: &'t jiff::Zoned,
    steps: usize,
    depth: usize,
    /// Scopes that macros and loops refer to and that may refer back: emptied at the end to break the cycles.
    captured: Vec<Rc<Scope>>,
}

impl<'t> Interpreter<'t> {
    /// Renders `nodes` with the names in `values`.
    pub(crate) fn render(nodes: &[Node], values: HashMap<String, Value>, now: &'t jiff::Zoned) -> Result<String> {
        let mut interpreter = Interpreter { now, steps: 0, depth: 0, captured: Vec::new() };
        // Names that the template sets hide the given ones, as module variables hide the context.
        let scope = Scope::within(&Scope::new(values));
        let mut out = String::new();
        let rendered = interpreter.body(nodes, &scope, &mut out);
        for scope in interpreter.captured.drain(..).chain([scope]) {
            let values = scope.values.take();
            drop(values);
        }
        rendered.map(|_| out)
    }

    fn step(&mut self, cost: usize) -> Result<()> {
        self.steps = self.steps.saturating_add(cost);
        if self.steps > MAX_STEPS { fail(format!("the template takes more than {MAX_STEPS} steps")) } else { Ok(()) }
    }

    fn nested<T>(&mut self, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.step(1)?;
        if self.depth >= MAX_DEPTH {
            return fail(format!("the template nests calls and expressions deeper than {MAX_DEPTH} levels"));
        }
        self.depth += 1;
        let result = run(self);
        self.depth -= 1;
        result
    }

    fn emit(&mut self, out: &mut String, text: &str) -> Result<()> {
        check_text(out.len() + text.len())?;
        self.step(1 + text.len() / 64)?;
        out.push_str(text);
        Ok(())
    }

    fn body(&mut self, nodes: &[Node], scope: &Rc<Scope>, out: &mut String) -> Result<Flow> {
        for node in nodes {
            let flow = match &node.stmt {
                Stmt::Data(text) => self.emit(out, text).map(|()| Flow::Next),
                stmt => self.nested(|this| this.statement(stmt, scope, out)),
            };
            match flow.map_err(|error| error.or_line(node.line))? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    /// Renders a body to a value.
    fn captured_body(&mut self, nodes: &[Node], scope: &Rc<Scope>) -> Result<(Flow, Value)> {
        let mut text = String::new();
        let flow = self.body(nodes, &Scope::within(scope), &mut text)?;
        Ok((flow, Value::str(text)))
    }

    fn statement(&mut self, stmt: &Stmt, scope: &Rc<Scope>, out: &mut String) -> Result<Flow> {
        match stmt {
            Stmt::Data(text) => self.emit(out, text)?,
            Stmt::Output(expr) => {
                let text = self.eval(expr, scope)?.to_text()?;
                self.emit(out, &text)?;
            }
            Stmt::If(branches, otherwise) => {
                for (condition, body) in branches {
                    if self.eval(condition, scope)?.truth() {
                        return self.body(body, scope, out);
                    }
                }
                return self.body(otherwise, scope, out);
            }
            Stmt::For(node) => self.for_statement(node, scope, out)?,
            Stmt::Set(target, expr) => {
                let value = self.eval(expr, scope)?;
                self.assign(target, value, scope)?;
            }
            Stmt::SetBlock(target, filter, body) => return self.set_block(target, filter.as_ref(), body, scope),
            Stmt::With(values, body) => return self.with_statement(values, body, scope, out),
            Stmt::Filter(filter, body) => {
                let (flow, text) = self.captured_body(body, scope)?;
                let text = self.filter_chain(filter, text, scope)?.to_text()?;
                self.emit(out, &text)?;
                return Ok(flow);
            }
            Stmt::Macro(def) => {
                let found = self.capture(def, scope);
                scope.set(&def.name, found);
            }
            Stmt::Call(def, call) => {
                let caller = self.capture(def, scope);
                let text = self.call_with_caller(call, caller, scope)?.to_text()?;
                self.emit(out, &text)?;
            }
            Stmt::Generation(body) => return self.body(body, &Scope::within(scope), out),
            Stmt::Break => return Ok(Flow::Break),
            Stmt::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn capture(&mut self, def: &Arc<super::ast::MacroDef>, scope: &Rc<Scope>) -> Value {
        self.captured.push(Rc::clone(scope));
        Value::Function(Function::Macro(Rc::new(Macro { def: Arc::clone(def), scope: Rc::clone(scope) })))
    }

    fn set_block(&mut self, target: &Target, filter: Option<&Expr>, body: &[Node], scope: &Rc<Scope>) -> Result<Flow> {
        let (flow, mut value) = self.captured_body(body, scope)?;
        if flow == Flow::Next {
            if let Some(filter) = filter {
                value = self.filter_chain(filter, value, scope)?;
            }
            self.assign(target, value, scope)?;
        }
        Ok(flow)
    }

    fn with_statement(
        &mut self,
        values: &[(Target, Expr)],
        body: &[Node],
        scope: &Rc<Scope>,
        out: &mut String,
    ) -> Result<Flow> {
        let inner = Scope::within(scope);
        for (target, expr) in values {
            let value = self.eval(expr, scope)?;
            self.assign(target, value, &inner)?;
        }
        self.body(body, &inner, out)
    }

    fn assign(&mut self, target: &Target, value: Value, scope: &Rc<Scope>) -> Result<()> {
        match target {
            Target::Name(name) => scope.set(name, value),
            Target::Attr(name, attribute) => {
                let Some(Value::Namespace(values)) = scope.get(name) else {
                    return fail("cannot assign attribute on non-namespace object");
                };
                store(&values, attribute, value)?;
            }
            Target::Tuple(targets) => {
                let values = value.iterate()?;
                if values.len() != targets.len() {
                    return fail(format!("cannot unpack {} values into {} names", values.len(), targets.len()));
                }
                for (target, value) in targets.iter().zip(values) {
                    self.assign(target, value, scope)?;
                }
            }
        }
        Ok(())
    }
}

/// Sets an attribute of a namespace.
pub(super) fn store(values: &RefCell<Vec<(String, Value)>>, name: &str, value: Value) -> Result<()> {
    if name.starts_with('_') {
        return fail(format!("a namespace cannot store the attribute '{name}', which begins with an underscore"));
    }
    if matches!(value, Value::Namespace(_) | Value::Function(Function::Cycler(_))) {
        return unsupported(format!("a {} within a namespace", value.type_name()));
    }
    let mut values = values.borrow_mut();
    match values.iter_mut().find(|(found, _)| found == name) {
        Some((_, found)) => *found = value,
        None => values.push((name.to_string(), value)),
    }
    Ok(())
}
