//! Methods of Python's types.

mod search;
mod strings;

use std::rc::Rc;

use super::calls::Args;
use super::error::{Result, fail, unsupported};
use super::value::{Value, View};

pub(crate) use strings::{is_lower, is_upper, replace};

pub(crate) fn call(value: &Value, name: &str, args: Args) -> Result<Value> {
    match value {
        Value::Str(text) => strings::call(text, name, args),
        Value::Dict(dict) => match (name, View::of_method(name)) {
            (_, Some(view)) => {
                args.bind::<0>(name, [], 0)?;
                Ok(Value::View(view, Rc::clone(dict)))
            }
            ("get", _) => {
                let [key, default] = args.bind(name, ["", ""], 1)?;
                let found = dict.get(&key.unwrap_or(Value::None))?.cloned();
                Ok(found.or(default).unwrap_or(Value::None))
            }
            ("copy", _) => {
                args.bind::<0>(name, [], 0)?;
                Ok(value.clone())
            }
            _ => unsupported(format!("the method '{name}' of a dict")),
        },
        Value::List(items) | Value::Tuple(items) => match name {
            "copy" => {
                args.bind::<0>(name, [], 0)?;
                Ok(value.clone())
            }
            "count" | "index" => {
                let [item] = args.bind(name, [""], 1)?;
                let item = item.unwrap_or(Value::None);
                if name == "count" {
                    return Ok(Value::Int(items.values.iter().filter(|found| found.equals(&item)).count() as i128));
                }
                match items.values.iter().position(|found| found.equals(&item)) {
                    Some(position) => Ok(Value::Int(position as i128)),
                    None => fail("the item is not in the list"),
                }
            }
            _ => unsupported(format!("the method '{name}' of a {}", value.type_name())),
        },
        _ => unsupported(format!("the method '{name}' of a {}", value.type_name())),
    }
}
