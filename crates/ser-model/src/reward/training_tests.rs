//! The optimizer steps of a reward model's training: weights, micro-batches, weight decay, resume.

use std::path::Path;
use std::sync::Arc;

use approx::assert_abs_diff_eq;
use ser_core::{Context, Learner, Pair, PairId, Preference, Side, StepOutcome, Training};
use ser_data::{TemplateKind, TextSettings};
use ser_loss::{LossKind, LossSettings, PairwiseLoss};
use tch::{Device, Kind, Tensor};

use super::{RewardModel, RewardModelSettings, RewardTraining};
use crate::activations::Keep;
use crate::checkpoint::Weights;
use crate::language_model::golden::golden;
use crate::train::Optim;
use crate::{LoraSettings, Precision, TrainingSettings};

fn loss() -> PairwiseLoss {
    LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() }.check().unwrap()
}

fn model(training: TrainingSettings, dropout: f64, precision: Precision) -> RewardModel {
    let (folder, _, _) = golden("llama");
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    let lora = LoraSettings { dropout, ..LoraSettings::default() };
    let settings = RewardModelSettings { text, training, lora, precision, ..RewardModelSettings::default() };
    RewardModel::from_folder(&folder, &settings, crate::Device::cpu()).unwrap()
}

/// Preferences with the given weights, on alternating sides.
fn preferences(weights: &[f64]) -> Vec<Preference> {
    let preference = |(i, weight): (usize, &f64)| {
        let answer = "la ".repeat(i + 1);
        let pair = Pair::from_text(PairId(i as u64), format!("question {i}: "), answer, format!("no {i}"));
        let side = if i % 2 == 0 { Side::A } else { Side::B };
        Preference { weight: *weight, ..Preference::human(Arc::new(pair), side) }
    };
    weights.iter().enumerate().map(preference).collect()
}

fn settings(batch_size: usize, gradient_accumulation: usize) -> TrainingSettings {
    TrainingSettings { batch_size, gradient_accumulation, max_grad_norm: None, epochs: 1, ..Default::default() }
}

fn tensor(folder: &Path, name: &str, size: &[i64]) -> Tensor {
    let weights = Weights::from_file(&folder.join("optimizer.safetensors")).unwrap();
    weights.load(name, size, Kind::Float, Device::Cpu).unwrap()
}

/// The gradients of the first step: Adam's first moment after it is a tenth of them.
fn first_gradients(training: TrainingSettings, preferences: &[Preference], precision: Precision) -> Vec<Tensor> {
    let (mut model, loss) = (model(training, 0.0, precision), loss());
    let folder = tempfile::tempdir().unwrap();
    let mut training = RewardTraining::new(&mut model, &preferences, &loss, 3).unwrap();
    training.step().unwrap();
    training.snapshot(folder.path()).unwrap();
    let sizes: Vec<Vec<i64>> = training.stepper.params().iter().map(Tensor::size).collect();
    let gradients = sizes.iter().enumerate().map(|(i, size)| tensor(folder.path(), &format!("{i}.exp_avg"), size) * 10);
    gradients.collect()
}

/// sum(w_i * gradient_i) / n by autograd, one pair at a time, without the code of the training.
fn gradients_by_hand(preferences: &[Preference]) -> Vec<Tensor> {
    let model = model(settings(1, 1), 0.0, Precision::F32);
    let leaves: Vec<Tensor> = model.parameters().unwrap().into_iter().map(|p| p.tensor).collect();
    leaves.iter().for_each(|leaf| drop(leaf.set_requires_grad(true)));
    for preference in preferences {
        let tokens = model.tokenized(std::slice::from_ref(&preference.pair)).unwrap();
        let scores = model.scores(&[&tokens[0]], Keep::No).unwrap();
        let (chosen, rejected) = match preference.preferred {
            Side::A => (0, 1),
            Side::B => (1, 0),
        };
        let loss = -(scores.get(chosen) - scores.get(rejected)).log_sigmoid();
        (loss * (preference.weight / preferences.len() as f64)).backward();
    }
    leaves.iter().map(Tensor::grad).collect()
}

fn gap(got: &[Tensor], want: &[Tensor]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = |all: &mut dyn Iterator<Item = Tensor>| {
        all.map(|t| t.square().sum(Kind::Double).double_value(&[])).sum::<f64>().sqrt()
    };
    norm(&mut got.iter().zip(want).map(|(a, b)| a - b)) / norm(&mut want.iter().map(Tensor::shallow_clone))
}

/// Batches of 5, of 4 and 1, and of single pairs: one mean over all pairs, with weights and without.
#[test]
fn the_gradient_does_not_depend_on_the_batch_size() {
    for weights in [[1.0; 5], [1.0, 0.5, 3.0, 0.0, 2.0]] {
        let preferences = preferences(&weights);
        let want = gradients_by_hand(&preferences);
        for (batch_size, accumulation) in [(5, 1), (4, 2), (2, 3), (1, 5)] {
            let got = first_gradients(settings(batch_size, accumulation), &preferences, Precision::F32);
            let gap = gap(&got, &want);
            assert!(gap < 1e-4, "weights {weights:?}, batch {batch_size} x {accumulation}: {gap}");
        }
        let checkpointed = TrainingSettings { gradient_checkpointing: true, ..settings(4, 2) };
        assert!(gap(&first_gradients(checkpointed, &preferences, Precision::F32), &want) < 1e-4);
        // In f16 the loss is scaled and the gradients are unscaled.
        let half = first_gradients(settings(4, 2), &preferences, Precision::F16);
        assert!(gap(&half, &want) < 0.05, "{}", gap(&half, &want));
    }
}

