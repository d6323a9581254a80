//! Nested tables: merging, dotted keys, lines of keys, conversion from TOML.

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// Tables with one key that names a variant. A later variant replaces an earlier one.
const VARIANTS: [&str; 3] = ["candidates", "kl_control", "response_length"];

/// Keys with an earlier name: table, earlier name, name.
const RENAMED: [(&str, &str, &str); 3] =
    [("loop", "carry", "pool_reuse"), ("loop", "choice", "model_selection"), ("loop", "guards", "drift_limits")];

/// A table with only `value` under these keys.
pub(super) fn nested<'a>(keys: impl DoubleEndedIterator<Item = &'a str>, value: Value) -> Map<String, Value> {
    let value = keys.rev().fold(value, |value, key| Value::Object(Map::from_iter([(key.to_owned(), value)])));
    match value {
        Value::Object(table) => table,
        _ => Map::new(),
    }
}

/// Puts `later` over `table`, table by table. If the `kind` or the variant changes, the fields of the other are removed.
pub(super) fn merge(table: &mut Map<String, Value>, later: Map<String, Value>) {
    if later.get("kind").is_some_and(|kind| table.get("kind") != Some(kind)) {
        table.clear();
    }
    for (key, value) in later {
        match (table.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                if VARIANTS.contains(&key.as_str()) && !new.keys().all(|variant| old.contains_key(variant)) {
                    old.clear();
                }
                merge(old, new);
            }
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// The same table, in which keys with an earlier name have their present one, so that a later layer replaces them.
pub(super) fn with_present_names(mut table: Map<String, Value>) -> Map<String, Value> {
    for (name, earlier, present) in RENAMED {
        if let Some(Value::Object(inner)) = table.get_mut(name)
            && !inner.contains_key(present)
            && let Some(value) = inner.remove(earlier)
        {
            inner.insert(present.to_owned(), value);
        }
    }
    table
}

/// The value of a dotted key.
pub(super) fn lookup<'t>(table: &'t Map<String, Value>, key: &str) -> Option<&'t Value> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    match (table.get(first)?, rest) {
        (value, None) => Some(value),
        (Value::Object(inner), Some(rest)) => lookup(inner, rest),
        _ => None,
    }
}

/// The key and the value of `key=value`. The value is TOML where it is valid TOML, else text: `lora.rank=4` and
/// `loop.anchor=none` both work.
pub(super) fn assignment(text: &str) -> Result<(String, Value), ConfigError> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(ConfigError::new(format!("{text}: give KEY=VALUE, such as training.learning_rate=1e-4")));
    };
    let (key, value) = (key.trim(), value.trim());
    let parsed = format!("value = {value}").parse::<toml::Table>().ok().and_then(|mut t| t.remove("value"));
    Ok((key.to_owned(), parsed.map_or_else(|| Value::from(value), value_to_json)))
}

/// The line of a dotted key in a settings file, from 1: of the longest part of it that the file names.
pub(super) fn line_of(text: &str, key: &str) -> Option<usize> {
    let file = DeTable::parse(text).ok()?;
    let (mut here, mut at) = (Some(file.get_ref()), None);
    for part in key.split('.') {
        let Some((name, value)) = here.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == part)) else {
            break;
        };
        at = Some(name.span().start);
        here = match value.get_ref() {
            DeValue::Table(inner) => Some(inner),
            _ => None,
        };
    }
    let before = text.get(..at?)?;
    Some(before.matches('\n').count() + 1)
}

pub(super) fn to_json(table: toml::Table) -> Map<String, Value> {
    table.into_iter().map(|(key, value)| (key, value_to_json(value))).collect()
}

fn value_to_json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::from(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => Value::from(number),
        toml::Value::Boolean(flag) => Value::from(flag),
        toml::Value::Datetime(date) => Value::from(date.to_string()),
        toml::Value::Array(values) => Value::Array(values.into_iter().map(value_to_json).collect()),
        toml::Value::Table(table) => Value::Object(to_json(table)),
    }
}
