//! JSON as template values.

use std::rc::Rc;

use super::error::{Result, TemplateError, fail};
use super::value::{Dict, Value};

/// Text, lists and numbers of JSON as template values.
impl TryFrom<&serde_json::Value> for Value {
    type Error = TemplateError;

    fn try_from(json: &serde_json::Value) -> Result<Self> {
        Ok(match json {
            serde_json::Value::Null => Value::None,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), ..) => Value::Int(value.into()),
                (_, Some(value), _) => Value::Int(value.into()),
                (.., Some(value)) => Value::Float(value),
                _ => return fail(format!("the number {number} cannot be used")),
            },
            serde_json::Value::String(text) => Value::str(text),
            serde_json::Value::Array(items) => Value::list(items.iter().map(Value::try_from).collect::<Result<_>>()?)?,
            serde_json::Value::Object(map) => {
                let mut dict = Dict::default();
                for (key, value) in map {
                    dict.insert(Value::str(key), Value::try_from(value)?)?;
                }
                Value::Dict(Rc::new(dict))
            }
        })
    }
}
