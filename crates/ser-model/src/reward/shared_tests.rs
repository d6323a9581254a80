//! A reward model that several processes compute, here threads with a process group each, against one process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use approx::assert_relative_eq;
use ser_core::distributed::Environment;
use ser_core::ndarray::ArrayView2;
use ser_core::{
    BoxError, Context, Control, Event, LossOutput, Pair, PairId, PairLoss, PairTarget, Preference, Scorer, Side, Stage,
    Training, observer_fn,
};
use ser_data::{TemplateKind, TextSettings};
use ser_libtorch::ProcessGroup;
use ser_loss::{LossKind, LossSettings, PairwiseLoss};
use tch::Tensor;

use super::{RewardModel, RewardModelSettings, RewardTraining};
use crate::language_model::golden::golden;
use crate::worker::testing::with_workers;
use crate::{LoraBias, LoraSettings, Precision, TargetModules, TrainingSettings, Workers};

fn model(settings: &RewardModelSettings) -> RewardModel {
    model_over("llama", settings)
}

fn model_over(name: &str, settings: &RewardModelSettings) -> RewardModel {
    let (folder, _, _) = golden(name);
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    let settings = RewardModelSettings { text, token_budget: 60, ..settings.clone() };
    RewardModel::from_folder(&folder, &settings, crate::Device::cpu()).unwrap()
}

/// Preferences of different lengths and weights, on alternating sides.
fn preferences(n: usize) -> Vec<Preference> {
    let preference = |i: usize| {
        let answer = "la ".repeat(1 + i * 5 % 7);
        let pair = Pair::from_text(PairId(i as u64), format!("question {i}: "), answer, format!("no {i}"));
        let side = if i.is_multiple_of(2) { Side::A } else { Side::B };
        Preference { weight: 0.5 + (i % 3) as f64, ..Preference::human(Arc::new(pair), side) }
    };
    (0..n).map(preference).collect()
}

fn pairs(n: usize) -> Vec<Arc<Pair>> {
    preferences(n).into_iter().map(|preference| preference.pair).collect()
}

fn loss() -> PairwiseLoss {
    LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() }.check().unwrap()
}

fn training(checkpointing: bool) -> TrainingSettings {
    TrainingSettings {
        batch_size: 3,
        gradient_accumulation: 2,
        epochs: 2,
        learning_rate: 1e-3,
        gradient_checkpointing: checkpointing,
        ..TrainingSettings::default()
    }
}

/// The losses and gradient norms of a training's steps, and the scores and weights after it.
fn trained(settings: &RewardModelSettings, workers: Option<&Workers>) -> (Vec<f64>, Vec<f64>, Vec<Tensor>) {
    let mut model = model(settings);
    if let Some(workers) = workers {
        model.share_with(workers).unwrap();
    }
    let (data, loss) = (preferences(7), loss());
    let mut steps = Vec::new();
    let mut training = RewardTraining::new(&mut model, &data, &loss, 3).unwrap();
    while training.done() < training.total() {
        let outcome = training.step().unwrap();
        let values = outcome.values.iter().filter(|(name, _)| ["loss", "grad_norm", "max_reward"].contains(name));
        steps.extend(values.map(|(_, value)| *value));
    }
    drop(training);
    let scores = model.score(&pairs(9), &mut Context::silent()).unwrap();
    let weights = model.parameters().unwrap().iter().map(|parameter| parameter.tensor.detach_copy()).collect();
    (steps, scores.iter().flat_map(|scores| [scores.a.0, scores.b.0]).collect(), weights)
}

fn dropout() -> LoraSettings {
    LoraSettings {
        dropout: 0.3,
        target_modules: TargetModules::Pattern("all-linear".into()),
        ..LoraSettings::default()
    }
}

#[test]
fn a_training_by_several_processes_is_that_of_one() {
    let dora = LoraSettings { use_dora: true, bias: LoraBias::All, ..dropout() };
    let top = LoraSettings { layers: Some(1), ..dropout() };
    for (lora, checkpointing) in [(dropout(), false), (dropout(), true), (dora, false), (top, false)] {
        let settings = RewardModelSettings { lora, training: training(checkpointing), ..Default::default() };
        let (steps, scores, weights) = trained(&settings, None);
        assert_eq!(steps.len(), 4 * 3);
        for size in [2, 4] {
            let (shared_steps, shared_scores, shared_weights) =
                with_workers(size, |workers| trained(&settings, Some(workers)));
            for (one, all) in [(&steps, &shared_steps), (&scores, &shared_scores)] {
                for (one, all) in one.iter().zip(all) {
                    assert_relative_eq!(*one, *all, max_relative = 1e-4, epsilon = 1e-6);
                }
            }
            for (one, all) in weights.iter().zip(&shared_weights) {
                let gap = (one - all).abs().max().double_value(&[]);
                // A step of Adam moves a weight by up to the learning rate, whatever the gradient's size.
                assert!(gap < 1e-4, "{gap} with {size} processes");
            }
        }
    }
}

