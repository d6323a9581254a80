//! SFT against TRL's SFTTrainer (tests/golden/sft.py), and what a resumed training owes an uninterrupted one.

#![allow(clippy::single_range_in_vec_init, reason = "a list of one range is meant")]

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::{Message, Pair, PairId, Preference, Side, StepOutcome, Training};
use ser_data::{TemplateKind, TextSettings};
use serde::Deserialize;

use super::*;
use crate::language_model::ForwardOptions;
use crate::train::Metrics;
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

fn figure(outcome: &StepOutcome, name: &str) -> f64 {
    outcome.values.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("{name}: {outcome:?}")).1
}

#[test]
fn every_step_is_trls() {
    let golden = golden();
    // In one forward, and in as many as there are texts.
    for budget in [2048, 1] {
        let mut model = model(budget);
        let (texts, held_out) = (examples(&golden.texts), examples(&golden.held_out));
        let mut training = SftTraining::new(&mut model, texts, held_out, &settings(), 0).unwrap();
        assert_eq!(training.total(), 6);
        for (step, (wanted, evaluation)) in golden.steps.iter().zip(&golden.evaluations).enumerate() {
            let got = training.step().unwrap();
            for (name, wanted) in wanted.iter().chain(evaluation) {
                let got = figure(&got, name);
                assert!((got - wanted).abs() < 2e-4 * wanted.abs().max(1.0), "step {step}: {name} {got} {wanted}");
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
fn a_trained_model_is_a_folder_like_the_one_it_came_from() {
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
fn texts_do_not_see_each_other_and_turns_of_loss_may_be_several() {
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
            metrics.loss() * text.places().count() as f64
        })
        .collect();
    let together: Vec<&CausalExample> = texts.iter().collect();
    let metrics = tch::no_grad(|| model.token_metrics(&together, None, ForwardOptions::default())).unwrap();
    let places: usize = texts.iter().map(|t| t.places().count()).sum();
    assert_eq!(texts[0].places().count(), 3 + all.len());
    let (sum, packed) = (alone.iter().sum::<f64>(), metrics.loss() * places as f64);
    assert!((sum - packed).abs() < 1e-4 * sum, "{sum} {packed}");
    // By the log-probabilities of the whole text.
    let log_probs = model.log_probs(&[&texts[0].tokens]).unwrap().remove(0);
    let by_hand: f64 = texts[0].places().map(|place| -log_probs[place - 1]).sum();
    assert!((by_hand - alone[0]).abs() < 1e-4 * by_hand);
}

#[test]
fn nothing_to_learn_is_refused() {
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

/// `turns`, over-long texts and empty answers: nothing is left out without being counted.
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
    assert!(all.examples[0].places().count() > last.examples[0].places().count());
    assert_eq!(all.examples[0].tokens, last.examples[0].tokens);
    assert_eq!(all.examples[1], last.examples[1]);
    assert_eq!(sft_examples(&model, &preferences[3..], LossTurns::Last).unwrap().warning(), None);
}

/// Full training in half precision: the losses of f32, on weights in f32.
#[test]
fn all_weights_train_in_half_precision() {
    let golden = golden();
    for (precision, tolerance) in [(Precision::Bf16, 0.03), (Precision::F16, 0.01)] {
        let mut model = model_in(precision, 2048);
        let texts = examples(&golden.texts);
        let mut training = SftTraining::new(&mut model, texts, Vec::new(), &settings(), 0).unwrap();
        for (step, wanted) in golden.steps.iter().enumerate() {
            let got = training.step().unwrap();
            let (loss, wanted) = (figure(&got, "loss"), wanted["loss"]);
            assert!((loss - wanted).abs() < tolerance * wanted, "{precision:?}, step {step}: {loss} {wanted}");
            assert_eq!(got.values.iter().any(|(name, _)| *name == "loss_scale"), precision == Precision::F16);
        }
        drop(training);
        assert!(model.parameters(false).unwrap().iter().all(|p| p.tensor.kind() == tch::Kind::Float));
        assert_eq!(model.network.kind, precision.kind());
    }
}

/// A step far smaller than half precision can add to a weight is not lost.
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
        assert!((half - exact).abs() < 0.1 * exact, "{precision:?}: {half} {exact}");
    }
}

/// The weights that training begins from are those of the folder, not their roundings.
#[test]
fn training_in_half_precision_begins_from_the_stored_weights() {
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

/// The bits after some steps with gradient checkpointing, and however a step's texts are cut.
#[test]
fn checkpointing_and_cutting_change_nothing() {
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

/// Gradients that overflow f16 leave a step out, which is said, and lower the scale; without one they are an error.
#[test]
fn overflows_are_left_out_and_said() {
    let golden = golden();
    let mut model = model_in(Precision::F16, 2048);
    let mut training = SftTraining::new(&mut model, examples(&golden.texts), Vec::new(), &settings(), 0).unwrap();
    let leaf = training.trainer.stepper.params().remove(0);
    (leaf.sum(tch::Kind::Float) * f64::INFINITY).backward();
    let outcome = training.step().unwrap();
    assert!(figure(&outcome, "grad_norm").is_infinite());
    assert!(outcome.notes[0].contains("left out") && outcome.notes[0].contains("512"), "{:?}", outcome.notes);
    let outcome = training.step().unwrap();
    assert!(figure(&outcome, "grad_norm").is_finite() && outcome.notes.is_empty());
    assert_eq!(figure(&outcome, "loss_scale"), 512.0);
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
