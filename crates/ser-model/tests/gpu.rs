//! The checks of docs/gpu.md. They are skipped without a GPU.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::ndarray::{Array2, ArrayView2};
use ser_core::testing::Requirement;
use ser_core::{BoxError, Context, Learner, LossOutput, Pair, PairId, PairTarget, Preference, Scorer, Side, loss_fn};
use ser_data::{TemplateKind, TextSettings};
use ser_model::{Device, DeviceChoice, Precision, RewardModel, RewardModelSettings, TrainingSettings};

fn gpu() -> Option<Device> {
    match Device::choose(DeviceChoice::Cuda) {
        Ok((device, why)) => {
            eprintln!("{why}");
            Some(device)
        }
        Err(error) => {
            Requirement::Cuda.missing(error);
            None
        }
    }
}

/// Every golden folder with its pairs and the adapted scores.
fn goldens() -> Vec<(PathBuf, Vec<Arc<Pair>>, Vec<f64>)> {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let folders = fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path());
    folders
        .filter(|folder| folder.join("expected.json").exists())
        .map(|folder| {
            let text = fs::read_to_string(folder.join("expected.json")).unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            let texts: Vec<[String; 3]> = serde_json::from_value(value["pairs"].clone()).unwrap();
            let pair =
                |(i, [prompt, a, b]): (usize, &[String; 3])| Arc::new(Pair::from_text(PairId(i as u64), prompt, a, b));
            let pairs = texts.iter().enumerate().map(pair).collect();
            (folder, pairs, serde_json::from_value(value["adapted"].clone()).unwrap())
        })
        .collect()
}

fn settings(precision: Precision) -> RewardModelSettings {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    RewardModelSettings { text, precision, ..Default::default() }
}

fn scores(model: &mut RewardModel, pairs: &[Arc<Pair>]) -> Vec<f64> {
    model.score(pairs, &mut Context::silent()).unwrap().iter().flat_map(|s| [s.a.0, s.b.0]).collect()
}

fn gap(one: &[f64], other: &[f64]) -> f64 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn scores_equal_transformers() {
    let Some(device) = gpu() else { return };
    for (folder, pairs, expected) in goldens() {
        let mut model =
            RewardModel::with_adapter(&folder, &folder.join("adapter"), &settings(Precision::F32), device).unwrap();
        let gap = gap(&scores(&mut model, &pairs), &expected);
        eprintln!("{}: {gap:.1e}", folder.display());
        assert!(gap < 1e-4, "{}: {gap}", folder.display());
    }
}

#[test]
fn other_pairs_do_not_change_a_score_in_bf16() {
    let Some(device) = gpu() else { return };
    for (folder, pairs, _) in goldens() {
        let mut model =
            RewardModel::with_adapter(&folder, &folder.join("adapter"), &settings(Precision::Bf16), device).unwrap();
        let together = scores(&mut model, &pairs);
        let alone: Vec<f64> = pairs.iter().flat_map(|pair| scores(&mut model, std::slice::from_ref(pair))).collect();
        let gap = gap(&alone, &together);
        eprintln!("{}: {gap:.1e}", folder.display());
        assert!(gap < 2e-2, "{}: {gap}", folder.display());
    }
}

fn hinge(scores: ArrayView2<'_, f64>, _: &[PairTarget]) -> Result<LossOutput, BoxError> {
    let gradient = Array2::from_shape_fn(scores.dim(), |(_, side)| if side == 0 { -1.0 } else { 1.0 });
    Ok(LossOutput { value: 0.0, gradient })
}

#[test]
fn a_step_in_bf16_learns_with_checkpointing_and_without() {
    let Some(device) = gpu() else { return };
    for (folder, pairs, _) in goldens() {
        for gradient_checkpointing in [false, true] {
            let training = TrainingSettings { learning_rate: 1e-2, gradient_checkpointing, ..Default::default() };
            let settings = RewardModelSettings { training, ..settings(Precision::Bf16) };
            let mut model = RewardModel::from_folder(&folder, &settings, device).unwrap();
            let margin = |scores: &[f64]| scores.chunks(2).map(|pair| pair[0] - pair[1]).sum::<f64>();
            let before = margin(&scores(&mut model, &pairs));
            let preferences: Vec<Preference> = pairs.iter().map(|p| Preference::human(p.clone(), Side::A)).collect();
            model.fit(&preferences, &loss_fn(hinge), &mut Context::silent().with_seed(0)).unwrap();
            let after = margin(&scores(&mut model, &pairs));
            assert!(after > before, "{}: {before} to {after}", folder.display());
        }
    }
}
