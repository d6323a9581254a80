//! Adapters written here are read by peft, merged models by transformers. Needs a Python with both, named by SER_PYTHON;
//! skipped without it.

#![allow(clippy::unwrap_used)]

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ser_core::ndarray::{Array2, ArrayView2};
use ser_core::testing::Requirement;
use ser_core::{BoxError, Context, Learner, LossOutput, Pair, PairId, PairTarget, Preference, Scorer, Side, loss_fn};
use ser_data::{TemplateKind, TextSettings};
use ser_model::{
    Device, LoraBias, LoraSettings, RewardModel, RewardModelSettings, TargetModules, TrainingSettings, merge_adapter,
};
use serde_json::json;

fn hinge(scores: ArrayView2<'_, f64>, _: &[PairTarget]) -> Result<LossOutput, BoxError> {
    let gradient = Array2::from_shape_fn(scores.dim(), |(_, side)| if side == 0 { -1.0 } else { 1.0 });
    Ok(LossOutput { value: 0.0, gradient })
}

#[test]
fn adapters_and_merged_models_score_the_same_in_python() {
    let Some(python) = python() else { return };
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let out = tempfile::tempdir().unwrap();
    let all = TargetModules::Pattern("all-linear".into());
    let cases = [
        ("llama", LoraSettings::default()),
        ("llama3", LoraSettings { use_rslora: true, target_modules: all.clone(), ..Default::default() }),
        (
            "llama-linear",
            LoraSettings { bias: LoraBias::All, lora_bias: true, target_modules: all.clone(), ..Default::default() },
        ),
        ("mistral", LoraSettings { target_modules: ["layers.1.mlp.up_proj", "o_proj"].into(), ..Default::default() }),
        ("qwen2", LoraSettings { bias: LoraBias::LoraOnly, layers: Some(1), ..Default::default() }),
        // On layer 1 alone, by the names that replace all-linear.
        ("qwen3-yarn", LoraSettings { layers: Some(1), target_modules: all.clone(), ..Default::default() }),
        (
            "mistral-layers",
            LoraSettings {
                layers_to_transform: vec![0],
                layers_pattern: vec!["layers".to_owned()],
                ..Default::default()
            },
        ),
        (
            "qwen3",
            LoraSettings {
                rank_pattern: [("q_proj".to_owned(), 3)].into(),
                alpha_pattern: [(r".*\.1\..*".to_owned(), 5.0)].into(),
                ..Default::default()
            },
        ),
    ];
    let texts = ["a first text", "another, somewhat longer one", "x", "the last of them"];
    for (name, lora) in cases {
        let base = here.join("golden").join(name);
        let folder = out.path().join(name);
        let text = TextSettings {
            template: TemplateKind::Raw,
            append_eos: false,
            max_length: None,
            ..TextSettings::default()
        };
        let training = TrainingSettings { learning_rate: 1e-2, ..Default::default() };
        let settings = RewardModelSettings { lora, training, text, ..Default::default() };
        let mut model = RewardModel::from_folder(&base, &settings, Device::cpu()).unwrap();
        let pairs: Vec<Arc<Pair>> = texts
            .chunks(2)
            .enumerate()
            .map(|(i, two)| Arc::new(Pair::from_text(PairId(i as u64), "", two[0], two[1])))
            .collect();
        let preferences: Vec<Preference> = pairs.iter().map(|p| Preference::human(p.clone(), Side::A)).collect();
        let untrained = model.score(&pairs, &mut Context::silent()).unwrap();
        model.fit(&preferences, &loss_fn(hinge), &mut Context::silent().with_seed(0)).unwrap();
        let scores = model.score(&pairs, &mut Context::silent()).unwrap();
        assert_ne!(scores, untrained, "{name}");
        let adapter = folder.join("adapter");
        model.save_adapter(&adapter).unwrap();
        let shard = if name == "llama" { 20_000 } else { 5_000_000_000 };
        let merged = merge_adapter(&base, &adapter, &folder.join("merged"), shard).unwrap();
        assert_eq!(merged.shards > 1, name == "llama", "{merged:?}");
        let scores: Vec<f64> = scores.iter().flat_map(|s| [s.a.0, s.b.0]).collect();
        let case = json!({"base": base, "texts": texts, "scores": scores});
        std::fs::write(folder.join("case.json"), case.to_string()).unwrap();
    }
    run(&python, "scores", out.path());
}

#[test]
fn causal_adapters_of_peft_merge_into_models_that_transformers_loads() {
    let Some(python) = python() else { return };
    let out = tempfile::tempdir().unwrap();
    run(&python, "make", out.path());
    for entry in std::fs::read_dir(out.path()).unwrap() {
        let folder = entry.unwrap().path();
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(folder.file_name().unwrap());
        let merged = merge_adapter(&base, &folder.join("adapter"), &folder.join("merged"), 50_000).unwrap();
        assert!(merged.architecture.ends_with("ForCausalLM") && merged.changed == 14, "{merged:?}");
    }
    run(&python, "logits", out.path());
}

fn python() -> Option<OsString> {
    let python = std::env::var_os("SER_PYTHON");
    if python.is_none() {
        Requirement::Python.missing("SER_PYTHON does not name a Python with transformers and peft");
    }
    python
}

fn run(python: &OsStr, task: &str, folder: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/check_written.py");
    let output = Command::new(python).arg(script).arg(task).arg(folder).env("HF_HUB_OFFLINE", "1").output().unwrap();
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
