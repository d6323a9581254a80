//! Arithmetic as in Python, including `%` on strings.

use super::ast::Operator;
use super::display::check_text;
use super::error::{Result, fail, unsupported};
use super::format::percent;
use super::number::as_float;
use super::value::{MAX_ITEMS, Value};

pub(crate) fn binary(operator: Operator, a: &Value, b: &Value) -> Result<Value> {
    if let (Value::Undefined(problem), _) | (_, Value::Undefined(problem)) = (a, b)
        // `'%s' % undefined` prints it.
        && !matches!((operator, a), (Operator::Mod, Value::Str(_)))
    {
        return fail(problem.to_string());
    }
    if matches!(a, Value::Markup(_)) || (matches!(b, Value::Markup(_)) && operator == Operator::Add) {
        return unsupported("an operator on escaped text");
    }
    match (operator, a, b) {
        (Operator::Add, Value::Str(x), Value::Str(y)) => {
            check_text(x.len() + y.len())?;
            Ok(Value::str([&**x, &**y].concat()))
        }
        (Operator::Add, Value::List(x), Value::List(y)) => Value::list([&x.values[..], &y.values[..]].concat()),
        (Operator::Add, Value::Tuple(x), Value::Tuple(y)) => Value::tuple([&x.values[..], &y.values[..]].concat()),
        (Operator::Mod, Value::Str(format), _) => Ok(Value::str(percent::format(format, b)?)),
        (Operator::Mul, Value::Str(_) | Value::List(_) | Value::Tuple(_), _) if b.as_int().is_some() => {
            repeat(a, b.as_int().unwrap_or(0))
        }
        (Operator::Mul, _, Value::Str(_) | Value::List(_) | Value::Tuple(_)) if a.as_int().is_some() => {
            repeat(b, a.as_int().unwrap_or(0))
        }
        _ => match (a.as_int(), b.as_int()) {
            (Some(x), Some(y)) => integers(operator, x, y),
            _ => match (as_float(a)?, as_float(b)?) {
                (Some(x), Some(y)) => floats(operator, x, y),
                _ => fail(format!(
                    "unsupported operand type(s) for {}: '{}' and '{}'",
                    symbol(operator),
                    a.type_name(),
                    b.type_name()
                )),
            },
        },
    }
}

fn symbol(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Sub => "-",
        Operator::Mul => "*",
        Operator::Div => "/",
        Operator::FloorDiv => "//",
        Operator::Mod => "%",
        Operator::Pow => "**",
    }
}

fn repeat(value: &Value, count: i128) -> Result<Value> {
    let count = usize::try_from(count.max(0)).unwrap_or(usize::MAX);
    match value {
        Value::Str(text) => {
            check_text(text.len().saturating_mul(count))?;
            Ok(Value::str(text.repeat(count)))
        }
        Value::List(items) | Value::Tuple(items) => {
            if items.values.len().saturating_mul(count) > MAX_ITEMS {
                return fail(format!("a list has more than {MAX_ITEMS} items"));
            }
            let values = (0..count).flat_map(|_| items.values.iter().cloned()).collect();
            if matches!(value, Value::List(_)) { Value::list(values) } else { Value::tuple(values) }
        }
        _ => fail("only text and lists can be repeated"),
    }
}

fn integers(operator: Operator, a: i128, b: i128) -> Result<Value> {
    let result = match operator {
        Operator::Add => a.checked_add(b),
        Operator::Sub => a.checked_sub(b),
        Operator::Mul => a.checked_mul(b),
        Operator::Div => match (as_float(&Value::Int(a))?, as_float(&Value::Int(b))?) {
            (Some(x), Some(y)) => return floats(operator, x, y),
            _ => None,
        },
        Operator::FloorDiv | Operator::Mod if b == 0 => return fail("integer division or modulo by zero"),
        Operator::FloorDiv => a.checked_div(b).map(|q| if a % b != 0 && (a < 0) != (b < 0) { q - 1 } else { q }),
        Operator::Mod => a.checked_rem(b).map(|r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
        Operator::Pow if b < 0 => return unsupported("a negative exponent"),
        Operator::Pow => u32::try_from(b).ok().and_then(|exponent| a.checked_pow(exponent)),
    };
    match result {
        Some(value) => Ok(Value::Int(value)),
        None => unsupported("an integer of more than 128 bits"),
    }
}

fn floats(operator: Operator, a: f64, b: f64) -> Result<Value> {
    if b == 0.0 && matches!(operator, Operator::Div | Operator::FloorDiv | Operator::Mod) {
        return fail("float division by zero");
    }
    Ok(Value::Float(match operator {
        Operator::Add => a + b,
        Operator::Sub => a - b,
        Operator::Mul => a * b,
        Operator::Div => a / b,
        Operator::FloorDiv => div_mod(a, b).0,
        Operator::Mod => div_mod(a, b).1,
        Operator::Pow => return unsupported("a power of floats"),
    }))
}

/// CPython's `float_divmod`.
fn div_mod(a: f64, b: f64) -> (f64, f64) {
    let mut remainder = a % b;
    let mut quotient = (a - remainder) / b;
    if remainder == 0.0 {
        remainder = 0.0_f64.copysign(b);
    } else if (b < 0.0) != (remainder < 0.0) {
        remainder += b;
        quotient -= 1.0;
    }
    let floor = if quotient == 0.0 {
        0.0_f64.copysign(a / b)
    } else if quotient - quotient.floor() > 0.5 {
        quotient.floor() + 1.0
    } else {
        quotient.floor()
    };
    (floor, remainder)
}

pub(crate) fn negative(value: &Value) -> Result<Value> {
    match (value, value.as_int()) {
        (Value::Float(value), _) => Ok(Value::Float(-value)),
        (_, Some(int)) => {
            int.checked_neg().map_or_else(|| unsupported("an integer of more than 128 bits"), |v| Ok(Value::Int(v)))
        }
        (Value::Undefined(problem), _) => fail(problem.to_string()),
        _ => fail(format!("bad operand type for unary -: '{}'", value.type_name())),
    }
}

pub(crate) fn positive(value: &Value) -> Result<Value> {
    match (value, value.as_int()) {
        (Value::Float(value), _) => Ok(Value::Float(*value)),
        (_, Some(int)) => Ok(Value::Int(int)),
        (Value::Undefined(problem), _) => fail(problem.to_string()),
        _ => fail(format!("bad operand type for unary +: '{}'", value.type_name())),
    }
}