#[test]
fn the_gradient_is_proportional_to_the_weight() {
    let whole = first_gradients(settings(1, 1), &preferences(&[1.0]), Precision::F32);
    let half = first_gradients(settings(1, 1), &preferences(&[0.5]), Precision::F32);
    let doubled: Vec<Tensor> = half.iter().map(|gradient| gradient * 2).collect();
    assert!(gap(&doubled, &whole) < 1e-6);
    let nothing = first_gradients(settings(1, 1), &preferences(&[0.0]), Precision::F32);
    assert!(nothing.iter().all(|gradient| gradient.abs().max().double_value(&[]) == 0.0));
}

/// The reported loss is the one that is differentiated.
#[test]
fn the_reported_loss_is_the_mean_of_weight_times_loss() {
    let preferences = preferences(&[1.0, 0.5, 3.0, 0.0, 2.0]);
    let loss_of = |batch_size, accumulation| {
        let (mut model, loss) = (model(settings(batch_size, accumulation), 0.0, Precision::F32), loss());
        let mut training = RewardTraining::new(&mut model, &preferences, &loss, 3).unwrap();
        let outcome = training.step().unwrap();
        outcome.values.iter().find(|(name, _)| *name == "loss").unwrap().1
    };
    let whole = loss_of(5, 1);
    assert_abs_diff_eq!(loss_of(4, 2), whole, epsilon = 1e-6);
    assert_abs_diff_eq!(loss_of(1, 5), whole, epsilon = 1e-6);
}

/// Resumed from a snapshot after each step, across epochs, with dropout, accumulation and a schedule.
#[test]
fn a_restored_training_ends_with_the_same_bits() {
    let preferences = preferences(&[1.0, 0.5, 1.0, 2.0, 1.0]);
    for optim in [Optim::AdamW, Optim::Adafactor] {
        let settings = TrainingSettings {
            optim,
            learning_rate: 1e-2,
            weight_decay: 0.1,
            epochs: 3,
            warmup_steps: 2,
            ..settings(1, 2)
        };
        let loss = loss();
        let make = || model(settings.clone(), 0.3, Precision::F32);
        let bits = |model: &RewardModel| -> Vec<Vec<f32>> {
            let params = model.parameters().unwrap();
            params.iter().map(|p| Vec::try_from(p.tensor.detach().flatten(0, -1)).unwrap()).collect()
        };
        let mut whole = make();
        let mut training = RewardTraining::new(&mut whole, &preferences, &loss, 7).unwrap();
        assert_eq!(training.total(), 9);
        let mut snapshots = Vec::new();
        let mut outcomes: Vec<StepOutcome> = Vec::new();
        for _ in 0..9 {
            let folder = tempfile::tempdir().unwrap();
            training.snapshot(folder.path()).unwrap();
            snapshots.push(folder);
            outcomes.push(training.step().unwrap());
        }
        drop(training);
        // `fit` runs the same training.
        let mut fitted = make();
        let summary = fitted.fit(&preferences, &loss, &mut Context::silent().with_seed(7)).unwrap();
        assert_eq!(bits(&fitted), bits(&whole));
        for (done, folder) in snapshots.iter().enumerate() {
            let mut model = make();
            let mut training = model.training(&preferences, &loss, 7).unwrap().unwrap();
            training.restore(folder.path()).unwrap();
            assert_eq!(training.done(), done as u64);
            for outcome in &outcomes[done..] {
                assert_eq!(&training.step().unwrap(), outcome, "{optim:?}, from step {done}");
            }
            assert_eq!(training.summary(), summary);
            drop(training);
            assert_eq!(bits(&model), bits(&whole), "{optim:?}, from step {done}");
        }
        // A checkpoint of other data is refused.
        let mut model = make();
        let fewer = preferences[1..].to_vec();
        let mut training = RewardTraining::new(&mut model, &fewer, &loss, 7).unwrap();
        let error = training.restore(snapshots[4].path()).unwrap_err().to_string();
        assert!(error.contains("5 examples and 9 steps"), "{error}");
    }
}

/// Weight decay applies to the adapter's matrices and the head, not to a trained bias.
#[test]
fn biases_do_not_decay() {
    let (folder, _, _) = golden("llama-linear");
    let lora = LoraSettings { lora_bias: true, dropout: 0.0, ..LoraSettings::default() };
    // All pairs have weight 0, so only weight decay changes parameters.
    let preferences = preferences(&[0.0]);
    let training = TrainingSettings { learning_rate: 0.1, weight_decay: 0.5, ..settings(1, 1) };
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    let settings = RewardModelSettings { text, training, lora, ..RewardModelSettings::default() };
    let mut model = RewardModel::from_folder(&folder, &settings, crate::Device::cpu()).unwrap();
    for parameter in model.parameters().unwrap() {
        tch::no_grad(|| drop(parameter.tensor.shallow_clone().fill_(2.0)));
    }
    model.fit(&preferences, &loss(), &mut Context::silent().with_seed(0)).unwrap();
    let mut kept = 0;
    for parameter in model.parameters().unwrap() {
        let bias = parameter.name.ends_with("bias");
        kept += usize::from(bias);
        let want = if bias { 2.0 } else { 2.0 * (1.0 - 0.1 * 0.5) };
        let gap = (parameter.tensor.detach() - want).abs().max().double_value(&[]);
        assert!(gap < 1e-6, "{}: {gap}", parameter.name);
    }
    assert!(kept > 0);
}
