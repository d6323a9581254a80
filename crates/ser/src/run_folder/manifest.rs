//! The manifest of a run folder: the version that made it, fingerprints of the data, and the finished stages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::{FileDigests, digest, digest_of, file_digests, first_damage};
use crate::Error;

/// `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The version of this crate.
    pub(crate) version: String,
    /// 1 if settings, checkpoints and this file have checksums; 0 for runs of earlier versions.
    #[serde(default)]
    pub(crate) format: u32,
    /// Fingerprints of the data and the seeds.
    #[serde(alias = "facts")]
    pub(crate) fingerprints: BTreeMap<String, Value>,
    /// The log of metrics when the last stage was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) log: Option<LogRecord>,
    /// The finished stages, oldest first.
    pub(crate) stages: Vec<StageRecord>,
}

impl Manifest {
    /// The manifest of a run that begins.
    pub(super) fn new(version: &str, format: u32) -> Self {
        Manifest { version: version.to_owned(), format, fingerprints: BTreeMap::new(), log: None, stages: Vec::new() }
    }
}

/// The log of metrics up to the end of a stage. Later lines are those of a stage that is not finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogRecord {
    pub(crate) bytes: u64,
    /// The SHA-256 of these bytes.
    pub(crate) sha256: String,
}

/// A finished stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StageRecord {
    /// Its file or folder, relative to the run folder.
    pub(crate) stage: String,
    /// The SHA-256 of the file; of a folder, that of the digests of its files.
    pub(crate) sha256: String,
    /// The SHA-256 of each file in a folder. Earlier versions recorded one for the folder only.
    #[serde(default, skip_serializing_if = "FileDigests::is_empty")]
    pub(crate) files: FileDigests,
    /// The seconds that it took, over all processes.
    pub(crate) seconds: f64,
    /// The result that the stage returned.
    pub(crate) summary: Value,
    /// Whether the file or folder was removed later, to save space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pruned: bool,
    /// Whether the file or folder was found damaged and is to be made again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) damaged: bool,
}

impl StageRecord {
    /// The file of the stage that is not as it was recorded, if any.
    pub(super) fn damage(&self, target: &Path) -> Result<Option<PathBuf>, Error> {
        if self.pruned {
            return Ok(None);
        }
        if !target.exists() {
            return Ok(Some(target.to_owned()));
        }
        if target.is_dir() && !self.files.is_empty() {
            return first_damage(target, &self.files);
        }
        // A folder without files has an empty list too, as records of an earlier version have, with another digest.
        let sound =
            digest(target)? == self.sha256 || target.is_dir() && digest_of(&file_digests(target)?) == self.sha256;
        Ok((!sound).then(|| target.to_owned()))
    }
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
