//! Global functions of templates.

use std::cell::Cell;
use std::rc::Rc;

use super::calls::Args;
use super::error::{Result, TemplateError, fail, unsupported};
use super::interpreter::store;
use super::value::{Cycler, Dict, Function, Range, Value};

pub(crate) const NAMES: [&str; 7] =
    ["cycler", "dict", "joiner", "namespace", "raise_exception", "range", "strftime_now"];

/// The sandbox's limit.
const MAX_RANGE: usize = 100_000;

pub(crate) fn call(name: &str, args: Args, now: &jiff::Zoned) -> Result<Value> {
    match name {
        "range" => range(args),
        "dict" => Ok(Value::Dict(Rc::new(dict(args)?))),
        "namespace" => {
            let values = std::cell::RefCell::default();
            for (name, value) in dict(args)?.entries {
                store(&values, name.require_str("an attribute of a namespace")?, value)?;
            }
            Ok(Value::Namespace(Rc::new(values)))
        }
        "cycler" => {
            if args.positional.is_empty() || !args.named.is_empty() {
                return fail("at least one item has to be provided");
            }
            // Refuses values that a cycler cannot contain.
            Value::list(args.positional.clone())?;
            let cycler = Cycler { items: args.positional, position: Cell::new(0) };
            Ok(Value::Function(Function::Cycler(Rc::new(cycler))))
        }
        "joiner" => {
            let [separator] = args.bind(name, ["sep"], 0)?;
            let separator = separator.unwrap_or_else(|| Value::str(", "));
            let text = separator.require_str("the separator of joiner")?.clone();
            Ok(Value::Function(Function::Joiner(text, Rc::default())))
        }
        "raise_exception" => {
            let [message] = args.bind(name, ["message"], 1)?;
            Err(TemplateError::new(message.unwrap_or(Value::None).to_text()?.to_string()))
        }
        _ => {
            let [format] = args.bind(name, ["format"], 1)?;
            let format = format.unwrap_or(Value::None);
            let format = format.require_str("the format of strftime_now")?;
            match jiff::fmt::strtime::format(&**format, now) {
                Ok(text) => Ok(Value::str(text)),
                Err(error) => fail(format!("strftime_now({format:?}): {error}")),
            }
        }
    }
}

fn range(args: Args) -> Result<Value> {
    let [a, b, c] = args.bind("range", ["", "", ""], 1)?;
    let int = |value: Option<Value>| value.map(|value| value.require_int("an argument of range")).transpose();
    let (a, b, c) = (int(a)?.unwrap_or(0), int(b)?, int(c)?);
    let (start, stop) = b.map_or((0, a), |b| (a, b));
    let step = c.unwrap_or(1);
    let small = |value: i128| value.unsigned_abs() < 1 << 64;
    if step == 0 || !small(start) || !small(stop) || !small(step) {
        return fail("range() needs a step other than zero, and integers of 64 bits");
    }
    let range = Range { start, stop, step };
    if range.len() > MAX_RANGE {
        return fail(format!("range too big: the sandbox allows {MAX_RANGE} items"));
    }
    Ok(Value::Range(range))
}

/// `dict(mapping_or_pairs, **kwargs)`.
fn dict(args: Args) -> Result<Dict> {
    let Args { positional, named } = args;
    if positional.len() > 1 {
        return fail(format!("dict expected at most 1 argument, got {}", positional.len()));
    }
    let mut dict = Dict::default();
    match positional.first() {
        None => {}
        Some(Value::Dict(other)) => dict = other.copy(),
        Some(Value::Undefined(_)) => return unsupported("a dict of an undefined value"),
        Some(pairs) => {
            for pair in pairs.iterate()? {
                let mut items = pair.iterate()?;
                match (items.pop(), items.pop(), items.pop()) {
                    (Some(value), Some(key), None) => dict.insert(key, value)?,
                    _ => return fail("dict() needs pairs"),
                }
            }
        }
    }
    for (name, value) in named {
        dict.insert(Value::str(name), value)?;
    }
    Ok(dict)
}
