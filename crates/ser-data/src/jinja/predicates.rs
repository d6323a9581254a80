//! The tests of Jinja2: `value is name(args)`.

use super::calls::Args;
use super::error::{Result, fail, unsupported};
use super::methods;
use super::value::{Function, Value};
use super::{arithmetic::binary, ast::Operator, filters};

const NAMES: [&str; 39] = [
    "!=",
    "<",
    "<=",
    "==",
    ">",
    ">=",
    "boolean",
    "callable",
    "defined",
    "divisibleby",
    "eq",
    "equalto",
    "escaped",
    "even",
    "false",
    "filter",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sameas",
    "sequence",
    "string",
    "test",
    "true",
    "undefined",
    "upper",
];

pub(crate) fn test(name: &str, value: &Value, args: Args) -> Result<bool> {
    let one = |args: Args| -> Result<Value> {
        let [other] = args.bind(name, [""], 1)?;
        Ok(other.unwrap_or(Value::None))
    };
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = |args: Args, operator: &str, wanted: &[std::cmp::Ordering]| -> Result<bool> {
        Ok(value.order(&one(args)?, operator)?.is_some_and(|order| wanted.contains(&order)))
    };
    match name {
        "eq" | "equalto" | "==" => return value.checked_equals(&one(args)?),
        "ne" | "!=" => return value.checked_equals(&one(args)?).map(|equal| !equal),
        "lt" | "lessthan" | "<" => return order(args, "<", &[Less]),
        "le" | "<=" => return order(args, "<=", &[Less, Equal]),
        "gt" | "greaterthan" | ">" => return order(args, ">", &[Greater]),
        "ge" | ">=" => return order(args, ">=", &[Greater, Equal]),
        "in" => return one(args)?.contains(value),
        "sameas" => return same(value, &one(args)?),
        "divisibleby" => {
            let remainder = binary(Operator::Mod, number(value)?, &one(args)?)?;
            return Ok(!remainder.truth());
        }
        _ => {}
    }
    args.bind::<0>(name, [], 0)?;
    Ok(match name {
        "defined" => !matches!(value, Value::Undefined(_)),
        "undefined" => matches!(value, Value::Undefined(_)),
        "none" => matches!(value, Value::None),
        "boolean" => matches!(value, Value::Bool(_)),
        "true" => matches!(value, Value::Bool(true)),
        "false" => matches!(value, Value::Bool(false)),
        "integer" => matches!(value, Value::Int(_)),
        "float" => matches!(value, Value::Float(_)),
        "number" => matches!(value, Value::Int(_) | Value::Float(_) | Value::Bool(_)),
        "string" => matches!(value, Value::Str(_) | Value::Markup(_)),
        "mapping" => matches!(value, Value::Dict(_)),
        "sequence" => matches!(
            value,
            Value::Str(_)
                | Value::Markup(_)
                | Value::List(_)
                | Value::Tuple(_)
                | Value::Dict(_)
                | Value::Range(_)
                | Value::Undefined(_)
        ),
        "iterable" => !matches!(
            value,
            Value::None | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Namespace(_) | Value::Function(_)
        ),
        "callable" => match value {
            Value::Function(Function::Cycler(_)) => false,
            Value::Function(_) | Value::Undefined(_) | Value::Loop(_) => true,
            _ => false,
        },
        "escaped" => matches!(value, Value::Markup(_)),
        "even" | "odd" => {
            let odd = binary(Operator::Mod, number(value)?, &Value::Int(2))?;
            odd.equals(&Value::Int(i128::from(name == "odd")))
        }
        "lower" => methods::is_lower(&value.to_text()?)?,
        "upper" => methods::is_upper(&value.to_text()?)?,
        "filter" => matches!(value, Value::Str(text) if filters::NAMES.contains(&&**text)),
        "test" => matches!(value, Value::Str(text) if NAMES.contains(&&**text)),
        _ => return fail(format!("no test named '{name}'")),
    })
}

/// `%` on text would format it.
fn number(value: &Value) -> Result<&Value> {
    match value {
        Value::Str(_) | Value::Markup(_) => fail("a number is expected, found text"),
        _ => Ok(value),
    }
}

/// `value is other`. Python compares identity, which is known here for singletons, small integers and unequal values.
fn same(a: &Value, b: &Value) -> Result<bool> {
    match (a, b) {
        (Value::None, Value::None) => Ok(true),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(a), Value::Int(b)) if a == b && (-5..=256).contains(a) => Ok(true),
        _ if a.type_name() != b.type_name() || !a.equals(b) => Ok(false),
        _ => unsupported(format!("the test 'sameas' of two equal values of the type {}", a.type_name())),
    }
}
