//! What a run folder says of itself: who made it, on what, and which stages are done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The version of this crate.
    pub(crate) version: String,
    /// What the run was made from: fingerprints of the data, seeds.
    pub(crate) facts: BTreeMap<String, Value>,
    /// The stages done, in the order they were done.
    pub(crate) stages: Vec<StageRecord>,
}

/// A stage that is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StageRecord {
    /// The file or folder it made, relative to the run folder.
    pub(crate) stage: String,
    /// The SHA-256 of that.
    pub(crate) sha256: String,
    /// How long it took.
    pub(crate) seconds: f64,
    /// What it has to say in few words.
    pub(crate) summary: Value,
    /// Whether what it made was removed since, to save space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pruned: bool,
}

/// Where two JSON values first differ, in the order of keys: the dotted path, the old value and the new.
pub(crate) fn first_difference(path: &str, was: &Value, is: &Value) -> Option<(String, String, String)> {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (was, is) {
        (Value::Object(old), Value::Object(new)) => {
            let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            let absent = Value::Null;
            keys.into_iter().find_map(|key| {
                first_difference(&below(key), old.get(key).unwrap_or(&absent), new.get(key).unwrap_or(&absent))
            })
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => old
            .iter()
            .zip(new)
            .enumerate()
            .find_map(|(i, (old, new))| first_difference(&below(&i.to_string()), old, new)),
        _ if was == is => None,
        _ => Some((path.to_owned(), was.to_string(), is.to_string())),
    }
}

/// Settings without those that say when checkpoints are written.
pub(crate) fn without_saving(settings: &Value) -> Value {
    match settings {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "save_steps" | "save_total_limit"))
            .map(|(name, value)| (name.clone(), without_saving(value)))
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_difference_has_a_path_and_both_values() {
        let was = json!({"a": {"b": [1, 2], "c": 0.5}, "z": 1});
        assert_eq!(first_difference("", &was, &was), None);
        let is = json!({"a": {"b": [1, 3], "c": 0.6}, "z": 1});
        assert_eq!(first_difference("", &was, &is), Some(("a.b.1".into(), "2".into(), "3".into())));
        let is = json!({"a": {"b": [1, 2]}, "z": 1});
        assert_eq!(first_difference("loop", &was, &is), Some(("loop.a.c".into(), "0.5".into(), "null".into())));
    }
}
