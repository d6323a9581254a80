//! docs/settings.md lists every key of the settings with its default.

#![cfg(all(feature = "config", feature = "libtorch"))]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;

use ser::config::Config;
use ser::eval::JudgeSettings;
use ser::status::PrecisionTarget;
use serde_json::Value;

/// Every key with its default, in full: `sft.training.epochs`. Tables that are not given by default have the values that
/// they get where they are given.
fn defaults() -> BTreeMap<String, Value> {
    let mut config = Config::default();
    config.judge = Some(JudgeSettings::default());
    config.evolution.precision_target = Some(PrecisionTarget::default());
    config.evolution.pseudo_label_weight = Some(1.0);
    config.evolution.pseudo_label_temperature = Some(2.0);
    config.evolution.top_share = Some(0.6);
    let mut keys = BTreeMap::new();
    flatten("", &serde_json::to_value(&config).unwrap(), &mut keys);
    keys
}

fn flatten(path: &str, value: &Value, keys: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (key, value) in table {
                flatten(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, keys);
            }
        }
        _ => drop(keys.insert(path.to_owned(), value.clone())),
    }
}

/// The cells of a row of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let row = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(row.split(" | ").map(|cell| cell.trim().trim_matches('`')).collect())
}

/// The keys on the page with their defaults. The first row of a table is `key`, then a settings table for each column of
/// defaults, then `meaning`.
fn on_page(text: &str) -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    let mut columns: Vec<&str> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("|---")) {
        match cells(line).as_deref() {
            None => columns.clear(),
            Some(["key", tables @ .., "meaning"]) => columns = tables.to_vec(),
            Some([key, values @ .., _]) if values.len() == columns.len() => {
                for (table, value) in columns.iter().zip(values) {
                    // "-" stands for a key without a default.
                    let value = if *value == "-" { Value::Null } else { serde_json::from_str(value).unwrap() };
                    assert_eq!(keys.insert(format!("{table}.{key}"), value), None, "{table}.{key} is listed twice");
                }
            }
            Some(_) => {}
        }
    }
    keys
}

#[test]
fn every_key_is_listed_with_its_default() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md")).unwrap();
    let (expected, found) = (defaults(), on_page(&text));
    let differences: Vec<String> = expected
        .iter()
        .filter(|(key, value)| found.get(*key) != Some(value))
        .map(|(key, value)| format!("{key} is {value}, the page has {:?}", found.get(key)))
        .chain(found.keys().filter(|key| !expected.contains_key(*key)).map(|key| format!("{key} is not a key")))
        .collect();
    assert!(differences.is_empty(), "docs/settings.md:\n{}", differences.join("\n"));
}
