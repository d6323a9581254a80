//! `str` and `repr` of values.

use super::error::{Result, fail, unsupported};
use super::text::{float_repr, repr};
use super::value::{Value, View};

/// Maximum size of a text in bytes: a value, a macro's result or the whole output.
pub(crate) const MAX_TEXT: usize = 32 << 20;

/// Refuses texts that take too much memory.
pub(crate) fn check_text(len: usize) -> Result<()> {
    if len > MAX_TEXT { fail(format!("a text has more than {MAX_TEXT} bytes")) } else { Ok(()) }
}

impl Value {
    /// `str(value)`: what `{{ value }}` prints.
    pub(crate) fn to_text(&self) -> Result<std::rc::Rc<str>> {
        match self {
            Value::Str(text) | Value::Markup(text) => Ok(text.clone()),
            _ => {
                let mut out = String::new();
                if !matches!(self, Value::Undefined(_)) {
                    self.write_repr(&mut out)?;
                }
                Ok(out.into())
            }
        }
    }

    /// Appends `repr(value)`.
    pub(crate) fn write_repr(&self, out: &mut String) -> Result<()> {
        check_text(out.len())?;
        match self {
            Value::Undefined(_) => out.push_str("Undefined"),
            Value::None => out.push_str("None"),
            Value::Bool(value) => out.push_str(if *value { "True" } else { "False" }),
            Value::Int(value) => out.push_str(&value.to_string()),
            Value::Float(value) => out.push_str(&float_repr(*value)),
            Value::Str(text) => out.push_str(&repr(text)),
            Value::Markup(text) => {
                out.push_str("Markup(");
                out.push_str(&repr(text));
                out.push(')');
            }
            Value::List(items) => list(out, "[", &items.values, "]")?,
            Value::Tuple(items) if items.values.len() == 1 => list(out, "(", &items.values, ",)")?,
            Value::Tuple(items) => list(out, "(", &items.values, ")")?,
            Value::Dict(dict) => {
                out.push('{');
                for (i, (key, value)) in dict.entries.iter().enumerate() {
                    if i > 0 {
                        out.push_str(", ");
                    }
                    key.write_repr(out)?;
                    out.push_str(": ");
                    value.write_repr(out)?;
                }
                out.push('}');
            }
            Value::View(view, dict) => {
                let open = match view {
                    View::Keys => "dict_keys([",
                    View::Values => "dict_values([",
                    View::Items => "dict_items([",
                };
                list(out, open, &dict.view(*view)?, "])")?;
            }
            Value::Range(range) => {
                out.push_str(&format!("range({}, {}", range.start, range.stop));
                if range.step != 1 {
                    out.push_str(&format!(", {}", range.step));
                }
                out.push(')');
            }
            // Python prints addresses.
            Value::Iterator(_) | Value::Namespace(_) | Value::Loop(_) | Value::Function(_) => {
                return unsupported(format!("printing a {}", self.type_name()));
            }
        }
        Ok(())
    }
}

fn list(out: &mut String, open: &str, values: &[Value], close: &str) -> Result<()> {
    out.push_str(open);
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        value.write_repr(out)?;
    }
    out.push_str(close);
    Ok(())
}
