//! Settings from nested tables and back. An error names the key of the value that cannot be read.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Config, ConfigError, seeds, tables};

/// Tables that exist with the feature `libtorch` alone.
#[cfg(not(feature = "libtorch"))]
const LANGUAGE_MODELS: [&str; 9] =
    ["model", "lora", "training", "reward_model", "linear", "sft", "policy", "dpo", "base"];

/// The tables of a settings file's text.
///
/// # Errors
/// Text that is not TOML, an unknown key, a value of the wrong type; in one sentence with file, line and key.
pub(super) fn parse(text: &str, path: Option<&Path>) -> Result<Map<String, Value>, ConfigError> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        ConfigError::new(error.message()).at(path, Some(before.matches('\n').count() + 1))
    })?;
    let table = tables::with_present_names(tables::to_json(table));
    match read(&table) {
        Ok(_) => Ok(table),
        Err((key, message)) => Err(match key {
            Some(key) => {
                let line = tables::line_of(text, &key);
                let message = format!("{key}: {message}");
                ConfigError::new(message).with_value(tables::lookup(&table, &key)).with_key(key).at(path, line)
            }
            None => ConfigError::new(message).at(path, None),
        }),
    }
}

/// The settings of tables.
///
/// # Errors
/// An unknown key or a value of the wrong type, in one sentence with its key.
pub(super) fn config(table: &Map<String, Value>) -> Result<Config, ConfigError> {
    read(table).map_err(|(key, message)| match key {
        Some(key) => {
            let message = format!("setting {key}: {message}");
            ConfigError::new(message).with_value(tables::lookup(table, &key)).with_key(key)
        }
        None => ConfigError::new(format!("settings: {message}")),
    })
}

/// The settings of tables, or the key at fault and what is wrong with it.
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
            from_table(tables::nested(keys, (*value).clone())).is_err_and(|of_part| of_part == error)
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
        if !config.is_given(key) && tables::lookup(&all, key) == Some(&run) {
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
