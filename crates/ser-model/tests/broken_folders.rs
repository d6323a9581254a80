//! Broken model folders: the error is one sentence that names file and tensor, and nothing panics.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use ser_data::{TemplateKind, TextSettings};
use ser_model::{Device, ModelError, RewardModel, RewardModelSettings};
use tempfile::TempDir;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama")
}

/// A copy of a valid folder.
fn copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(golden().join(name), folder.path().join(name)).unwrap();
    }
    folder
}

fn load(folder: &Path) -> Result<RewardModel, ModelError> {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    RewardModel::from_folder(folder, &RewardModelSettings { text, ..Default::default() }, Device::cpu())
}

/// The error of a changed folder.
fn sentence(change: impl FnOnce(&Path)) -> String {
    let folder = copy();
    change(folder.path());
    let text = load(folder.path()).err().unwrap().to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

fn edit(folder: &Path, from: &str, to: &str) {
    let path = folder.join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

#[test]
fn a_valid_copy_loads() {
    assert!(load(copy().path()).is_ok());
}

#[test]
fn configurations() {
    let text = sentence(|f| fs::remove_file(f.join("config.json")).unwrap());
    assert!(text.contains("config.json: no such file"), "{text}");
    let text = sentence(|f| edit(f, "\"model_type\": \"llama\"", "\"model_type\": \"mamba\""));
    assert!(text.contains("model_type \"mamba\" is not supported; supported: llama"), "{text}");
    let text = sentence(|f| edit(f, "\"hidden_size\": 32", "\"hidden_size\": 64"));
    assert!(text.contains("model.safetensors: tensor model.embed_tokens.weight has shape [260, 32]"), "{text}");
    let text = sentence(|f| edit(f, "\"vocab_size\": 260", "\"vocab_size\": 200"));
    assert!(text.contains("embed_tokens.weight") && text.contains("200"), "{text}");
    let text = sentence(|f| edit(f, "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"));
    assert!(text.contains("tensor model.layers.2.") && text.contains("is missing"), "{text}");
}

#[test]
fn weights() {
    let path = |f: &Path| f.join("model.safetensors");
    let text = sentence(|f| {
        let bytes = fs::read(path(f)).unwrap();
        fs::write(path(f), &bytes[..bytes.len() - 100]).unwrap();
    });
    assert!(text.contains("model.safetensors: not a complete safetensors file"), "{text}");
    let text = sentence(|f| fs::write(path(f), "").unwrap());
    assert!(text.contains("the file is empty"), "{text}");
    let text = sentence(|f| {
        fs::remove_file(path(f)).unwrap();
        fs::write(f.join("pytorch_model.bin"), "x").unwrap();
    });
    assert!(text.contains("pickled weights are not read"), "{text}");
    let text = sentence(|f| {
        fs::remove_file(path(f)).unwrap();
        let index = r#"{"weight_map": {"model.norm.weight": "../../etc/passwd"}}"#;
        fs::write(f.join("model.safetensors.index.json"), index).unwrap();
    });
    assert!(text.contains("\"../../etc/passwd\" is not a plain file name"), "{text}");
}

#[test]
fn shards_are_found_by_their_index() {
    let folder = copy();
    let path = folder.path();
    fs::rename(path.join("model.safetensors"), path.join("model-1.safetensors")).unwrap();
    let index = r#"{"weight_map": {"model.norm.weight": "model-1.safetensors"}}"#;
    fs::write(path.join("model.safetensors.index.json"), index).unwrap();
    load(path).unwrap();
}

#[test]
fn indexes() {
    let sharded = |map: &str, twice: bool| {
        sentence(|f| {
            fs::rename(f.join("model.safetensors"), f.join("model-1.safetensors")).unwrap();
            if twice {
                fs::copy(f.join("model-1.safetensors"), f.join("model-2.safetensors")).unwrap();
            }
            fs::write(f.join("model.safetensors.index.json"), format!(r#"{{"weight_map": {{{map}}}}}"#)).unwrap();
        })
    };
    let text = sharded(r#""model.norm.weight": "model-1.safetensors", "x.weight": "model-1.safetensors""#, false);
    assert!(
        text.contains("index.json: tensor x.weight is missing from model-1.safetensors, which the index names for it"),
        "{text}"
    );
    let text = sharded(r#""model.norm.weight": "model-2.safetensors""#, false);
    assert!(text.contains("model-2.safetensors: no such file"), "{text}");
    let text = sharded(r#""a": "model-1.safetensors", "b": "model-2.safetensors""#, true);
    assert!(
        text.contains("model-2.safetensors: not a complete safetensors file (tensor ") && text.contains("another"),
        "{text}"
    );
    let text = sharded(r#""a": 3"#, false);
    assert!(text.contains("index.json: invalid type"), "{text}");
}

#[test]
fn adapters() {
    let with = |change: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            fs::copy(golden().join("adapter").join(name), folder.path().join(name)).unwrap();
        }
        change(folder.path());
        let text = TextSettings {
            template: TemplateKind::Raw,
            append_eos: false,
            max_length: None,
            ..TextSettings::default()
        };
        let settings = RewardModelSettings { text, ..Default::default() };
        RewardModel::with_adapter(&golden(), folder.path(), &settings, Device::cpu()).err().map(|e| e.to_string())
    };
    assert_eq!(with(&|_| ()), None);
    let config = |f: &Path, from: &str, to: &str| {
        let path = f.join("adapter_config.json");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    };
    let text = with(&|f| config(f, "\"r\": 3", "\"r\": 5")).unwrap();
    assert!(text.contains("lora_A.weight has shape [3, 32], but the configuration needs [5, 32]"), "{text}");
    let text = with(&|f| config(f, "\"use_dora\": false", "\"use_dora\": true")).unwrap();
    assert!(text.contains("lora_magnitude_vector is missing"), "{text}");
    let text = with(&|f| {
        let path = f.join("adapter_config.json");
        let mut value: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        value["target_modules"] = serde_json::json!(["v_proj", "down_proj"]);
        fs::write(path, value.to_string()).unwrap();
    })
    .unwrap();
    assert!(text.contains("does not use tensor"), "{text}");
    let text =
        with(&|f| fs::rename(f.join("adapter_model.safetensors"), f.join("adapter_model.bin")).unwrap()).unwrap();
    assert!(text.contains("adapter_model.bin: pickled weights are not read"), "{text}");
    let text = with(&|f| fs::remove_file(f.join("adapter_model.safetensors")).unwrap()).unwrap();
    assert!(text.contains("adapter_model.safetensors: no such file"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// With some bytes of the header changed, a folder loads or returns an error; it does not panic.
    #[test]
    fn damaged_headers_do_not_panic(changes in prop::collection::vec((0usize..2000, any::<u8>()), 1..4)) {
        let folder = copy();
        let path = folder.path().join("model.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        fs::write(&path, bytes).unwrap();
        if let Err(error) = load(folder.path()) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }

    #[test]
    fn damaged_configurations_do_not_panic(at in 0usize..700, byte in any::<u8>()) {
        let folder = copy();
        let path = folder.path().join("config.json");
        let mut bytes = fs::read(&path).unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        fs::write(&path, bytes).unwrap();
        let _ = load(folder.path());
    }
}
