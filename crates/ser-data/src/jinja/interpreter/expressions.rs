//! Expressions.

use std::cmp::Ordering;
use std::rc::Rc;

use super::Interpreter;
use crate::jinja::arithmetic::{binary, negative, positive};
use crate::jinja::ast::{CallArgs, Comparison, Expr};
use crate::jinja::calls::Args;
use crate::jinja::display::check_text;
use crate::jinja::error::{Result, fail, unsupported};
use crate::jinja::value::{Dict, Function, Scope, Value};
use crate::jinja::{filters, globals, predicates};

impl Interpreter<'_> {
    pub(super) fn eval(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        self.nested(|this| this.eval_here(expr, scope))
    }

    fn eval_here(&mut self, expr: &Expr, scope: &Rc<Scope>) -> Result<Value> {
        match expr {
            Expr::None => Ok(Value::None),
            Expr::Bool(value) => Ok(Value::Bool(*value)),
            Expr::Int(value) => Ok(Value::Int(*value)),
            Expr::Float(value) => Ok(Value::Float(*value)),
            Expr::Str(text) => Ok(Value::str(text)),
            Expr::Name(name) => lookup(name, scope),
            Expr::List(items) => Value::list(self.eval_all(items, scope)?),
            Expr::Tuple(items) => Value::tuple(self.eval_all(items, scope)?),
            Expr::Dict(entries) => self.dict(entries, scope),
            Expr::Attr(value, name) => {
                let value = self.eval(value, scope)?;
                match &value {
                    Value::Loop(state) => self.loop_attribute(state, name),
                    _ => value.attribute(name),
                }
            }
            Expr::Item(value, index) => {
                let value = self.eval(value, scope)?;
                let index = self.eval(index, scope)?;
                match (&value, &index) {
                    (Value::Loop(state), Value::Str(name)) => self.loop_attribute(state, name),
                    _ => value.item(&index),
                }
            }
            Expr::Slice(value, bounds) => self.slice(value, bounds, scope),
            Expr::Call(callee, args) => {
                let callee = self.eval(callee, scope)?;
                let args = self.args(args, scope)?;
                self.call(&callee, args)
            }
            Expr::Filter(Some(value), name, args) => {
                let value = self.eval(value, scope)?;
                let args = self.args(args, scope)?;
                self.filter(name, value, args)
            }
            Expr::Filter(None, name, _) => fail(format!("the filter '{name}' has no value")),
            Expr::Test(value, name, args) => {
                let value = self.eval(value, scope)?;
                let args = self.args(args, scope)?;
                predicates::test(name, &value, args).map(Value::Bool)
            }
            Expr::Not(value) => Ok(Value::Bool(!self.eval(value, scope)?.truth())),
            Expr::And(a, b) => {
                let a = self.eval(a, scope)?;
                if a.truth() { self.eval(b, scope) } else { Ok(a) }
            }
            Expr::Or(a, b) => {
                let a = self.eval(a, scope)?;
                if a.truth() { Ok(a) } else { self.eval(b, scope) }
            }
            Expr::If(condition, value, other) => {
                if self.eval(condition, scope)?.truth() {
                    return self.eval(value, scope);
                }
                match other {
                    Some(other) => self.eval(other, scope),
                    None => Ok(Value::undefined(
                        "the inline if-expression evaluated to false and no else section was defined",
                    )),
                }
            }
            Expr::Compare(first, operands) => self.compare(first, operands, scope),
            Expr::Binary(operator, a, b) => {
                let a = self.eval(a, scope)?;
                let b = self.eval(b, scope)?;
                let value = binary(*operator, &a, &b)?;
                self.charge(&value)?;
                Ok(value)
            }
            Expr::Concat(parts) => self.concat(parts, scope),
            Expr::Negative(value) => negative(&self.eval(value, scope)?),
            Expr::Positive(value) => positive(&self.eval(value, scope)?),
        }
    }

    /// Charges the cost of creating or reading a large value.
    pub(super) fn charge(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Str(text) | Value::Markup(text) => self.step(text.len() / 64),
            Value::List(items) | Value::Tuple(items) => self.step(items.values.len()),
            Value::Dict(dict) => self.step(dict.entries.len()),
            _ => Ok(()),
        }
    }

    fn eval_all(&mut self, items: &[Expr], scope: &Rc<Scope>) -> Result<Vec<Value>> {
        items.iter().map(|item| self.eval(item, scope)).collect()
    }

    fn dict(&mut self, entries: &[(Expr, Expr)], scope: &Rc<Scope>) -> Result<Value> {
        let mut dict = Dict::default();
        for (key, value) in entries {
            let key = self.eval(key, scope)?;
            let value = self.eval(value, scope)?;
            dict.insert(key, value)?;
        }
        Ok(Value::Dict(Rc::new(dict)))
    }

    fn slice(&mut self, value: &Expr, bounds: &[Option<Box<Expr>>; 3], scope: &Rc<Scope>) -> Result<Value> {
        let value = self.eval(value, scope)?;
        let mut values = [None, None, None];
        for (value, bound) in values.iter_mut().zip(bounds) {
            *value = bound.as_deref().map(|bound| self.eval(bound, scope)).transpose()?;
        }
        self.charge(&value)?;
        value.slice(values)
    }

    fn concat(&mut self, parts: &[Expr], scope: &Rc<Scope>) -> Result<Value> {
        let mut text = String::new();
        for part in parts {
            let part = self.eval(part, scope)?.to_text()?;
            check_text(text.len() + part.len())?;
            text.push_str(&part);
        }
        self.step(text.len() / 64)?;
        Ok(Value::str(text))
    }

    fn compare(&mut self, first: &Expr, operands: &[(Comparison, Expr)], scope: &Rc<Scope>) -> Result<Value> {
        let mut left = self.eval(first, scope)?;
        for (comparison, operand) in operands {
            let right = self.eval(operand, scope)?;
            self.charge(&left)?;
            self.charge(&right)?;
            if !holds(*comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    pub(super) fn args(&mut self, args: &CallArgs, scope: &Rc<Scope>) -> Result<Args> {
        let mut positional = self.eval_all(&args.positional, scope)?;
        let mut named = Vec::with_capacity(args.named.len());
        for (name, value) in &args.named {
            named.push((name.clone(), self.eval(value, scope)?));
        }
        if let Some(list) = &args.list {
            positional.extend(self.eval(list, scope)?.iterate()?);
        }
        if let Some(dict) = &args.dict {
            let Value::Dict(dict) = self.eval(dict, scope)? else { return fail("the argument after ** is not a dict") };
            for (name, value) in &dict.entries {
                named.push((name.require_str("a keyword")?.to_string(), value.clone()));
            }
        }
        for (i, (name, _)) in named.iter().enumerate() {
            if named.iter().take(i).any(|(other, _)| other == name) {
                return fail(format!("the keyword argument '{name}' is given twice"));
            }
        }
        Ok(Args { positional, named })
    }

    /// Applies a filter by name; filters that call others need the interpreter.
    pub(super) fn filter(&mut self, name: &str, value: Value, args: Args) -> Result<Value> {
        self.step(1)?;
        self.charge(&value)?;
        let result = match name {
            "map" => self.map_filter(value, args)?,
            "select" | "reject" | "selectattr" | "rejectattr" => self.select_filter(name, value, args)?,
            _ => filters::apply(name, value, args)?,
        };
        self.charge(&result)?;
        Ok(result)
    }

    pub(super) fn filter_chain(&mut self, filter: &Expr, value: Value, scope: &Rc<Scope>) -> Result<Value> {
        let Expr::Filter(inner, name, args) = filter else { return fail("a filter is expected") };
        let value = match inner {
            Some(inner) => self.filter_chain(inner, value, scope)?,
            None => value,
        };
        let args = self.args(args, scope)?;
        self.filter(name, value, args)
    }

    fn map_filter(&mut self, value: Value, mut args: Args) -> Result<Value> {
        let attribute = args.named.iter().position(|(name, _)| name == "attribute");
        let items = if value.truth() { value.iterate()? } else { Vec::new() };
        if let (Some(position), true) = (attribute, args.positional.is_empty()) {
            let (_, attribute) = args.named.remove(position);
            let [default] = args.bind("map", ["default"], 0)?;
            let getter = filters::Getter::new(Some(&attribute), default.filter(|value| !matches!(value, Value::None)))?;
            return Ok(Value::iterator(items.iter().map(|item| getter.get(item)).collect::<Result<_>>()?));
        }
        let Some(name) = (!args.positional.is_empty()).then(|| args.positional.remove(0)) else {
            return fail("map requires a filter argument");
        };
        let name = name.require_str("the filter of map")?.clone();
        let mapped: Result<Vec<Value>> =
            items.into_iter().map(|item| self.nested(|this| this.filter(&name, item, args.clone()))).collect();
        Ok(Value::iterator(mapped?))
    }

    fn select_filter(&mut self, filter: &str, value: Value, mut args: Args) -> Result<Value> {
        let items = if value.truth() { value.iterate()? } else { Vec::new() };
        let getter = if filter.ends_with("attr") {
            if args.positional.is_empty() {
                return fail("missing parameter for attribute name");
            }
            filters::Getter::new(Some(&args.positional.remove(0)), None)?
        } else {
            filters::Getter::new(None, None)?
        };
        let test = (!args.positional.is_empty()).then(|| args.positional.remove(0));
        let test = test.as_ref().map(|test| test.require_str("the test of a filter")).transpose()?;
        let wanted = filter.starts_with("select");
        let mut kept = Vec::new();
        for item in items {
            self.step(1)?;
            let value = getter.get(&item)?;
            let holds = match test {
                Some(test) => predicates::test(test, &value, args.clone())?,
                None => value.truth(),
            };
            if holds == wanted {
                kept.push(item);
            }
        }
        Ok(Value::iterator(kept))
    }
}

fn lookup(name: &str, scope: &Rc<Scope>) -> Result<Value> {
    if let Some(value) = scope.get(name) {
        return Ok(value);
    }
    if let Some(name) = globals::NAMES.into_iter().find(|known| *known == name) {
        return Ok(Value::Function(Function::Global(name)));
    }
    match name {
        "self" | "lipsum" => unsupported(format!("the name '{name}'")),
        _ => Ok(Value::undefined(format!("'{name}' is undefined"))),
    }
}

fn holds(comparison: Comparison, a: &Value, b: &Value) -> Result<bool> {
    let order = |operator: &str, wanted: &[Ordering]| -> Result<bool> {
        Ok(a.order(b, operator)?.is_some_and(|order| wanted.contains(&order)))
    };
    match comparison {
        Comparison::Eq => a.checked_equals(b),
        Comparison::Ne => a.checked_equals(b).map(|equal| !equal),
        Comparison::Lt => order("<", &[Ordering::Less]),
        Comparison::Le => order("<=", &[Ordering::Less, Ordering::Equal]),
        Comparison::Gt => order(">", &[Ordering::Greater]),
        Comparison::Ge => order(">=", &[Ordering::Greater, Ordering::Equal]),
        Comparison::In => b.contains(a),
        Comparison::NotIn => b.contains(a).map(|found| !found),
    }
}
