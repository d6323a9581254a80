//! Randomly changed model folders: a folder loads or returns a one-sentence error, does not panic, and does not allocate more
//! memory than its files explain.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use ser_core::{Context, Pair, PairId, Scorer};
use ser_data::{TemplateKind, TextSettings};
use ser_model::{Device, RewardModel, RewardModelSettings};
use serde_json::{Value, json};
use tempfile::TempDir;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/qwen2-windows")
}

fn copy(names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in names {
        fs::copy(golden().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

const ALL: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

/// Loads a folder, scores a pair with it, and checks the scores or the error.
fn load(folder: &Path, adapter: Option<&Path>) -> Result<(), TestCaseError> {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    let settings = RewardModelSettings { text, ..Default::default() };
    let model = match adapter {
        Some(adapter) => RewardModel::with_adapter(folder, adapter, &settings, Device::cpu()),
        None => RewardModel::from_folder(folder, &settings, Device::cpu()),
    };
    let pair = Arc::new(Pair::from_text(PairId(0), "some prompt", "yes", "no"));
    if let Err(error) = model.and_then(|mut model| model.score(&[pair], &mut Context::silent())) {
        let text = error.to_string();
        prop_assert!(!text.contains('\n') && text.len() < 500, "{text}");
    }
    // The files have 150 kB.
    if let Some(peak) = peak_memory() {
        prop_assert!(peak < 1 << 30, "{peak} bytes at the most");
    }
    Ok(())
}

/// The peak memory of this process in bytes, if the system tells it.
fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// Invalid values of a field.
fn nasty() -> impl Strategy<Value = Value> {
    select(vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(3),
        json!(2.5),
        json!(1e18),
        json!(1e300),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1_i64 << 30),
        json!(1_i64 << 31),
        json!(""),
        json!("yarn"),
        json!("../x"),
        json!([]),
        json!([1_i64 << 62, 4]),
        json!({}),
        json!({"rope_type": "yarn", "factor": 1e-300, "original_max_position_embeddings": 1}),
        json!({"rope_type": "dynamic", "factor": 1e300}),
        json!({"rope_type": "llama3", "factor": 1, "low_freq_factor": 1, "high_freq_factor": 1}),
    ])
}

/// The pointers of all values in a JSON value.
fn pointers(value: &Value, at: &str, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, v)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            pointers(v, &format!("{at}/{key}"), out);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, v)| pointers(v, &format!("{at}/{i}"), out)),
        _ => {}
    }
    out.push(at.to_owned());
}

/// Replaces values inside a JSON value.
fn mutate(value: &mut Value, changes: &[(Index, Value)]) {
    for (index, new) in changes {
        let mut all = Vec::new();
        pointers(value, "", &mut all);
        if let Some(old) = value.pointer_mut(index.get::<String>(&all)) {
            *old = new.clone();
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<(Index, Value)>> {
    prop::collection::vec((any::<Index>(), nasty()), 1..3)
}

fn mutate_file(path: &Path, changes: &[(Index, Value)]) {
    let mut value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    mutate(&mut value, changes);
    fs::write(path, value.to_string()).unwrap();
}

/// A safetensors file with its header changed as JSON.
fn mutate_header(path: &Path, changes: &[(Index, Value)]) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    mutate(&mut header, changes);
    let header = header.to_string();
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(&bytes[8 + length..]);
    fs::write(path, out).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn configurations(changes in changes()) {
        let folder = copy(&ALL);
        mutate_file(&folder.path().join("config.json"), &changes);
        load(folder.path(), None)?;
    }

    #[test]
    fn headers(changes in changes()) {
        let folder = copy(&ALL);
        mutate_header(&folder.path().join("model.safetensors"), &changes);
        load(folder.path(), None)?;
    }

    #[test]
    fn indexes(changes in changes()) {
        let folder = copy(&["config.json", "tokenizer.json"]);
        fs::copy(golden().join("model.safetensors"), folder.path().join("one.safetensors")).unwrap();
        fs::copy(golden().join("grads.safetensors"), folder.path().join("two.safetensors")).unwrap();
        let path = folder.path().join("model.safetensors.index.json");
        let index = json!({"metadata": {"total_size": 1}, "weight_map": {
            "model.norm.weight": "one.safetensors", "score.weight": "one.safetensors",
            "base_model.model.score.weight": "two.safetensors"}});
        fs::write(&path, index.to_string()).unwrap();
        load(folder.path(), None)?;
        mutate_file(&path, &changes);
        load(folder.path(), None)?;
    }

    #[test]
    fn adapters(of_config in any::<bool>(), changes in changes()) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            fs::copy(golden().join("adapter").join(name), folder.path().join(name)).unwrap();
        }
        if of_config {
            mutate_file(&folder.path().join("adapter_config.json"), &changes);
        } else {
            mutate_header(&folder.path().join("adapter_model.safetensors"), &changes);
        }
        load(&golden(), Some(folder.path()))?;
    }
}
