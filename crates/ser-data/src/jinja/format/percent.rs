//! `format % values`.

use super::{digits, number, pad};
use crate::jinja::display::check_text;
use crate::jinja::error::{Result, fail, unsupported};
use crate::jinja::value::Value;

/// Formats `values`: a tuple by position, a dict by name, anything else as the only value.
pub(crate) fn format(format: &str, values: &Value) -> Result<String> {
    let single = [values.clone()];
    let list: &[Value] = match values {
        Value::Tuple(items) => &items.values,
        _ => &single,
    };
    let mut rest = format;
    let mut used = 0;
    let mut by_name = false;
    let mut out = String::new();
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let mut named = None;
        if let Some(after) = rest.strip_prefix('(') {
            let Some((name, after)) = after.split_once(')') else { return fail("incomplete format key") };
            if name.contains('(') {
                return unsupported("a format key with parentheses");
            }
            let Value::Dict(dict) = values else { return fail("format requires a mapping") };
            let Some(value) = dict.get_str(name) else { return fail(format!("the format has no value for {name:?}")) };
            named = Some(value);
            by_name = true;
            rest = after;
        }
        let flags_end = rest.find(|c| !"-+ 0#".contains(c)).unwrap_or(rest.len());
        let flags = &rest[..flags_end];
        rest = &rest[flags_end..];
        if rest.starts_with('*') {
            return unsupported("a width or precision of * in a format");
        }
        let width = digits(&mut rest)?.unwrap_or(0);
        let mut precision = None;
        if let Some(after) = rest.strip_prefix('.') {
            rest = after;
            if rest.starts_with('*') {
                return unsupported("a width or precision of * in a format");
            }
            precision = Some(digits(&mut rest)?.unwrap_or(0));
        }
        rest = rest.strip_prefix(['l', 'h', 'L']).unwrap_or(rest);
        let Some(kind) = rest.chars().next() else { return fail("incomplete format") };
        rest = &rest[kind.len_utf8()..];
        if kind == '%' {
            if width > 0 || precision.is_some() || !flags.is_empty() || named.is_some() {
                return unsupported("a percent sign with a width or flags in a format");
            }
            out.push('%');
            continue;
        }
        let value = match named {
            Some(value) => value,
            None => {
                used += 1;
                let Some(value) = list.get(used - 1) else { return fail("not enough arguments for format string") };
                value
            }
        };
        let text = convert(value, kind, flags, precision)?;
        let numeric = !matches!(kind, 's' | 'r' | 'a' | 'c');
        let (fill, align) = match (flags.contains('-'), flags.contains('0') && numeric) {
            (true, _) => (' ', '<'),
            (false, true) => ('0', '='),
            (false, false) => (' ', '>'),
        };
        out.push_str(&pad(&text, width, fill, align)?);
        check_text(out.len())?;
    }
    out.push_str(rest);
    let leftover = used < list.len() && !by_name;
    // Python accepts an unused mapping, list or similar value.
    if leftover && !(matches!(values, Value::Dict(_) | Value::List(_) | Value::Range(_)) && used == 0) {
        return fail("not all arguments converted during string formatting");
    }
    Ok(out)
}

fn convert(value: &Value, kind: char, flags: &str, precision: Option<usize>) -> Result<String> {
    let cut = |text: &str| match precision {
        Some(count) => crate::jinja::text::split_chars(text, count).0.to_string(),
        None => text.to_string(),
    };
    let signed = |text: String| {
        let sign = if flags.contains('+') {
            "+"
        } else if flags.contains(' ') {
            " "
        } else {
            ""
        };
        if text.starts_with('-') { text } else { format!("{sign}{text}") }
    };
    let alternate = flags.contains('#');
    match kind {
        's' if matches!(value, Value::Markup(_)) => unsupported("formatting escaped text"),
        's' => Ok(cut(&value.to_text()?)),
        'r' => {
            let mut text = String::new();
            value.write_repr(&mut text)?;
            Ok(cut(&text))
        }
        'd' | 'i' | 'u' | 'x' | 'X' | 'o' => {
            let int = match (value, value.as_int()) {
                (_, Some(int)) => int,
                (Value::Float(number), _) if matches!(kind, 'd' | 'i' | 'u') => {
                    match crate::jinja::number::truncated(*number)? {
                        Some(int) => int,
                        None => return fail("cannot convert this float to an integer"),
                    }
                }
                (Value::Undefined(problem), _) => return fail(problem.to_string()),
                _ => return fail(format!("%{kind} format: a number is required, not {}", value.type_name())),
            };
            let text = number::integer(int, kind, alternate);
            match precision {
                Some(precision) if precision > 0 => {
                    let sign = usize::from(int < 0);
                    let text = pad(&text, precision + sign, '0', '=')?;
                    Ok(signed(text))
                }
                _ => Ok(signed(text)),
            }
        }
        'f' | 'F' | 'e' | 'E' | 'g' | 'G' => match crate::jinja::number::as_float(value)? {
            Some(float) => Ok(signed(number::float(float, kind, precision, alternate)?)),
            None => match value {
                Value::Undefined(problem) => fail(problem.to_string()),
                _ => fail(format!("must be real number, not {}", value.type_name())),
            },
        },
        'c' => match value {
            Value::Str(text) if crate::jinja::text::length(text) == 1 => Ok(text.to_string()),
            _ => match value.as_int().and_then(|code| u32::try_from(code).ok()).and_then(char::from_u32) {
                Some(c) => Ok(c.to_string()),
                None => fail("%c requires a character or its code"),
            },
        },
        _ => fail(format!("unsupported format character '{kind}'")),
    }
}
