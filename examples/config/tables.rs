//! Settings as TOML tables: later ones win key by key, and a value that cannot be read is named by its key.

use std::path::Path;

use anyhow::{Context, anyhow};
use toml::{Table, Value};

use super::Config;

/// Tables with one key that names a variant. A later variant replaces an earlier one.
const VARIANTS: [&str; 3] = ["candidates", "kl_control", "response_length"];

/// The tables of a settings file.
///
/// # Errors
/// A file that is no TOML, an unknown key, a value of the wrong kind; in one sentence with file, line and key.
pub(super) fn read(path: &Path) -> anyhow::Result<Table> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let located = |error: &toml::de::Error, key: Option<String>| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let key = key.map_or_else(String::new, |key| format!("{key}: "));
        let message = error.message();
        anyhow!("{} line {}: {key}{message}", path.display(), before.matches('\n').count() + 1)
    };
    let table: Table = text.parse().map_err(|error| located(&error, None))?;
    toml::from_str::<Config>(&text).map_err(|error| located(&error, key_at_fault(&table)))?;
    Ok(table)
}

/// The settings that tables hold.
///
/// # Errors
/// An unknown key or a value of the wrong kind, in one sentence with its key.
pub(super) fn config(table: Table) -> anyhow::Result<Config> {
    table.clone().try_into().map_err(|error: toml::de::Error| match key_at_fault(&table) {
        Some(key) => anyhow!("setting {key}: {}", error.message()),
        None => anyhow!("settings: {}", error.message()),
    })
}

/// The dotted path of the key that settings cannot be read for: the smallest table or value that alone gives the same
/// error. `None` if only the whole does.
fn key_at_fault(table: &Table) -> Option<String> {
    let error_of = |table: Table| table.try_into::<Config>().err().map(|error| error.message().to_owned());
    let error = error_of(table.clone())?;
    let (mut path, mut here): (Vec<String>, &Table) = (Vec::new(), table);
    loop {
        let at_fault = here.iter().find(|(key, value)| {
            let keys = path.iter().map(String::as_str).chain([key.as_str()]);
            error_of(nested(keys, (*value).clone())).as_ref() == Some(&error)
        });
        let Some((key, value)) = at_fault else { break };
        path.push(key.clone());
        let Value::Table(inner) = value else { break };
        if error.starts_with(&format!("unknown field `{key}`")) {
            break;
        }
        here = inner;
    }
    (!path.is_empty()).then(|| path.join("."))
}

/// A table that holds nothing but `value` under these keys.
fn nested<'a>(keys: impl DoubleEndedIterator<Item = &'a str>, value: Value) -> Table {
    let value = keys.rev().fold(value, |value, key| Value::Table(Table::from_iter([(key.to_owned(), value)])));
    match value {
        Value::Table(table) => table,
        _ => Table::new(),
    }
}

/// Puts `later` over `table`, table by table. Where the `kind` or the variant changes, the fields of the other go.
pub(super) fn merge(table: &mut Table, later: Table) {
    if later.get("kind").is_some_and(|kind| table.get("kind") != Some(kind)) {
        table.clear();
    }
    for (key, value) in later {
        match (table.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => {
                if VARIANTS.contains(&key.as_str()) && !new.keys().all(|variant| old.contains_key(variant)) {
                    old.clear();
                }
                merge(old, new);
            }
            (_, value) => drop(table.insert(key, value)),
        }
    }
}

/// Sets `a.b.c`.
pub(super) fn put(table: &mut Table, key: &str, value: Value) {
    merge(table, nested(key.split('.'), value));
}

/// TOML where it is TOML, else a text: `--set lora.rank=4` and `--set loop.anchor=none` both work.
pub(super) fn value_of(text: &str) -> Value {
    let parsed = format!("value = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("value"));
    parsed.unwrap_or_else(|| Value::from(text))
}
