//! The manifest of a run folder: the version that made it, fingerprints of the data, and the finished stages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The version of this crate.
    pub(crate) version: String,
    /// Fingerprints of the data and the seeds.
    #[serde(alias = "facts")]
    pub(crate) fingerprints: BTreeMap<String, Value>,
    /// The finished stages, oldest first.
    pub(crate) stages: Vec<StageRecord>,
}

/// A finished stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StageRecord {
    /// Its file or folder, relative to the run folder.
    pub(crate) stage: String,
    /// The SHA-256 of the file or folder.
    pub(crate) sha256: String,
    /// The seconds that it took, over all processes.
    pub(crate) seconds: f64,
    /// The result that the stage returned.
    pub(crate) summary: Value,
    /// Whether the file or folder was removed later, to save space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pruned: bool,
}

/// The first difference of two JSON values, in the order of keys: the dotted path, the old value and the new.
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

/// Recorded settings that were renamed: the old name and the present one.
const RENAMED: [(&str, &str); 3] = [("carry", "pool_reuse"), ("choice", "model_selection"), ("guards", "drift_limits")];

/// Settings as they are compared: under their present names, without the settings of checkpoints.
pub(crate) fn current_settings(settings: &Value) -> Value {
    let renamed = |name: &str| RENAMED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new).to_owned();
    match settings {
        Value::Object(fields) => fields
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "save_steps" | "save_total_limit"))
            .map(|(name, value)| (renamed(name), current_settings(value)))
            .collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn old_names_are_compared_with_the_present_ones() {
        let old = json!({"carry": "rest", "guards": {"spread": 0.1}, "training": {"save_steps": 5}});
        let new = json!({"pool_reuse": "rest", "drift_limits": {"spread": 0.1}, "training": {}});
        assert_eq!(current_settings(&old), new);
        let manifest: Manifest =
            serde_json::from_value(json!({"version": "0.1.0", "facts": {"seeds": {"run": 3}}, "stages": []})).unwrap();
        assert_eq!(manifest.fingerprints["seeds"]["run"], 3);
    }

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
