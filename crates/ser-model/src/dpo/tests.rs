//! DPO: learning, gradients, loss scaling, resume.

use std::path::Path;
use std::sync::Arc;

use approx::assert_abs_diff_eq;
use ser_core::{Pair, PairId, Preference, Side, StepOutcome, Training};
use ser_data::{TemplateKind, TextSettings};
use ser_loss::DpoSettings;
use tch::{Kind, Tensor};

use super::*;
use crate::checkpoint::Weights;
use crate::{CausalLm, CausalLmSettings, Device, LoraSettings, Precision, TrainingSettings};

fn model() -> CausalLm {
    model_in(Precision::F32, CausalLmSettings::default().token_budget)
}

fn model_in(precision: Precision, token_budget: usize) -> CausalLm {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama3");
    let text = TextSettings { template: TemplateKind::Raw, ..TextSettings::default() };
    let settings = CausalLmSettings { text, precision, token_budget, ..CausalLmSettings::default() };
    CausalLm::from_folder(&folder, &settings, Device::cpu()).unwrap()
}

fn preferences() -> Vec<Preference> {
    let texts = [("Why? ", "because", "no"), ("q", "yes, it is", "a"), ("Name a river: ", "the Danube", "I cannot")];
    (0..)
        .zip(texts)
        .map(|(id, (prompt, a, b))| Preference::human(Arc::new(Pair::from_text(PairId(id), prompt, a, b)), Side::A))
        .collect()
}

fn settings() -> DpoTrainingSettings {
    DpoTrainingSettings {
        training: TrainingSettings { learning_rate: 5e-3, batch_size: 3, epochs: 12, ..TrainingSettings::default() },
        lora: LoraSettings { rank: 4, dropout: 0.0, ..LoraSettings::default() },
        ..DpoTrainingSettings::default()
    }
}

fn metric(outcome: &StepOutcome, name: &str) -> f64 {
    outcome.values.iter().find(|(n, _)| *n == name).unwrap().1
}

#[test]
fn it_starts_at_its_reference_and_learns_the_preferences() {
    let loss = DpoSettings::default().check().unwrap();
    let mut model = model();
    let mut training = DpoTraining::new(&mut model, &preferences(), &loss, &settings(), 0).unwrap();
    let steps: Vec<StepOutcome> = (0..training.total()).map(|_| training.step().unwrap()).collect();
    let (first, last) = (&steps[0], &steps[steps.len() - 1]);
    assert_abs_diff_eq!(metric(first, "loss"), std::f64::consts::LN_2, epsilon = 1e-6);
    assert_abs_diff_eq!(metric(first, "rewards/margins"), 0.0, epsilon = 1e-6);
    assert!(metric(last, "loss") < 0.6 && metric(last, "rewards/margins") > 0.2, "{last:?}");
    assert_eq!(metric(last, "rewards/accuracies"), 1.0);
    let margin = metric(last, "rewards/chosen") - metric(last, "rewards/rejected");
    assert_eq!(margin, metric(last, "rewards/margins"));
    assert_eq!(metric(last, "epoch"), 12.0);
}

#[test]
fn a_restored_training_ends_with_the_same_bits() {
    let loss = DpoSettings::default().check().unwrap();
    let settings = DpoTrainingSettings {
        training: TrainingSettings { batch_size: 1, epochs: 2, ..settings().training },
        lora: LoraSettings { dropout: 0.3, ..settings().lora },
        ..settings()
    };
    let (mut a, mut b) = (model(), model());
    let mut whole = DpoTraining::new(&mut a, &preferences(), &loss, &settings, 5).unwrap();
    let mut resumed = DpoTraining::new(&mut b, &preferences(), &loss, &settings, 5).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        whole.step().unwrap();
    }
    whole.snapshot(folder.path()).unwrap();
    resumed.restore(folder.path()).unwrap();
    for _ in 2..6 {
        assert_eq!(whole.step().unwrap(), resumed.step().unwrap());
    }
}

#[test]
fn invalid_settings_are_refused() {
    let loss = DpoSettings::default().check().unwrap();
    let mut model = model();
    let mut refuse = |settings: DpoTrainingSettings, preferences: &[Preference]| {
        DpoTraining::new(&mut model, &preferences, &loss, &settings, 0).err().unwrap().to_string()
    };
    assert!(refuse(DpoTrainingSettings { beta: 0.0, ..settings() }, &preferences()).contains("dpo.beta is 0"));
    assert!(refuse(settings(), &[]).contains("no preference fits"));
}

/// The gradients of the first step: Adam's first moment after it is a tenth of them.
fn first_gradients(mut model: CausalLm, training: TrainingSettings, weights: [f64; 3], beta: f64) -> Vec<Tensor> {
    let loss = DpoSettings { beta, ..DpoSettings::default() }.check().unwrap();
    let preferences: Vec<Preference> =
        preferences().into_iter().zip(weights).map(|(p, weight)| Preference { weight, ..p }).collect();
    let training = TrainingSettings { max_grad_norm: None, epochs: 1, ..training };
    let settings = DpoTrainingSettings { training, beta, ..settings() };
    let mut training = DpoTraining::new(&mut model, &preferences, &loss, &settings, 3).unwrap();
    training.step().unwrap();
    let folder = tempfile::tempdir().unwrap();
    training.snapshot(folder.path()).unwrap();
    let saved = Weights::from_file(&folder.path().join("optimizer.safetensors")).unwrap();
    let params = training.stepper.params();
    let moment = |(i, param): (usize, &Tensor)| {
        saved.load(&format!("{i}.exp_avg"), &param.size(), Kind::Float, tch::Device::Cpu).unwrap() * 10
    };
    params.iter().enumerate().map(moment).collect()
}

