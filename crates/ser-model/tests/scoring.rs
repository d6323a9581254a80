//! Models loaded for scoring: their heads, adapters and text settings, and the independence of calls.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use approx::assert_abs_diff_eq;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use ser_core::{Context, Learner, Pair, PairId, PairScores, Scorer};
use ser_data::{TemplateKind, TextSettings};
use ser_model::{Device, ModelError, RewardModel, RewardModelSettings, TextRecord, merge_adapter};
use serde_json::{Value, json};
use tempfile::TempDir;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn raw() -> RewardModelSettings {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    RewardModelSettings { text, ..RewardModelSettings::default() }
}

fn pair(id: u64, prompt: &str, a: &str, b: &str) -> Arc<Pair> {
    Arc::new(Pair::from_text(PairId(id), prompt, a, b))
}

fn pairs() -> Vec<Arc<Pair>> {
    vec![pair(0, "Why is the sky blue? ", "Rayleigh scattering.", "It is."), pair(1, "Name a river. ", "Rhine", "Oder")]
}

/// Scores with the text settings of `raw`.
fn score(folder: &Path, adapter: Option<&Path>) -> Result<Vec<PairScores>, ModelError> {
    RewardModel::for_scoring(folder, adapter, &raw(), Device::cpu())?.score(&pairs(), &mut Context::silent())
}

