//! SFT and DPO with kept activations below the adapter: the same results, each text computed once.

#![allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::{Context, Pair, PairId, Preference, Side, Training};
use ser_data::{TemplateKind, TextSettings};
use ser_loss::DpoSettings;

use super::*;
use crate::activations::{ActivationSettings, Usage};
use crate::{
    CausalLm, CausalLmSettings, Device, DpoTraining, DpoTrainingSettings, LoraSettings, Precision, TrainingSettings,
};

fn model(precision: Precision, activations: ActivationSettings) -> CausalLm {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama3");
    let text = TextSettings { template: TemplateKind::Raw, ..TextSettings::default() };
    let settings = CausalLmSettings { text, precision, activations, ..CausalLmSettings::default() };
    CausalLm::from_folder(&folder, &settings, Device::cpu()).unwrap()
}

fn off() -> ActivationSettings {
    ActivationSettings::off()
}

fn lora() -> LoraSettings {
    LoraSettings { layers: Some(1), rank: 2, dropout: 0.2, ..LoraSettings::default() }
}

fn training() -> TrainingSettings {
    TrainingSettings { learning_rate: 1e-2, batch_size: 2, epochs: 3, ..TrainingSettings::default() }
}

/// The adapter's weights as bits, and what was computed.
fn result(model: &mut CausalLm) -> (Vec<Vec<f32>>, Usage) {
    let params = model.parameters(true).unwrap();
    let weights = params.iter().map(|p| Vec::try_from(p.tensor.detach().flatten(0, -1)).unwrap()).collect();
    (weights, model.activations.usage())
}

fn sft(precision: Precision, activations: ActivationSettings) -> (Vec<Vec<f32>>, Usage) {
    let mut model = model(precision, activations);
    let text =
        |i: u32| CausalExample { tokens: (0..20 + i).map(|t| (t * (i + 3)) % 90).collect(), loss_ranges: vec![4..60] };
    let settings = SftSettings { training: training(), lora: Some(lora()), ..SftSettings::default() };
    let (texts, held_out) = ((0..4).map(text).collect(), (4..6).map(text).collect());
    let mut training = SftTraining::new(&mut model, texts, held_out, &settings, 3).unwrap();
    training.run(&mut Context::silent()).unwrap();
    drop(training);
    result(&mut model)
}

fn preferences() -> Vec<Preference> {
    let preference = |i: u64| {
        let pair =
            Pair::from_text(PairId(i), format!("question {i}: "), "yes ".repeat(6 + i as usize), "no, not at all");
        Preference::human(Arc::new(pair), Side::A)
    };
    (0..4).map(preference).collect()
}

fn dpo(precision: Precision, activations: ActivationSettings) -> (Vec<Vec<f32>>, Usage) {
    let mut model = model(precision, activations);
    let loss = DpoSettings::default().check().unwrap();
    let settings = DpoTrainingSettings { training: training(), lora: lora(), ..DpoTrainingSettings::default() };
    let data = preferences();
    let mut training = DpoTraining::new(&mut model, &data, &loss, &settings, 3).unwrap();
    training.run(&mut Context::silent()).unwrap();
    drop(training);
    result(&mut model)
}

/// SFT has 4 texts and 2 validation texts, each in three epochs. DPO has 8 texts, which its reference computes first: the
/// three epochs compute none.
#[test]
fn trainings_are_those_without_kept_activations() {
    type Run = fn(Precision, ActivationSettings) -> (Vec<Vec<f32>>, Usage);
    let runs: [(Run, usize, usize); 2] = [(sft, 6, 18), (dpo, 8, 32)];
    for (run, texts, without) in runs {
        for precision in [Precision::F32, Precision::Bf16] {
            let folder = tempfile::tempdir().unwrap();
            let folder: PathBuf = folder.path().to_owned();
            let in_folder = || ActivationSettings { folder: Some(folder.clone()), ..off() };
            let (want, usage) = run(precision, off());
            assert_eq!((usage.computed, usage.bytes), (without, 0));
            for (activations, computed) in
                [(ActivationSettings::default(), texts), (in_folder(), texts), (in_folder(), 0)]
            {
                let (got, usage) = run(precision, activations);
                assert_eq!(got, want);
                assert_eq!(usage.computed, computed);
            }
        }
    }
}

/// Activations of weights that are trained are not kept, nor are those of before.
#[test]
fn a_training_of_all_weights_forgets_them() {
    let mut model = model(Precision::F32, ActivationSettings::default());
    let text = CausalExample { tokens: (1..30).collect(), loss_ranges: vec![2..29] };
    let adapter = SftSettings { training: training(), lora: Some(lora()), ..SftSettings::default() };
    let train = |model: &mut CausalLm, settings: &SftSettings| {
        let mut training = SftTraining::new(model, vec![text.clone()], Vec::new(), settings, 3).unwrap();
        training.run(&mut Context::silent()).unwrap();
    };
    train(&mut model, &adapter);
    let kept = model.activations.usage();
    assert!(kept.computed == 1 && kept.bytes > 0, "{kept:?}");
    train(&mut model, &SftSettings { lora: None, ..adapter });
    let usage = model.activations.usage();
    assert_eq!((usage.computed, usage.bytes), (1, 0));
}
