//! `format.format(values)`.

use super::{digits, number, pad};
use crate::jinja::calls::Args;
use crate::jinja::display::check_text;
use crate::jinja::error::{Result, fail, unsupported};
use crate::jinja::number::as_float;
use crate::jinja::text::split_chars;
use crate::jinja::value::Value;

pub(crate) fn format(format: &str, args: &Args) -> Result<String> {
    let mut out = String::new();
    let mut rest = format;
    let mut next = 0;
    let mut numbered = false;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        if brace == "}" {
            return fail("single '}' encountered in format string");
        }
        let Some((field, after)) = rest.split_once('}') else { return fail("expected '}' before end of string") };
        rest = after;
        if field.contains('{') {
            return unsupported("a format specification with fields of its own");
        }
        let (field, spec) = field.split_once(':').unwrap_or((field, ""));
        let (name, conversion) = match field.split_once('!') {
            Some((name, conversion)) => (name, Some(conversion)),
            None => (field, None),
        };
        if name.contains(['.', '[']) {
            return unsupported("a format field with an attribute or index");
        }
        let value = if name.is_empty() || name.bytes().all(|b| b.is_ascii_digit()) {
            if (name.is_empty() && numbered) || (!name.is_empty() && next > 0) {
                return fail("cannot switch between automatic and manual field numbering");
            }
            let index = match name.parse() {
                Ok(index) => {
                    numbered = true;
                    index
                }
                Err(_) => {
                    next += 1;
                    next - 1
                }
            };
            args.positional.get(index)
        } else {
            args.named.iter().find(|(found, _)| found == name).map(|(_, value)| value)
        };
        let Some(value) = value else { return fail(format!("the format has no value for the field '{name}'")) };
        let text = match conversion {
            None => one(value, spec)?,
            Some("s") => one(&Value::Str(value.to_text()?), spec)?,
            Some("r") => {
                let mut text = String::new();
                value.write_repr(&mut text)?;
                one(&Value::str(text), spec)?
            }
            Some(other) => return unsupported(format!("the conversion '!{other}' of a format")),
        };
        out.push_str(&text);
        check_text(out.len())?;
    }
    out.push_str(rest);
    Ok(out)
}

/// `[[fill]align][sign][#][0][width][grouping][.precision][type]`
fn one(value: &Value, spec: &str) -> Result<String> {
    if spec.is_empty() {
        return Ok(value.to_text()?.to_string());
    }
    let (fill, align, mut rest) = alignment(spec);
    let sign = rest.chars().next().filter(|c| "+- ".contains(*c));
    rest = &rest[usize::from(sign.is_some())..];
    let alternate = rest.starts_with('#');
    rest = &rest[usize::from(alternate)..];
    let zero = rest.starts_with('0');
    rest = &rest[usize::from(zero)..];
    let width = digits(&mut rest)?.unwrap_or(0);
    let grouping = rest.chars().next().filter(|c| matches!(c, ',' | '_'));
    rest = &rest[usize::from(grouping.is_some())..];
    let mut precision = None;
    if let Some(after) = rest.strip_prefix('.') {
        rest = after;
        precision = digits(&mut rest)?;
        if precision.is_none() {
            return fail("format specifier missing precision");
        }
    }
    let mut kinds = rest.chars();
    let kind = kinds.next();
    if kinds.next().is_some() || (zero && grouping.is_some()) {
        return unsupported(format!("the format specification {spec:?}"));
    }
    let text = match (value, kind) {
        (Value::Str(text), None | Some('s')) => {
            if sign.is_some() || alternate || grouping.is_some() || align == Some('=') {
                return fail("this format specification is not allowed for strings");
            }
            let text = precision.map_or(&**text, |count| split_chars(text, count).0);
            let fill = if zero && fill.is_none() { '0' } else { fill.unwrap_or(' ') };
            return pad(text, width, fill, align.unwrap_or('<'));
        }
        // Whether a bool without a type is printed as a number depends on the version of Python.
        (Value::Int(int), None | Some('d' | 'x' | 'X' | 'o' | 'b')) if precision.is_none() => {
            let text = number::integer(*int, kind.unwrap_or('d'), alternate);
            match grouping {
                Some(separator) if matches!(kind, None | Some('d')) => number::grouped(&text, separator),
                Some(_) => return unsupported(format!("the format specification {spec:?}")),
                None => text,
            }
        }
        (Value::Int(_) | Value::Float(_), Some(kind @ ('f' | 'F' | 'e' | 'E' | 'g' | 'G' | '%'))) => {
            let number = as_float(value)?.unwrap_or(0.0);
            let text = if kind == '%' {
                number::float(number * 100.0, 'f', precision, alternate)? + "%"
            } else {
                number::float(number, kind, precision, alternate)?
            };
            grouping.map_or(text.clone(), |separator| number::grouped(&text, separator))
        }
        (Value::Undefined(_) | Value::None | Value::List(_) | Value::Dict(_) | Value::Tuple(_), _) => {
            return fail(format!("unsupported format string passed to {}.__format__", value.type_name()));
        }
        _ => return unsupported(format!("the format specification {spec:?} of a {}", value.type_name())),
    };
    let text = match sign {
        Some(sign @ ('+' | ' ')) if !text.starts_with('-') => format!("{sign}{text}"),
        _ => text,
    };
    let fill = fill.unwrap_or(if zero { '0' } else { ' ' });
    pad(&text, width, fill, align.unwrap_or(if zero { '=' } else { '>' }))
}

fn alignment(spec: &str) -> (Option<char>, Option<char>, &str) {
    let is_align = |c: &char| matches!(c, '<' | '>' | '^' | '=');
    let mut chars = spec.chars();
    match (chars.next(), chars.next()) {
        (Some(fill), Some(align)) if is_align(&align) => (Some(fill), Some(align), chars.as_str()),
        (Some(align), _) if is_align(&align) => (None, Some(align), &spec[1..]),
        _ => (None, None, spec),
    }
}
