//! SFT against TRL's SFTTrainer (tests/golden/sft.py), and resumed against uninterrupted trainings.

#![allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use approx::{assert_relative_eq, relative_eq};
use ser_core::{Message, Pair, PairId, Preference, Side, StepOutcome, Training};
use ser_data::{TemplateKind, TextSettings};
use serde::Deserialize;

use super::*;
use crate::language_model::ForwardOptions;
use crate::train::Metrics;
use crate::worker::testing::with_workers;
use crate::{BaseSettings, CausalLm, CausalLmSettings, Device, LoraSettings, Precision, Scheduler, TrainingSettings};

#[derive(Deserialize)]
struct Golden {
    texts: Vec<Row>,
    held_out: Vec<Row>,
    steps: Vec<std::collections::HashMap<String, f64>>,
    evaluations: Vec<std::collections::HashMap<String, f64>>,
}

#[derive(Deserialize)]
struct Row {
    input_ids: Vec<u32>,
    completion_mask: Vec<u8>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn golden() -> Golden {
    serde_json::from_str(&std::fs::read_to_string(folder().join("sft.json")).unwrap()).unwrap()
}

fn examples(rows: &[Row]) -> Vec<CausalExample> {
    let loss_ranges = |mask: &[u8]| -> Vec<Range<usize>> {
        let first = mask.iter().position(|m| *m == 1).unwrap();
        Vec::from([first..mask.len()])
    };
    rows.iter()
        .map(|row| CausalExample { tokens: row.input_ids.clone(), loss_ranges: loss_ranges(&row.completion_mask) })
        .collect()
}

fn model(token_budget: usize) -> CausalLm {
    model_in(Precision::F32, token_budget)
}

fn model_in(precision: Precision, token_budget: usize) -> CausalLm {
    let text = TextSettings { template: TemplateKind::Raw, ..TextSettings::default() };
    let settings = CausalLmSettings { text, precision, token_budget, ..CausalLmSettings::default() };
    CausalLm::from_folder(&folder().join("llama3"), &settings, Device::cpu()).unwrap()
}

fn settings() -> SftSettings {
    let training = TrainingSettings {
        learning_rate: 1e-2,
        scheduler: Scheduler::Cosine,
        warmup_steps: 2,
        epochs: 6,
        batch_size: 3,
        ..TrainingSettings::default()
    };
    SftSettings { training, ..SftSettings::default() }
}

fn metric(outcome: &StepOutcome, name: &str) -> f64 {
    outcome.values.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{name}: {outcome:?}")).1
}

#[test]
fn every_step_equals_trl() {
    let golden = golden();
    // In one forward pass, and in one pass per text.
    for budget in [2048, 1] {
        let mut model = model(budget);
        let (texts, held_out) = (examples(&golden.texts), examples(&golden.held_out));
        let mut training = SftTraining::new(&mut model, texts, held_out, &settings(), 0).unwrap();
        assert_eq!(training.total(), 6);
        for (step, (wanted, evaluation)) in golden.steps.iter().zip(&golden.evaluations).enumerate() {
            let got = training.step().unwrap();
            for (name, wanted) in wanted.iter().chain(evaluation) {
                let got = metric(&got, name);
                assert!(
                    relative_eq!(got, *wanted, epsilon = 2e-4, max_relative = 2e-4),
                    "step {step}: {name} {got} {wanted}"
                );
            }
        }
    }
}

/// All weights, or the adapter's, as bits.
fn weights(model: &mut CausalLm, adapter: bool) -> Vec<Vec<f32>> {
    let params = model.parameters(adapter).unwrap();
    params.iter().map(|p| Vec::try_from(p.tensor.detach().flatten(0, -1)).unwrap()).collect()
}

#[test]
fn a_restored_training_ends_with_the_same_bits() {
    let golden = golden();
    let lora = LoraSettings { rank: 2, dropout: 0.3, ..LoraSettings::default() };
    for lora in [None, Some(lora)] {
        let settings = SftSettings {
            training: TrainingSettings { batch_size: 1, epochs: 3, ..settings().training },
            lora: lora.clone(),
            ..settings()
        };
        let texts = examples(&golden.texts);
        let mut model_a = model(2048);
        let mut whole = SftTraining::new(&mut model_a, texts.clone(), Vec::new(), &settings, 7).unwrap();
        let snapshot = tempfile::tempdir().unwrap();
        let mut outcomes = Vec::new();
        for step in 0..9 {
            if step == 4 {
                whole.snapshot(snapshot.path()).unwrap();
            }
            outcomes.push(whole.step().unwrap());
        }
        drop(whole);
        let mut model_b = model(2048);
        let mut resumed = SftTraining::new(&mut model_b, texts.clone(), Vec::new(), &settings, 7).unwrap();
        resumed.restore(snapshot.path()).unwrap();
        assert_eq!(resumed.done(), 4);
        for outcome in &outcomes[4..] {
            assert_eq!(&resumed.step().unwrap(), outcome);
        }
        let result = tempfile::tempdir().unwrap();
        resumed.save(result.path()).unwrap();
        drop(resumed);
        assert_eq!(weights(&mut model_a, lora.is_some()), weights(&mut model_b, lora.is_some()));
        let mut model_c = model(2048);
        let mut loaded = SftTraining::new(&mut model_c, texts, Vec::new(), &settings, 7).unwrap();
        loaded.load(result.path()).unwrap();
        assert_eq!((loaded.done(), loaded.total()), (9, 9));
        drop(loaded);
        assert_eq!(weights(&mut model_c, lora.is_some()), weights(&mut model_b, lora.is_some()));
    }
}

#[test]
fn a_trained_model_is_saved_as_a_complete_folder() {
    let golden = golden();
    let mut model = model(2048);
    let mut training = SftTraining::new(&mut model, examples(&golden.texts), Vec::new(), &settings(), 0).unwrap();
    for _ in 0..3 {
        training.step().unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    training.save(folder.path()).unwrap();
    drop(training);
    let mut again = CausalLm::from_folder(folder.path(), &model.settings, Device::cpu()).unwrap();
    assert_eq!(weights(&mut again, false), weights(&mut model, false));
}

#[test]
fn texts_do_not_attend_to_each_other_and_several_ranges_carry_loss() {
    let golden = golden();
    let model = model(2048);
    let mut texts = examples(&golden.texts);
    // Two ranges in the first text.
    let all = texts[0].loss_ranges[0].clone();
    texts[0].loss_ranges = vec![3..6, all.clone()];
    let alone: Vec<f64> = texts
        .iter()
        .map(|text| {
            let metrics = tch::no_grad(|| model.token_metrics(&[text], None, ForwardOptions::default())).unwrap();
            metrics.means().0 * text.loss_positions().count() as f64
        })
        .collect();
    let together: Vec<&CausalExample> = texts.iter().collect();
    let metrics = tch::no_grad(|| model.token_metrics(&together, None, ForwardOptions::default())).unwrap();
    let tokens: usize = texts.iter().map(|t| t.loss_positions().count()).sum();
    assert_eq!(texts[0].loss_positions().count(), 3 + all.len());
    let (sum, packed) = (alone.iter().sum::<f64>(), metrics.means().0 * tokens as f64);
    assert_relative_eq!(sum, packed, max_relative = 1e-4);
    // By the log-probabilities of the whole text.
    let log_probs = model.log_probs(&[&texts[0].tokens]).unwrap().remove(0);
    let by_hand: f64 = texts[0].loss_positions().map(|position| -log_probs[position - 1]).sum();
    assert_relative_eq!(by_hand, alone[0], max_relative = 1e-4);
}

#[test]
fn texts_without_loss_are_refused() {
    let mut model = model(2048);
    let empty = CausalExample { tokens: vec![0, 1, 2], loss_ranges: Vec::from([0..1]) };
    let mut refuse = |texts: Vec<CausalExample>, settings: SftSettings| {
        SftTraining::new(&mut model, texts, Vec::new(), &settings, 0).err().unwrap().to_string()
    };
    assert!(refuse(vec![empty], settings()).contains("no token that carries loss"));
    assert!(refuse(Vec::new(), settings()).contains("no text"));
    let training = |change: fn(&mut TrainingSettings)| {
        let mut settings = settings();
        change(&mut settings.training);
        settings
    };
    assert!(refuse(Vec::new(), training(|t| t.save_steps = 0)).contains("training.save_steps is 0"));
    assert!(refuse(Vec::new(), training(|t| t.save_total_limit = 0)).contains("training.save_total_limit is 0"));
    let never = SftSettings { eval_every: Some(0), ..settings() };
    assert!(refuse(Vec::new(), never).contains("sft.eval_every is 0"));
    let long = CausalExample { tokens: vec![0; 300], loss_ranges: Vec::from([1..300]) };
    assert!(refuse(vec![long], settings()).contains("300"));
}

/// `turns` applies, and texts over the limit and empty answers are left out and counted.
#[test]
fn examples_honour_turns_and_count_what_they_leave_out() {
    let preference = |id: u64, prompt: Vec<Message>, answer: &str| {
        let pair = Pair { prompt, ..Pair::from_text(PairId(id), "", answer, "no") };
        Preference::human(Arc::new(pair), Side::A)
    };
    let question = || vec![Message::user("Why?")];
    let dialogue = vec![Message::user("Hi"), Message::assistant("Hello."), Message::user("Why?")];
    let long = "a very long answer ".repeat(40);
    let preferences = [
        preference(0, dialogue, "So."),
        preference(1, question(), &long),
        preference(2, question(), "  "),
        preference(3, question(), "Because."),
    ];
    let settings = CausalLmSettings { text: TextSettings::default(), ..CausalLmSettings::default() };
    let model = CausalLm::from_folder(&folder().join("llama3"), &settings, Device::cpu()).unwrap();
    let last = sft_examples(&model, &preferences, LossTurns::Last).unwrap();
    assert_eq!((last.examples.len(), last.too_long, last.empty, last.left_out()), (2, 1, 1, 2));
    let warning = last.warning().unwrap();
    assert!(warning.contains("2 of 4") && warning.contains("1 are longer") && warning.contains("1 have an empty"));
    assert_eq!(last.examples[0].loss_ranges.len(), 1);
    let all = sft_examples(&model, &preferences, LossTurns::All).unwrap();
    assert_eq!(all.left_out(), 2);
    assert_eq!(all.examples[0].loss_ranges.len(), 2);
    assert!(all.examples[0].loss_positions().count() > last.examples[0].loss_positions().count());
    assert_eq!(all.examples[0].tokens, last.examples[0].tokens);
    assert_eq!(all.examples[1], last.examples[1]);
    assert_eq!(sft_examples(&model, &preferences[3..], LossTurns::Last).unwrap().warning(), None);
}

/// Full training in half precision has the losses of f32, on weights in f32.
#[test]
fn all_weights_train_in_half_precision() {
    let golden = golden();
    for (precision, tolerance) in [(Precision::Bf16, 0.03), (Precision::F16, 0.01)] {
        let mut model = model_in(precision, 2048);
        let texts = examples(&golden.texts);
        let mut training = SftTraining::new(&mut model, texts, Vec::new(), &settings(), 0).unwrap();
        for (step, wanted) in golden.steps.iter().enumerate() {
            let got = training.step().unwrap();
            let (loss, wanted) = (metric(&got, "loss"), wanted["loss"]);
            assert!(
                relative_eq!(loss, wanted, max_relative = tolerance),
                "{precision:?}, step {step}: {loss} {wanted}"
            );
            assert_eq!(got.values.iter().any(|(name, _)| *name == "loss_scale"), precision == Precision::F16);
        }
        drop(training);
        assert!(model.parameters(false).unwrap().iter().all(|p| p.tensor.kind() == tch::Kind::Float));
        assert_eq!(model.network.kind, precision.kind());
    }
}

/// Steps smaller than the resolution of half precision accumulate.
#[test]
fn small_steps_add_up_in_half_precision() {
    let golden = golden();
    let moved = |precision: Precision| {
        let mut model = model_in(precision, 2048);
        let before = weights(&mut model, false);
        let training = TrainingSettings {
            learning_rate: 1e-6,
            scheduler: Scheduler::Constant,
            warmup_steps: 0,
            epochs: 4,
            ..settings().training
        };
        let settings = SftSettings { training, ..settings() };
        let mut training = SftTraining::new(&mut model, examples(&golden.texts), Vec::new(), &settings, 0).unwrap();
        while training.done() < training.total() {
            training.step().unwrap();
        }
        drop(training);
        let after = weights(&mut model, false);
        let changes = before.iter().flatten().zip(after.iter().flatten()).map(|(a, b)| f64::from(b - a).powi(2));
        changes.sum::<f64>().sqrt()
    };
    let exact = moved(Precision::F32);
    for precision in [Precision::Bf16, Precision::F16] {
        let half = moved(precision);
        assert!(relative_eq!(half, exact, max_relative = 0.1), "{precision:?}: {half} {exact}");
    }
}

/// Training starts from the stored weights, not from their rounded values.
#[test]
fn training_in_half_precision_starts_from_the_stored_weights() {
    let stored = weights(&mut model(2048), false);
    assert_eq!(weights(&mut model_in(Precision::Bf16, 2048), false), stored);
}

#[test]
fn a_restored_training_in_half_precision_ends_with_the_same_bits() {
    let golden = golden();
    for precision in [Precision::Bf16, Precision::F16] {
        let settings = SftSettings {
            training: TrainingSettings { batch_size: 1, epochs: 2, ..settings().training },
            ..settings()
        };
        let texts = examples(&golden.texts);
        let mut model_a = model_in(precision, 2048);
        let mut whole = SftTraining::new(&mut model_a, texts.clone(), Vec::new(), &settings, 7).unwrap();
        let snapshot = tempfile::tempdir().unwrap();
        let steps =
            |training: &mut SftTraining<'_>, n: u64| (0..n).map(|_| training.step().unwrap()).collect::<Vec<_>>();
        steps(&mut whole, 2);
        whole.snapshot(snapshot.path()).unwrap();
        let mut model_b = model_in(precision, 2048);
        let mut resumed = SftTraining::new(&mut model_b, texts, Vec::new(), &settings, 7).unwrap();
        resumed.restore(snapshot.path()).unwrap();
        assert_eq!(steps(&mut whole, 4), steps(&mut resumed, 4));
        drop((whole, resumed));
        assert_eq!(weights(&mut model_a, false), weights(&mut model_b, false));
    }
}

/// The weights after some steps are the same bits with gradient checkpointing, and nearly the same for every batch size.
#[test]
fn gradient_checkpointing_and_batch_sizes_do_not_change_the_weights() {
    let golden = golden();
    let lora = LoraSettings { rank: 2, dropout: 0.3, ..LoraSettings::default() };
    let run = |budget: usize, lora: Option<LoraSettings>, training: TrainingSettings| {
        let mut model = model(budget);
        let settings = SftSettings { training, lora: lora.clone(), ..settings() };
        let texts = examples(&golden.texts);
        let mut training = SftTraining::new(&mut model, texts, Vec::new(), &settings, 7).unwrap();
        for _ in 0..3 {
            training.step().unwrap();
        }
        drop(training);
        weights(&mut model, lora.is_some())
    };
    for lora in [None, Some(lora)] {
        let plain = run(2048, lora.clone(), settings().training);
        let checkpointed = TrainingSettings { gradient_checkpointing: true, ..settings().training };
        assert!(run(2048, lora.clone(), checkpointed) == plain, "{lora:?}");
    }
    let near = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let small = TrainingSettings { learning_rate: 1e-4, ..settings().training };
    let whole = run(2048, None, small.clone());
    for (batch_size, gradient_accumulation, budget) in [(3, 1, 1), (2, 2, 2048), (1, 3, 2048)] {
        let cut = TrainingSettings { batch_size, gradient_accumulation, ..small.clone() };
        let gap = near(&run(budget, None, cut), &whole);
        assert!(gap < 3e-5, "{batch_size} x {gradient_accumulation}: {gap}");
    }
}

/// A step whose gradients overflow f16 is skipped, reported in a note, and lowers the scale.
#[test]
fn overflowing_steps_are_skipped_and_reported() {
    let golden = golden();
    let mut model = model_in(Precision::F16, 2048);
    let mut training = SftTraining::new(&mut model, examples(&golden.texts), Vec::new(), &settings(), 0).unwrap();
    let leaf = training.stepper.params().remove(0);
    (leaf.sum(tch::Kind::Float) * f64::INFINITY).backward();
    let outcome = training.step().unwrap();
    assert!(metric(&outcome, "grad_norm").is_infinite());
    assert!(outcome.notes[0].contains("skipped") && outcome.notes[0].contains("512"), "{:?}", outcome.notes);
    let outcome = training.step().unwrap();
    assert!(metric(&outcome, "grad_norm").is_finite() && outcome.notes.is_empty());
    assert_eq!(metric(&outcome, "loss_scale"), 512.0);
}

#[test]
fn keys_that_are_not_given_have_the_defaults_of_sft() {
    let settings: SftSettings = serde_json::from_str(r#"{"training": {"epochs": 1}}"#).unwrap();
    let training = TrainingSettings { epochs: 1, ..SftSettings::default().training };
    assert_eq!(settings.training, training);
    let base: BaseSettings = serde_json::from_str(r#"{"training": {"batch_size": 4}}"#).unwrap();
    assert_eq!(base.training, TrainingSettings { batch_size: 4, ..BaseSettings::default().training });
    let error = serde_json::from_str::<BaseSettings>(r#"{"training": {"batchsize": 4}}"#).unwrap_err();
    assert!(error.to_string().contains("unknown field `batchsize`"), "{error}");
}

/// Losses of steps and evaluations are those of one process, with dropouts, an adapter or all weights.
#[test]
fn a_training_by_several_processes_is_that_of_one() {
    let golden = golden();
    let lora = LoraSettings { rank: 4, dropout: 0.3, ..LoraSettings::default() };
    for (lora, token_budget, checkpointing) in
        [(Some(lora.clone()), 2048, false), (Some(lora), 40, true), (None, 40, false)]
    {
        let training = TrainingSettings {
            learning_rate: 1e-3,
            epochs: 2,
            gradient_checkpointing: checkpointing,
            ..settings().training
        };
        let settings = SftSettings { training, lora, ..settings() };
        let losses = |workers: Option<&crate::Workers>| {
            let mut model = model(token_budget);
            if let Some(workers) = workers {
                model.share_with(workers).unwrap();
            }
            let (texts, held_out) = (examples(&golden.texts), examples(&golden.held_out));
            let mut training = SftTraining::new(&mut model, texts, held_out, &settings, 3).unwrap();
            let mut values = Vec::new();
            while training.done() < training.total() {
                let outcome = training.step().unwrap();
                let named =
                    |name: &str| ["loss", "entropy", "mean_token_accuracy", "grad_norm", "eval_loss"].contains(&name);
                values.extend(outcome.values.iter().filter(|(name, _)| named(name)).map(|(_, value)| *value));
            }
            values
        };
        let one = losses(None);
        for size in [2, 3] {
            let all = with_workers(size, |workers| losses(Some(workers)));
            assert_eq!(one.len(), all.len());
            for (one, all) in one.iter().zip(&all) {
                assert_relative_eq!(*one, *all, max_relative = 1e-4, epsilon = 1e-6);
            }
        }
    }
}
