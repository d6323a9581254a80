//! Filters with numeric results.

use crate::jinja::arithmetic::negative;
use crate::jinja::calls::Args;
use crate::jinja::error::{Result, fail, unsupported};
use crate::jinja::number::{as_float, truncated};
use crate::jinja::text::is_space;
use crate::jinja::value::Value;

pub(super) fn apply(name: &str, value: &Value, args: Args) -> Result<Value> {
    match name {
        "abs" => {
            args.bind::<0>(name, [], 0)?;
            match value {
                Value::Float(number) => Ok(Value::Float(number.abs())),
                _ => match value.as_int() {
                    Some(int) if int < 0 => negative(value),
                    Some(int) => Ok(Value::Int(int)),
                    None => fail(format!("bad operand type for abs(): '{}'", value.type_name())),
                },
            }
        }
        "float" => {
            let [default] = args.bind(name, ["default"], 0)?;
            Ok(to_float(value)?.map_or_else(|| default.unwrap_or(Value::Float(0.0)), Value::Float))
        }
        "int" => {
            let [default, base] = args.bind(name, ["default", "base"], 0)?;
            let base = base.map_or(Ok(10), |base| base.require_int("the base of int"))?;
            Ok(to_int(value, base)?.map_or_else(|| default.unwrap_or(Value::Int(0)), Value::Int))
        }
        _ => round(value, args),
    }
}

/// `float(value)`; `None` if Python raises a TypeError or ValueError.
fn to_float(value: &Value) -> Result<Option<f64>> {
    match value {
        Value::Undefined(problem) => fail(problem.to_string()),
        Value::Str(text) | Value::Markup(text) => parse_float(text),
        _ => as_float(value),
    }
}

fn parse_float(text: &str) -> Result<Option<f64>> {
    let text = text.trim_matches(is_space);
    // Python reads the digits of every script.
    if text.chars().any(|c| !c.is_ascii() && c.is_numeric()) {
        return unsupported("a number in digits that are not ASCII");
    }
    Ok(without_underscores(text).and_then(|plain| plain.parse().ok()))
}

/// Underscores may stand between digits.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let placed = |(at, _): (usize, &str)| digit(at.checked_sub(1)) && digit(Some(at + 1));
    text.match_indices('_').all(placed).then(|| text.replace('_', ""))
}

/// `int(value, base)`, then `int(float(value))`; `None` if both fail.
fn to_int(value: &Value, base: i128) -> Result<Option<i128>> {
    match value {
        Value::Undefined(problem) => fail(problem.to_string()),
        Value::Str(text) | Value::Markup(text) => {
            let text = text.trim_matches(is_space);
            if let Some(int) = parse_int(text, base)? {
                return Ok(Some(int));
            }
            parse_float(text)?.map_or(Ok(None), truncated)
        }
        Value::Float(number) => truncated(*number),
        _ => Ok(value.as_int()),
    }
}

fn parse_int(text: &str, base: i128) -> Result<Option<i128>> {
    let Some(radix) = u32::try_from(base).ok().filter(|radix| (2..=36).contains(radix)) else {
        return unsupported(format!("the base {base} of the filter 'int'"));
    };
    if text.chars().any(|c| !c.is_ascii() && c.is_numeric()) {
        return unsupported("a number in digits that are not ASCII");
    }
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = match radix {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    let digits = match digits.get(..2) {
        Some(found) if !prefix.is_empty() && found.eq_ignore_ascii_case(prefix) => &digits[2..],
        _ => digits,
    };
    let Some(plain) = without_underscores(digits) else { return Ok(None) };
    if plain.is_empty() || !plain.chars().all(|c| c.is_digit(radix)) {
        return Ok(None);
    }
    match i128::from_str_radix(&format!("{sign}{plain}"), radix) {
        Ok(int) => Ok(Some(int)),
        Err(_) => unsupported("an integer of more than 128 bits"),
    }
}

fn round(value: &Value, args: Args) -> Result<Value> {
    let [precision, method] = args.bind("round", ["precision", "method"], 0)?;
    let precision = precision.map_or(Ok(0), |precision| precision.require_int("the precision of round"))?;
    let method = method.unwrap_or_else(|| Value::str("common"));
    let method = method.require_str("the method of round")?;
    let Some(digits) = usize::try_from(precision).ok().filter(|digits| *digits <= 20) else {
        return unsupported(format!("round with the precision {precision}"));
    };
    match (&**method, value) {
        ("common", Value::Int(_) | Value::Bool(_)) => Ok(Value::Int(value.as_int().unwrap_or(0))),
        // Decimal rounding of the exact binary value, halves to even: Rust's formatting does the same.
        ("common", Value::Float(number)) if number.is_finite() => {
            Ok(Value::Float(format!("{number:.digits$}").parse().unwrap_or(*number)))
        }
        ("common", Value::Float(_)) => unsupported("round of a number that is not finite"),
        ("ceil" | "floor", _) => {
            let Some(number) = as_float(value)?.filter(|number| number.is_finite()) else {
                return fail(format!("cannot round a {}", value.type_name()));
            };
            let power = 10_f64.powi(digits as i32);
            let scaled = number * power;
            Ok(Value::Float(if **method == *"ceil" { scaled.ceil() } else { scaled.floor() } / power))
        }
        ("common", Value::Undefined(problem)) => fail(problem.to_string()),
        ("common", _) => fail(format!("type {} doesn't define __round__ method", value.type_name())),
        _ => fail("method must be common, ceil or floor"),
    }
}