fn norm(all: &[Tensor]) -> f64 {
    all.iter().map(|t| t.square().sum(Kind::Double).double_value(&[])).sum::<f64>().sqrt()
}

fn gap(got: &[Tensor], want: &[Tensor]) -> f64 {
    norm(&got.iter().zip(want).map(|(a, b)| a - b).collect::<Vec<_>>()) / norm(want)
}

#[test]
fn the_gradient_does_not_depend_on_the_batch_size() {
    let of = |budget: usize, batch_size: usize, gradient_accumulation: usize, weights: [f64; 3]| {
        let training = TrainingSettings { batch_size, gradient_accumulation, ..TrainingSettings::default() };
        first_gradients(model_in(Precision::F32, budget), training, weights, 0.1)
    };
    for weights in [[1.0; 3], [1.0, 0.5, 4.0]] {
        let whole = of(2048, 3, 1, weights);
        for (budget, batch, accumulation) in [(1, 3, 1), (2048, 2, 2), (1, 1, 3)] {
            let gap = gap(&of(budget, batch, accumulation, weights), &whole);
            assert!(gap < 1e-4, "{weights:?}, budget {budget}, {batch} x {accumulation}: {gap}");
        }
    }
    // One pair at a time: half the weight, half the gradient; and a step is the mean of its pairs.
    let doubled: Vec<Tensor> = of(2048, 1, 1, [0.5; 3]).iter().map(|gradient| gradient * 2).collect();
    assert!(gap(&doubled, &of(2048, 1, 1, [1.0; 3])) < 1e-6);
    let parts = [[3.0, 0.0, 0.0], [0.0, 1.5, 0.0], [0.0, 0.0, 12.0]].map(|weights| of(2048, 3, 1, weights));
    let whole = of(2048, 3, 1, [1.0, 0.5, 4.0]);
    let sum: Vec<Tensor> = (0..whole.len()).map(|i| (&parts[0][i] + &parts[1][i] + &parts[2][i]) / 3).collect();
    assert!(gap(&sum, &whole) < 1e-4);
    // The same bits with gradient checkpointing.
    let checkpointed = TrainingSettings { batch_size: 3, gradient_checkpointing: true, ..Default::default() };
    assert_eq!(gap(&first_gradients(model(), checkpointed, [1.0, 0.5, 4.0], 0.1), &whole), 0.0);
}

/// With a small beta, gradients are too small for f16 unless the loss is scaled.
#[test]
fn small_gradients_do_not_underflow_in_f16() {
    let training = || TrainingSettings { batch_size: 3, ..TrainingSettings::default() };
    let exact = first_gradients(model(), training(), [1.0; 3], 1e-4);
    let half = first_gradients(model_in(Precision::F16, 2048), training(), [1.0; 3], 1e-4);
    let gap = gap(&half, &exact);
    assert!(norm(&exact) > 0.0 && gap < 0.05, "{gap}");
}

#[test]
fn preferences_that_are_left_out_are_counted() {
    let loss = DpoSettings::default().check().unwrap();
    let long = Arc::new(Pair::from_text(PairId(9), "q", "a very long answer ".repeat(40), "no"));
    let preferences = [preferences(), vec![Preference::human(long, Side::A)]].concat();
    let mut model = model();
    let training = DpoTraining::new(&mut model, &preferences, &loss, &settings(), 0).unwrap();
    assert_eq!((training.left_out(), training.total()), (1, 12));
}

#[test]
fn keys_that_are_not_given_have_the_defaults_of_dpo() {
    let settings: DpoTrainingSettings =
        serde_json::from_str(r#"{"training": {"epochs": 1}, "lora": {"dropout": 0.0}}"#).unwrap();
    let default = DpoTrainingSettings::default();
    assert_eq!(settings.training, TrainingSettings { epochs: 1, ..default.training });
    assert_eq!(settings.lora, LoraSettings { dropout: 0.0, ..default.lora });
}

/// References, losses and gradients are those of one process, with dropouts.
#[test]
fn a_training_by_several_processes_is_that_of_one() {
    let loss = DpoSettings::default().check().unwrap();
    let training = TrainingSettings { batch_size: 3, epochs: 3, learning_rate: 1e-3, ..TrainingSettings::default() };
    let lora = LoraSettings { rank: 4, dropout: 0.3, ..LoraSettings::default() };
    let settings = DpoTrainingSettings { training, lora, ..DpoTrainingSettings::default() };
    let losses = |workers: Option<&crate::Workers>| {
        let mut model = model_in(Precision::F32, 60);
        if let Some(workers) = workers {
            model.share_with(workers).unwrap();
        }
        let preferences = [preferences(), preferences()].concat();
        let mut training = DpoTraining::new(&mut model, &preferences, &loss, &settings, 5).unwrap();
        let step = |_| {
            let outcome = training.step().unwrap();
            ["loss", "rewards/margins", "logps/chosen", "logps/rejected", "grad_norm"]
                .map(|name| metric(&outcome, name))
        };
        (0..6).flat_map(step).collect::<Vec<f64>>()
    };
    let one = losses(None);
    for size in [2, 4] {
        let all = crate::worker::testing::with_workers(size, |workers| losses(Some(workers)));
        for (one, all) in one.iter().zip(&all) {
            assert_abs_diff_eq!(*one, *all, epsilon = 1e-4 * one.abs().max(1e-1));
        }
    }
}
