//! Short descriptions of values, for messages.

use serde_json::Value;

use super::non_finite::non_finite;

/// A short description of a JSON value.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.is_empty() => "an empty text".to_string(),
        Value::String(text) => format!("the text {:?}", beginning(text)),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => match non_finite(value) {
            Some(number) => number.to_string(),
            None => "an object".to_string(),
        },
    }
}

/// The start of a text.
pub(crate) fn beginning(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}
