//! Comparing the results of two runs: everything but times must be the same.

use serde_json::{Map, Value};

use super::disk::Tree;
use super::kinds::Kind;

/// The first file in which two results differ, and how.
pub(super) fn difference(kind: Kind, expected: &Tree, found: &Tree) -> Option<String> {
    let results = |tree: &Tree| -> Tree {
        let kept = tree.iter().filter(|(path, _)| kind.is_result(path));
        kept.map(|(path, bytes)| (path.clone(), bytes.as_ref().map(|bytes| without_times(path, bytes)))).collect()
    };
    let (expected, found) = (results(expected), results(found));
    if let Some(path) = expected.keys().find(|path| !found.contains_key(*path)) {
        return Some(format!("{path} is missing"));
    }
    if let Some(path) = found.keys().find(|path| !expected.contains_key(*path)) {
        return Some(format!("{path} is left over"));
    }
    expected.iter().zip(&found).find(|(one, other)| one != other).map(|((path, _), _)| format!("{path} differs"))
}

/// The contents of a file without what depends on the clock.
fn without_times(path: &str, bytes: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(bytes);
    match path.rsplit('/').next().unwrap_or(path) {
        "report.json" => json(&text, &["timing", "checksum"]),
        // The checksum of a file that holds times, and of the manifest itself.
        "manifest.json" => json(&text, &["seconds", "log", "checksum"]),
        "metrics.jsonl" => {
            text.lines().flat_map(|line| [json(line, &["time"]), b"\n".to_vec()]).collect::<Vec<_>>().concat()
        }
        "report.html" => match text.split_once(">Time</h2>") {
            Some((before, after)) => {
                let after = after.split_once("</section>").map_or("", |(_, after)| after);
                format!("{before}{after}").into_bytes()
            }
            None => bytes.to_vec(),
        },
        _ => bytes.to_vec(),
    }
}

/// JSON without the fields of these names, at any depth; bytes that are not JSON stay as they are.
fn json(text: &str, without: &[&str]) -> Vec<u8> {
    fn strip(value: Value, without: &[&str]) -> Value {
        match value {
            Value::Object(fields) => {
                let kept = fields.into_iter().filter(|(name, _)| !without.contains(&name.as_str()));
                Value::Object(kept.map(|(name, value)| (name, strip(value, without))).collect::<Map<_, _>>())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(|item| strip(item, without)).collect()),
            other => other,
        }
    }
    match serde_json::from_str(text) {
        Ok(value) => strip(value, without).to_string().into_bytes(),
        Err(_) => text.as_bytes().to_vec(),
    }
}
