//! Settings as nested tables: later ones win key by key, and a value that cannot be read is named by its key.

use std::path::Path;

use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

use super::{Config, ConfigError, seeds};

/// Tables with one key that names a variant. A later variant replaces an earlier one.
const VARIANTS: [&str; 3] = ["candidates", "kl_control", "response_length"];

/// Keys with an earlier name: table, earlier name, name.
const RENAMED: [(&str, &str, &str); 3] =
    [("loop", "carry", "pool_reuse"), ("loop", "choice", "model_selection"), ("loop", "guards", "drift_limits")];

/// Tables that exist with the feature `libtorch` alone.
#[cfg(not(feature = "libtorch"))]
const LANGUAGE_MODELS: [&str; 7] = ["model", "lora", "training", "sft", "policy", "dpo", "base"];

/// The keys that were given. Configurations with the same settings are equal, whichever of them were given.
#[derive(Clone, Debug, Default)]
pub(super) struct Given(pub(super) Map<String, Value>);

impl PartialEq for Given {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The tables of a settings file's text.
///
/// # Errors
/// Text that is not TOML, an unknown key, a value of the wrong type; in one sentence with file, line and key.
pub(super) fn parse(text: &str, path: Option<&Path>) -> Result<Map<String, Value>, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ConfigError::new(error.message()).at(path, Some(before.matches('\n').count() + 1))
    })?;
    let table = with_present_names(to_json(table));
    match read(&table) {
        Ok(_) => Ok(table),
        Err((key, message)) => Err(match key {
            Some(key) => {
                let line = line_of(text, &key);
                let message = format!("{key}: {message}");
                ConfigError::new(message).with_value(lookup(&table, &key)).with_key(key).at(path, line)
            }
            None => ConfigError::new(message).at(path, None),
        }),
    }
}

/// The settings that tables hold.
///
/// # Errors
/// An unknown key or a value of the wrong type, in one sentence with its key.
pub(super) fn config(table: &Map<String, Value>) -> Result<Config, ConfigError> {
    read(table).map_err(|(key, message)| match key {
        Some(key) => {
            let message = format!("setting {key}: {message}");
            ConfigError::new(message).with_value(lookup(table, &key)).with_key(key)
        }
        None => ConfigError::new(format!("settings: {message}")),
    })
}

/// The settings that tables hold, or the key at fault and what is wrong with it.
fn read(table: &Map<String, Value>) -> Result<Config, (Option<String>, String)> {
    #[cfg(not(feature = "libtorch"))]
    if let Some((key, _)) = table.iter().find(|(key, _)| LANGUAGE_MODELS.contains(&key.as_str())) {
        let message = format!("the table [{key}] is for language models, which need the feature `libtorch`");
        return Err((Some(key.clone()), message));
    }
    from_table(table.clone()).map_err(|error| (key_at_fault(table, &error), error))
}

fn from_table(table: Map<String, Value>) -> Result<Config, String> {
    serde_json::from_value(Value::Object(table)).map_err(|error| error.to_string())
}

/// The dotted path of the key that settings cannot be read for: the smallest table or value that alone gives the same
/// error. `None` if only the whole does.
fn key_at_fault(table: &Map<String, Value>, error: &str) -> Option<String> {
    let (mut path, mut here): (Vec<String>, &Map<String, Value>) = (Vec::new(), table);
    loop {
        let at_fault = here.iter().find(|(key, value)| {
            let keys = path.iter().map(String::as_str).chain([key.as_str()]);
            from_table(nested(keys, (*value).clone())).is_err_and(|of_part| of_part == error)
        });
        let Some((key, value)) = at_fault else { break };
        path.push(key.clone());
        let Value::Object(inner) = value else { break };
        if error.starts_with(&format!("unknown field `{key}`")) {
            break;
        }
        here = inner;
    }
    (!path.is_empty()).then(|| path.join("."))
}

/// A table that holds nothing but `value` under these keys.
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

/// The settings as a JSON object, in which an option without a value is null.
pub(super) fn object(config: &Config) -> Result<Map<String, Value>, ConfigError> {
    match serde_json::to_value(config) {
        Ok(Value::Object(table)) => Ok(table),
        Ok(_) => Ok(Map::new()),
        Err(error) => Err(ConfigError::new(error.to_string())),
    }
}

pub(super) fn to_toml(config: &Config) -> Result<String, ConfigError> {
    let failed = |error: toml::ser::Error| ConfigError::new(error.to_string());
    let mut table = toml::Table::try_from(config).map_err(failed)?;
    let (all, run) = (object(config)?, Value::from(config.run.seed));
    for key in seeds::KEYS {
        if !config.is_given(key) && lookup(&all, key) == Some(&run) {
            remove(&mut table, key);
        }
    }
    toml::to_string_pretty(&table).map_err(failed)
}

fn remove(table: &mut toml::Table, key: &str) {
    match key.split_once('.') {
        Some((first, rest)) => {
            if let Some(toml::Value::Table(inner)) = table.get_mut(first) {
                remove(inner, rest);
            }
        }
        None => drop(table.remove(key)),
    }
}

fn to_json(table: toml::Table) -> Map<String, Value> {
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
