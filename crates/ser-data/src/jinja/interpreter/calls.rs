//! Calls of functions, methods and macros.

use std::rc::Rc;

use super::Interpreter;
use crate::jinja::ast::Expr;
use crate::jinja::calls::Args;
use crate::jinja::error::{Result, fail};
use crate::jinja::value::{Dict, Function, Macro, Scope, Value};
use crate::jinja::{globals, methods};

impl Interpreter<'_> {
    pub(super) fn call(&mut self, callee: &Value, args: Args) -> Result<Value> {
        match callee {
            Value::Function(function) => {
                let value = self.nested(|this| this.call_function(function, args))?;
                self.charge(&value)?;
                Ok(value)
            }
            Value::Loop(state) => self.nested(|this| this.call_loop(state, args)),
            Value::Undefined(problem) => fail(problem.to_string()),
            _ => fail(format!("'{}' object is not callable", callee.type_name())),
        }
    }

    fn call_function(&mut self, function: &Function, args: Args) -> Result<Value> {
        match function {
            Function::Global(name) => globals::call(name, args, self.now),
            Function::Method(value, name) => {
                self.charge(value)?;
                methods::call(value, name, args)
            }
            Function::Macro(found) => self.call_macro(found, args),
            Function::Cycler(_) => fail("'Cycler' object is not callable"),
            Function::CyclerMethod(cycler, name) => {
                args.bind::<0>(name, [], 0)?;
                let position = cycler.position.get();
                if *name == "reset" {
                    cycler.position.set(0);
                    return Ok(Value::None);
                }
                cycler.position.set((position + 1) % cycler.items.len().max(1));
                Ok(cycler.items.get(position).cloned().unwrap_or(Value::None))
            }
            Function::Joiner(separator, used) => {
                args.bind::<0>("joiner", [], 0)?;
                Ok(Value::str(if used.replace(true) { &**separator } else { "" }))
            }
            Function::LoopMethod(state, name) => self.loop_method(state, name, args),
        }
    }

    /// `{% call %}`: the call, with the block's body as `caller`.
    pub(super) fn call_with_caller(&mut self, call: &Expr, caller: Value, scope: &Rc<Scope>) -> Result<Value> {
        let Expr::Call(callee, args) = call else { return fail("a call block needs a call") };
        let callee = self.eval(callee, scope)?;
        let mut args = self.args(args, scope)?;
        args.named.push(("caller".to_string(), caller));
        self.call(&callee, args)
    }

    fn call_macro(&mut self, found: &Macro, args: Args) -> Result<Value> {
        let def = &found.def;
        let scope = Scope::within(&found.scope);
        let Args { positional, mut named } = args;
        let mut positional = positional.into_iter();
        let mut take = |name: &str| {
            let position = named.iter().position(|(found, _)| found == name)?;
            Some(named.remove(position).1)
        };
        let first_default = def.params.len() - def.defaults.len().min(def.params.len());
        let mut given = Vec::with_capacity(def.params.len());
        for param in &def.params {
            given.push(positional.next().or_else(|| take(param)));
        }
        let caller = if def.caller { take("caller") } else { None };
        for (i, (param, value)) in def.params.iter().zip(given).enumerate() {
            let default = i.checked_sub(first_default).and_then(|i| def.defaults.get(i));
            let value = match (value, default) {
                (Some(value), _) => value,
                (None, Some(default)) => self.eval(default, &scope)?,
                (None, None) => Value::undefined(format!("parameter '{param}' was not provided")),
            };
            scope.set(param, value);
        }
        if def.caller {
            scope.set("caller", caller.unwrap_or_else(|| Value::undefined("No caller defined")));
        }
        if def.kwargs {
            let mut dict = Dict::default();
            for (name, value) in named {
                dict.insert(Value::str(name), value)?;
            }
            scope.set("kwargs", Value::Dict(Rc::new(dict)));
        } else if let Some((name, _)) = named.first() {
            return fail(format!("macro '{}' takes no keyword argument '{name}'", def.name));
        }
        let rest: Vec<Value> = positional.collect();
        if def.varargs {
            scope.set("varargs", Value::tuple(rest)?);
        } else if !rest.is_empty() {
            return fail(format!("macro '{}' takes not more than {} argument(s)", def.name, def.params.len()));
        }
        let mut out = String::new();
        self.body(&def.body, &scope, &mut out)?;
        Ok(Value::str(out))
    }
}