#[test]
fn scores_of_several_processes_are_the_bits_of_one() {
    for precision in [Precision::F32, Precision::Bf16] {
        let settings =
            RewardModelSettings { lora: dropout(), precision, training: training(false), ..Default::default() };
        let mut one = model(&settings);
        let bits = |model: &mut RewardModel, n: usize| {
            let scores = model.score(&pairs(n), &mut Context::silent()).unwrap();
            scores.iter().map(|scores| [scores.a.0.to_bits(), scores.b.0.to_bits()]).collect::<Vec<_>>()
        };
        with_workers(3, |workers| {
            let mut shared = model(&settings);
            shared.share_with(workers).unwrap();
            for model in [&mut one, &mut shared] {
                // Weights that the others cannot have of themselves.
                for parameter in model.parameters().unwrap() {
                    let _ = tch::no_grad(|| parameter.tensor.shallow_clone().fill_(0.01));
                }
            }
            for n in [1, 2, 150] {
                assert_eq!(bits(&mut one, n), bits(&mut shared, n));
            }
            // Another adapter, none, and a merged one.
            for model in [&mut one, &mut shared] {
                model.add_adapter("other", &dropout(), 5).unwrap();
            }
            assert_eq!(bits(&mut one, 9), bits(&mut shared, 9));
            let base = |model: &mut RewardModel| model.with_adapter_disabled(|model| bits(model, 9));
            assert_eq!(base(&mut one), base(&mut shared));
            for model in [&mut one, &mut shared] {
                model.set_adapter("default").unwrap();
                model.merge_adapter().unwrap();
            }
            assert_eq!(bits(&mut one, 9), bits(&mut shared, 9));
        });
    }
}

/// A loss that cannot be computed for the second part of a step.
#[derive(Default)]
struct Broken(AtomicBool);

impl PairLoss for Broken {
    fn evaluate(&self, scores: ArrayView2<'_, f64>, targets: &[PairTarget]) -> Result<LossOutput, BoxError> {
        if self.0.swap(true, Ordering::Relaxed) {
            return Err("broken".into());
        }
        loss().evaluate(scores, targets)
    }
}

/// A step that failed halfway leaves no gradient behind, in any process.
#[test]
fn a_failed_step_does_not_change_the_next_training() {
    let settings = RewardModelSettings { training: training(false), ..Default::default() };
    let first_step = |workers: Option<&Workers>, fails: bool| {
        let (mut model, data, loss) = (model(&settings), preferences(7), loss());
        if let Some(workers) = workers {
            model.share_with(workers).unwrap();
        }
        if fails {
            RewardTraining::new(&mut model, &data, &Broken::default(), 3).unwrap().step().unwrap_err();
        }
        let outcome = RewardTraining::new(&mut model, &data, &loss, 3).unwrap().step().unwrap();
        outcome.values.iter().find(|(name, _)| *name == "grad_norm").unwrap().1
    };
    let expected = first_step(None, false);
    assert_eq!(first_step(None, true), expected);
    let shared = with_workers(2, |workers| first_step(Some(workers), true));
    assert_relative_eq!(shared, expected, max_relative = 1e-5);
}

/// After a request to stop or a failed loss, the processes still agree on what comes next.
#[test]
fn an_error_of_rank_0_leaves_the_others_usable() {
    let settings = RewardModelSettings { training: training(false), ..Default::default() };
    with_workers(2, |workers| {
        let mut model = model(&settings);
        model.share_with(workers).unwrap();
        let mut stop = observer_fn(|event: &Event<'_>| match event {
            Event::Advanced { .. } => Control::Stop,
            _ => Control::Continue,
        });
        let mut cx = Context::new(Stage::Score, &mut stop);
        let stopped = model.score(&pairs(40), &mut cx).unwrap_err().to_string();
        assert!(stopped.contains("stopped"), "{stopped}");
        let data = preferences(7);
        let error =
            RewardTraining::new(&mut model, &data, &Broken::default(), 3).unwrap().step().unwrap_err().to_string();
        assert!(error.contains("the loss"), "{error}");
        assert_eq!(model.score(&pairs(5), &mut Context::silent()).unwrap().len(), 5);
    });
}

#[test]
fn workers_need_rank_0_of_several_processes() {
    let alone = ProcessGroup::connect(&Environment::default()).unwrap();
    let error = Workers::new(alone).unwrap_err().to_string();
    assert!(error.contains("rank 0 of 1 has no other ranks"), "{error}");
}

/// Two models over different base models, used in turn, keep their own weights in every process; one may be dropped.
#[test]
fn models_of_one_kind_are_told_apart() {
    let settings = RewardModelSettings::default();
    with_workers(2, |workers| {
        let scores = |model: &mut RewardModel| model.score(&pairs(20), &mut Context::silent()).unwrap();
        let [mut first, mut second] = ["llama", "llama3"].map(|name| {
            let mut model = model_over(name, &settings);
            let alone = scores(&mut model);
            model.share_with(workers).unwrap();
            (model, alone)
        });
        for _ in 0..2 {
            assert_eq!(scores(&mut first.0), first.1);
            assert_eq!(scores(&mut second.0), second.1);
        }
        drop(second);
        // An adapter with other settings than the first one's.
        first.0.add_adapter("wide", &LoraSettings { rank: 16, ..dropout() }, 5).unwrap();
        assert_eq!(scores(&mut first.0).len(), 20);
    });
}
