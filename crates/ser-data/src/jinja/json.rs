//! `tojson` as transformers defines it: `json.dumps(x, ensure_ascii, indent, separators, sort_keys)`.

use super::calls::Args;
use super::compare::sort_by_keys;
use super::display::check_text;
use super::error::{Result, fail};
use super::text::float_repr;
use super::value::Value;

struct Style {
    ascii: bool,
    indent: Option<String>,
    item: String,
    key: String,
    sort: bool,
}

pub(crate) fn to_json(value: &Value, args: Args) -> Result<String> {
    let [ascii, indent, separators, sort] =
        args.bind("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"], 0)?;
    let indent = match indent {
        None | Some(Value::None) => None,
        Some(Value::Str(text)) => Some(text.to_string()),
        Some(width) => {
            let width = usize::try_from(width.require_int("the indent of tojson")?.max(0)).unwrap_or(usize::MAX);
            check_text(width)?;
            Some(" ".repeat(width))
        }
    };
    let (item, key) = match separators {
        None | Some(Value::None) => (if indent.is_some() { "," } else { ", " }.to_string(), ": ".to_string()),
        Some(pair) => match pair.iterate()?.as_slice() {
            [Value::Str(item), Value::Str(key)] => (item.to_string(), key.to_string()),
            _ => return fail("the separators of tojson must be two strings"),
        },
    };
    let truth = |flag: Option<Value>| flag.is_some_and(|flag| flag.truth());
    let style = Style { ascii: truth(ascii), indent, item, key, sort: truth(sort) };
    let mut out = String::new();
    write(value, &style, 0, &mut out)?;
    Ok(out)
}

fn write(value: &Value, style: &Style, level: usize, out: &mut String) -> Result<()> {
    check_text(out.len())?;
    match value {
        Value::None => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        Value::Float(value) => out.push_str(&float(*value)),
        Value::Str(text) | Value::Markup(text) => string(text, style, out),
        Value::List(items) | Value::Tuple(items) => {
            container(out, style, level, '[', ']', items.values.len(), |out, i| match items.values.get(i) {
                Some(item) => write(item, style, level + 1, out),
                None => Ok(()),
            })?;
        }
        Value::Dict(dict) => {
            let mut entries = dict.entries.clone();
            if style.sort {
                let keyed = entries.iter().map(|(key, _)| (key.clone(), key.clone())).collect();
                let mut sorted = Vec::with_capacity(entries.len());
                for key in sort_by_keys(keyed, false)? {
                    if let Some(value) = dict.get(&key)? {
                        sorted.push((key, value.clone()));
                    }
                }
                entries = sorted;
            }
            container(out, style, level, '{', '}', entries.len(), |out, i| {
                let Some((key, value)) = entries.get(i) else { return Ok(()) };
                string(&key_text(key)?, style, out);
                out.push_str(&style.key);
                write(value, style, level + 1, out)
            })?;
        }
        _ => return fail(format!("Object of type {} is not JSON serializable", value.type_name())),
    }
    Ok(())
}

fn container(
    out: &mut String,
    style: &Style,
    level: usize,
    open: char,
    close: char,
    len: usize,
    item: impl Fn(&mut String, usize) -> Result<()>,
) -> Result<()> {
    out.push(open);
    let line = |out: &mut String, level: usize| {
        if let Some(indent) = &style.indent {
            out.push('\n');
            (0..level).for_each(|_| out.push_str(indent));
        }
    };
    for i in 0..len {
        if i > 0 {
            out.push_str(&style.item);
        }
        line(out, level + 1);
        item(out, i)?;
    }
    if len > 0 {
        line(out, level);
    }
    out.push(close);
    Ok(())
}

fn key_text(key: &Value) -> Result<String> {
    Ok(match key {
        Value::Str(text) | Value::Markup(text) => text.to_string(),
        Value::None => "null".to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => float(*value),
        _ => return fail(format!("keys must be str, int, float, bool or None, not {}", key.type_name())),
    })
}

fn float(value: f64) -> String {
    match float_repr(value).as_str() {
        "nan" => "NaN".to_string(),
        "inf" => "Infinity".to_string(),
        "-inf" => "-Infinity".to_string(),
        text => text.to_string(),
    }
}

fn string(text: &str, style: &Style, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            c if c < ' ' || (style.ascii && !(' '..='~').contains(&c)) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
