//! `for` and `loop`.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::{Flow, Interpreter};
use crate::jinja::ast::For;
use crate::jinja::calls::Args;
use crate::jinja::error::{Result, fail, unsupported};
use crate::jinja::value::{Function, LoopState, Scope, Value};

impl LoopState {
    /// Attributes that need no look-ahead; [`Interpreter::loop_attribute`] has all of them.
    pub(crate) fn attribute(self: &Rc<Self>, name: &str) -> Result<Option<Value>> {
        let int = |value: usize| Some(Value::Int(value as i128));
        Ok(match name {
            "index" => int(self.index.get()),
            "index0" => int(self.index.get().saturating_sub(1)),
            "first" => Some(Value::Bool(self.index.get() == 1)),
            "depth" => int(self.depth + 1),
            "depth0" => int(self.depth),
            "previtem" => Some(match &*self.previous.borrow() {
                Some(item) => item.clone(),
                None => Value::undefined("there is no previous item"),
            }),
            "cycle" => Some(Value::Function(Function::LoopMethod(Rc::clone(self), "cycle"))),
            "changed" => Some(Value::Function(Function::LoopMethod(Rc::clone(self), "changed"))),
            _ => return unsupported(format!("the attribute '{name}' of a loop")),
        })
    }
}

impl Interpreter<'_> {
    pub(super) fn for_statement(&mut self, node: &Arc<For>, scope: &Rc<Scope>, out: &mut String) -> Result<()> {
        let items = self.eval(&node.iter, scope)?;
        self.run_loop(node, &items, scope, 0, out)
    }

    fn run_loop(
        &mut self,
        node: &Arc<For>,
        items: &Value,
        scope: &Rc<Scope>,
        depth: usize,
        out: &mut String,
    ) -> Result<()> {
        self.charge(items)?;
        let state = Rc::new(LoopState {
            node: Arc::clone(node),
            scope: Rc::clone(scope),
            depth,
            source: RefCell::new(items.iterate()?.into()),
            ready: RefCell::default(),
            index: Cell::new(0),
            previous: RefCell::default(),
            current: RefCell::default(),
            changed: RefCell::default(),
        });
        while let Some(item) = self.next_item(&state)? {
            let inner = Scope::within(scope);
            self.assign(&node.target, item, &inner)?;
            inner.set("loop", Value::Loop(Rc::clone(&state)));
            if self.body(&node.body, &inner, out)? == Flow::Break {
                break;
            }
        }
        if state.index.get() == 0 {
            self.body(&node.otherwise, &Scope::within(scope), out)?;
        }
        Ok(())
    }

    fn next_item(&mut self, state: &Rc<LoopState>) -> Result<Option<Value>> {
        self.look_ahead(state, 1)?;
        let item = state.ready.borrow_mut().pop_front();
        if let Some(item) = &item {
            state.index.set(state.index.get() + 1);
            let previous = state.current.replace(Some(item.clone()));
            state.previous.replace(previous);
        }
        Ok(item)
    }

    /// Fills `ready` with up to `count` items.
    fn look_ahead(&mut self, state: &Rc<LoopState>, count: usize) -> Result<()> {
        while state.ready.borrow().len() < count {
            let Some(item) = state.source.borrow_mut().pop_front() else { break };
            self.step(1)?;
            if let Some(test) = &state.node.test {
                let inner = Scope::within(&state.scope);
                self.assign(&state.node.target, item.clone(), &inner)?;
                if !self.eval(test, &inner)?.truth() {
                    continue;
                }
            }
            state.ready.borrow_mut().push_back(item);
        }
        Ok(())
    }

    pub(super) fn loop_attribute(&mut self, state: &Rc<LoopState>, name: &str) -> Result<Value> {
        match name {
            "last" => {
                self.look_ahead(state, 1)?;
                Ok(Value::Bool(state.ready.borrow().is_empty()))
            }
            "nextitem" => {
                self.look_ahead(state, 1)?;
                let next = state.ready.borrow().front().cloned();
                Ok(next.unwrap_or_else(|| Value::undefined("there is no next item")))
            }
            "length" | "revindex" | "revindex0" => {
                self.look_ahead(state, usize::MAX)?;
                let rest = state.ready.borrow().len();
                let value = match name {
                    "length" => state.index.get() + rest,
                    "revindex" => rest + 1,
                    _ => rest,
                };
                Ok(Value::Int(value as i128))
            }
            _ => match state.attribute(name)? {
                Some(value) => Ok(value),
                None => unsupported(format!("the attribute '{name}' of a loop")),
            },
        }
    }

    pub(super) fn loop_method(&mut self, state: &Rc<LoopState>, name: &str, args: Args) -> Result<Value> {
        if !args.named.is_empty() {
            return fail(format!("loop.{name} takes no keyword arguments"));
        }
        if name == "cycle" {
            let index = state.index.get().saturating_sub(1);
            let picked = args.positional.len().checked_sub(1).and_then(|last| args.positional.get(index % (last + 1)));
            return match picked {
                Some(value) => Ok(value.clone()),
                None => fail("no items for cycling given"),
            };
        }
        let mut seen = state.changed.borrow_mut();
        let same = seen.as_ref().is_some_and(|seen| {
            seen.len() == args.positional.len() && seen.iter().zip(&args.positional).all(|(a, b)| a.equals(b))
        });
        *seen = Some(args.positional);
        Ok(Value::Bool(!same))
    }

    /// `loop(items)` of a recursive loop.
    pub(super) fn call_loop(&mut self, state: &Rc<LoopState>, args: Args) -> Result<Value> {
        if !state.node.recursive {
            return fail("the loop must have the 'recursive' marker to be called recursively");
        }
        let [items] = args.bind("loop", ["iterable"], 1)?;
        let mut out = String::new();
        let node = Arc::clone(&state.node);
        let items = items.unwrap_or(Value::None);
        self.run_loop(&node, &items, &Rc::clone(&state.scope), state.depth + 1, &mut out)?;
        Ok(Value::str(out))
    }
}