/// A copy of the files of a folder.
fn copy(from: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

type Tensors = Vec<(String, safetensors::Dtype, Vec<usize>, Vec<u8>)>;

fn edit_tensors(path: &Path, change: impl FnOnce(&mut Tensors)) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Tensors =
        file.iter().map(|(name, t)| (name.to_owned(), t.dtype(), t.shape().to_vec(), t.data().to_vec())).collect();
    change(&mut tensors);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (name.clone(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    safetensors::serialize_to_file(views, None::<HashMap<String, String>>, path).unwrap();
}

fn rename(tensors: &mut Tensors, from: &str, to: &str) {
    let tensor = tensors.iter_mut().find(|t| t.0 == from).unwrap();
    tensor.0 = to.to_owned();
}

/// The scores of a changed adapter of the golden folder "llama", or the error.
fn with_adapter(config: impl FnOnce(&Path), weights: impl FnOnce(&mut Tensors)) -> Result<Vec<PairScores>, ModelError> {
    let folder = copy(&golden("llama/adapter"));
    config(&folder.path().join("adapter_config.json"));
    edit_tensors(&folder.path().join("adapter_model.safetensors"), weights);
    score(&golden("llama"), Some(folder.path()))
}

fn refused(result: Result<Vec<PairScores>, ModelError>) -> String {
    let text = result.unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text}");
    text
}

/// Two data sets number their pairs from 0.
#[test]
fn one_model_over_two_data_sets_scores_the_texts_it_is_given() {
    let mut model = RewardModel::from_folder(&golden("llama"), &raw(), Device::cpu()).unwrap();
    let (one, other) = (pair(0, "q", "x", "y"), pair(0, "q", "another answer", "y"));
    let first = model.score(std::slice::from_ref(&one), &mut Context::silent()).unwrap();
    let second = model.score(std::slice::from_ref(&other), &mut Context::silent()).unwrap();
    assert_ne!(first[0].a, second[0].a);
    let mut fresh = RewardModel::from_folder(&golden("llama"), &raw(), Device::cpu()).unwrap();
    assert_eq!(fresh.score(&[other], &mut Context::silent()).unwrap(), second);
    assert_eq!(model.score(&[one], &mut Context::silent()).unwrap(), first);
}

#[test]
fn a_model_without_a_head_is_refused_and_another_head_is_named() {
    let base = golden("llama");
    let scores = score(&base, Some(&base.join("adapter"))).unwrap();
    // The base's own head.
    assert_ne!(score(&base, None).unwrap(), scores);
    let headless = copy(&base);
    let weights = headless.path().join("model.safetensors");
    edit_tensors(&weights, |t| t.retain(|t| t.0 != "score.weight"));
    let text = refused(score(headless.path(), None));
    assert!(text.contains("this model has no score head (score.weight)"), "{text}");
    // The adapter has its own head.
    assert_eq!(score(headless.path(), Some(&base.join("adapter"))).unwrap(), scores);
    let causal = copy(&base.join("adapter"));
    edit_tensors(&causal.path().join("adapter_model.safetensors"), |t| t.retain(|t| !t.0.contains("score")));
    let text = refused(score(headless.path(), Some(causal.path())));
    assert!(text.contains("this adapter has no score head"), "{text}");
    fs::write(causal.path().join("value_head.bin"), "x").unwrap();
    let text = refused(score(headless.path(), Some(causal.path())));
    assert!(text.contains("it contains value_head.bin, but a score head is read only as"), "{text}");
    for name in ["value_head.weight", "v_head.summary.weight"] {
        let other = copy(&base);
        edit_tensors(&other.path().join("model.safetensors"), |t| rename(t, "score.weight", name));
        let text = refused(score(other.path(), None));
        assert!(text.contains(&format!("it contains {name}, but a score head")), "{text}");
    }
    let biased = copy(&base);
    edit_tensors(&biased.path().join("model.safetensors"), |t| {
        t.push(("score.bias".into(), safetensors::Dtype::F32, vec![1], vec![0; 4]));
    });
    assert!(refused(score(biased.path(), None)).contains("score.bias"));
}

#[test]
fn other_text_settings_than_in_training_are_refused_unless_forced() {
    let base = golden("llama");
    let script = TextSettings {
        template: TemplateKind::AuthorsCode,
        append_eos: true,
        max_length: Some(64),
        ..TextSettings::default()
    };
    let trained = RewardModelSettings { text: script.clone(), ..raw() };
    let mut model = RewardModel::from_folder(&base, &trained, Device::cpu()).unwrap();
    let expected = model.score(&pairs(), &mut Context::silent()).unwrap();
    let adapter = tempfile::tempdir().unwrap();
    model.snapshot(adapter.path()).unwrap();
    let record = TextRecord::read(adapter.path()).unwrap().unwrap();
    assert_eq!(record.text, script);
    let open = |settings: &RewardModelSettings| {
        RewardModel::for_scoring(&base, Some(adapter.path()), settings, Device::cpu())
            .map(|mut m| m.score(&pairs(), &mut Context::silent()).unwrap())
    };
    assert_eq!(open(&trained).unwrap(), expected);
    let text = open(&raw()).unwrap_err().to_string();
    assert!(text.contains("trained with template authors_code, but raw was requested"), "{text}");
    assert!(RewardModel::with_adapter(&base, adapter.path(), &raw(), Device::cpu()).is_err());
    let mut other = RewardModel::from_folder(&base, &raw(), Device::cpu()).unwrap();
    assert!(other.restore(adapter.path()).is_err() && other.load_adapter(adapter.path(), "second").is_err());
    let forced = open(&RewardModelSettings { force_text: true, ..raw() }).unwrap();
    assert_ne!(forced, expected);

    // A merged model has the text settings of its adapter.
    let merged = tempfile::tempdir().unwrap();
    merge_adapter(&base, adapter.path(), merged.path(), 1 << 30).unwrap();
    assert_eq!(TextRecord::read(merged.path()).unwrap(), Some(record.clone()));
    let scores = RewardModel::for_scoring(merged.path(), None, &trained, Device::cpu())
        .unwrap()
        .score(&pairs(), &mut Context::silent())
        .unwrap();
    assert_abs_diff_eq!(scores[0].a.0, expected[0].a.0, epsilon = 1e-5);
    assert!(RewardModel::for_scoring(merged.path(), None, &raw(), Device::cpu()).is_err());

    // Layout, truncation and padding of tokenizer.json are ignored; other tokens are refused.
    let laid_out = copy(&base);
    edit_json(&laid_out.path().join("tokenizer.json"), |file| {
        file["truncation"] = json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    });
    let again = RewardModel::for_scoring(laid_out.path(), Some(adapter.path()), &trained, Device::cpu());
    assert_eq!(again.unwrap().score(&pairs(), &mut Context::silent()).unwrap(), expected);
    edit_json(&laid_out.path().join("tokenizer.json"), |file| {
        let vocab = file["model"]["vocab"].as_object_mut().unwrap();
        let (a, b) = (vocab["a"].clone(), vocab["b"].clone());
        vocab.insert("a".into(), b);
        vocab.insert("b".into(), a);
    });
    let error = RewardModel::for_scoring(laid_out.path(), Some(adapter.path()), &trained, Device::cpu()).err().unwrap();
    assert!(matches!(error, ModelError::OtherTokenizer { .. }), "{error}");
}

/// Each of them loads with PEFT, to the same scores.
#[test]
fn adapters_that_peft_loads_are_read() {
    let unchanged = || score(&golden("llama"), Some(&golden("llama/adapter"))).unwrap();
    let text = |change: &dyn Fn(&str) -> String| {
        let change = |path: &Path| fs::write(path, change(&fs::read_to_string(path).unwrap())).unwrap();
        with_adapter(change, |_| ())
    };
    let twice = text(&|file| file.replacen('{', "{\"r\": 5, \"lora_alpha\": 3,", 1));
    assert_eq!(twice.unwrap(), unchanged());
    let nan = text(&|file| file.replacen('{', "{\"some_note\": NaN,", 1));
    assert_eq!(nan.unwrap(), unchanged());
    let floats = text(&|file| file.replace("\"r\": 3", "\"r\": 3.0"));
    assert_eq!(floats.unwrap(), unchanged());
    let config = |change: &dyn Fn(&mut Value)| with_adapter(|path| edit_json(path, change), |_| ());
    let ahead = config(&|c| c["target_modules"] = json!(r"(?!.*mlp\.(up|gate)).*(?<!k)(?<!o)_proj"));
    assert_eq!(ahead.unwrap(), unchanged());
    let excluded = config(&|c| {
        c["target_modules"] = json!("all-linear");
        c["exclude_modules"] = json!(["k_proj", "o_proj", "up_proj", "gate_proj"]);
    });
    assert_eq!(excluded.unwrap(), unchanged());
    // PEFT's default alpha is 8; alpha 6 was the file's.
    let default = config(&|c| drop(c.as_object_mut().unwrap().remove("lora_alpha")));
    assert_eq!(default.unwrap(), config(&|c| c["lora_alpha"] = json!(8)).unwrap());
    let in_memory = with_adapter(
        |_| (),
        |tensors| {
            for tensor in tensors.iter_mut() {
                tensor.0 = tensor.0.replace("lora_A.weight", "lora_A.default.weight");
            }
            rename(tensors, "base_model.model.score.weight", "base_model.model.score.modules_to_save.default.weight");
            let original = ("base_model.model.score.original_module.weight".into(), safetensors::Dtype::F32);
            tensors.push((original.0, original.1, vec![1, 32], vec![0; 128]));
        },
    );
    assert_eq!(in_memory.unwrap(), unchanged());
}

#[test]
fn embeddings_in_an_adapter_are_accepted_only_if_they_equal_the_bases() {
    let bytes = fs::read(golden("llama/model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let own = file.tensor("model.embed_tokens.weight").unwrap();
    let beside = |data: Vec<u8>, rows: usize| {
        with_adapter(
            |_| (),
            |t| {
                let name = "base_model.model.model.embed_tokens.weight".to_owned();
                t.push((name, own.dtype(), vec![rows, 32], data));
            },
        )
    };
    assert!(beside(own.data().to_vec(), 260).is_ok());
    let mut other = own.data().to_vec();
    other[2] ^= 64;
    assert!(refused(beside(other, 260)).contains("embed_tokens.weight differs from the base's embeddings"));
    assert!(refused(beside(own.data()[..128].to_vec(), 1)).contains("differs from the base's embeddings"));
}

#[test]
fn adapters_that_cannot_be_read_are_refused_by_name() {
    let config = |change: &dyn Fn(&mut Value)| refused(with_adapter(|path| edit_json(path, change), |_| ()));
    for (name, value) in [
        ("lora_dropout", json!("NaN")),
        ("lora_alpha", json!("8")),
        ("r", json!(2.5)),
        ("layers_to_transform", json!("all")),
        ("layers_to_transform", json!([0])),
        ("target_modules", json!("(q_proj")),
        ("layer_replication", json!([[0, 2]])),
    ] {
        let text = config(&|c| c[name] = value.clone());
        // Layers without an update do not use their tensors.
        let names = if value == json!([0]) {
            "this network with the adapter's target_modules does not use tensor"
        } else {
            name
        };
        assert!(text.contains(names) && text.contains("adapter_"), "{text}");
    }
    let text = config(&|c| {
        c["target_modules"] = json!(".*_proj");
        c["layers_to_transform"] = json!(1);
    });
    assert!(text.contains("layers_to_transform"), "{text}");
}

#[test]
fn config_numbers_are_read_in_both_spellings_and_unused_tensors_are_refused() {
    let folder = copy(&golden("llama3"));
    let expected = score(&golden("llama3"), None).unwrap();
    let path = folder.path().join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"original_max_position_embeddings\": 64"));
    fs::write(&path, text.replace("_embeddings\": 64", "_embeddings\": 64.0").replace(": 32,", ": 32.0,")).unwrap();
    assert_eq!(score(folder.path(), None).unwrap(), expected);

    let folder = copy(&golden("llama-linear"));
    edit_json(&folder.path().join("config.json"), |c| drop(c.as_object_mut().unwrap().remove("mlp_bias")));
    let text = refused(score(folder.path(), None));
    assert!(text.contains("mlp.down_proj.bias") && text.contains("does not use tensor"), "{text}");
}
