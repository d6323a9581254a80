//! A language model as a policy: log-probabilities against whole texts, gradients against finite differences.

use std::path::{Path, PathBuf};

use approx::{abs_diff_eq, assert_abs_diff_eq, assert_relative_eq, relative_eq};
use ser_core::ndarray::Array1;
use ser_core::{Context, Message, ObjectiveGradient, Policy, Rollout, Sampling, TokenEvaluation};
use ser_data::{TemplateKind, TextSettings};

use tch::{Kind, Tensor};

use super::*;
use crate::{CausalLm, CausalLmSettings, Device, LoraSettings, Precision};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/llama3")
}

fn policy(dropout: f64) -> PolicyModel {
    policy_in(Precision::F32, dropout, false)
}

fn policy_in(precision: Precision, dropout: f64, gradient_checkpointing: bool) -> PolicyModel {
    let text = TextSettings { template: TemplateKind::Raw, ..TextSettings::default() };
    let settings = CausalLmSettings { text, precision, ..CausalLmSettings::default() };
    let model = CausalLm::from_folder(&folder(), &settings, Device::cpu()).unwrap();
    let lora = LoraSettings { rank: 2, dropout, ..LoraSettings::default() };
    let settings = PolicySettings { lora, gradient_checkpointing, ..PolicySettings::default() };
    PolicyModel::new(model, &settings).unwrap()
}

fn prompts() -> Vec<Vec<Message>> {
    ["Why is the sky blue? ", "q", "Name three rivers: "].map(|text| vec![Message::user(text)]).to_vec()
}

fn sampling(seed: u64) -> Sampling {
    Sampling { max_new_tokens: 9, seed, ..Sampling::default() }
}

/// An objective that is linear in everything, with different slopes for every token.
fn slopes(now: &[TokenEvaluation]) -> Vec<ObjectiveGradient> {
    let mut index = 0.0;
    let mut row = |n: usize, scale: f64| -> Array1<f64> {
        (0..n)
            .map(|_| {
                index += 1.0;
                scale * f64::sin(index)
            })
            .collect()
    };
    now.iter()
        .map(|e| {
            let n = e.values.len();
            ObjectiveGradient { log_probs: row(n, 0.3), values: row(n, -0.2), entropies: row(n, 0.1) }
        })
        .collect()
}

fn value(now: &[TokenEvaluation]) -> f64 {
    let dot = |x: &Array1<f64>, y: &Array1<f64>| x.iter().zip(y).map(|(a, b)| a * b).sum::<f64>();
    let sum = |(e, g): (&TokenEvaluation, &ObjectiveGradient)| {
        dot(&e.log_probs, &g.log_probs) + dot(&e.values, &g.values) + dot(&e.entropies, &g.entropies)
    };
    now.iter().zip(&slopes(now)).map(sum).sum()
}

/// Takes some steps from the initial adapter and head.
fn train(policy: &mut PolicyModel, rollouts: &[Rollout]) {
    for _ in 0..3 {
        let batch: Vec<&Rollout> = rollouts.iter().collect();
        policy.accumulate(&batch, 1.0, &mut |now| Ok(slopes(now))).unwrap();
        policy.step(0.05).unwrap();
    }
}

#[test]
fn rollouts_equal_log_probabilities_of_whole_texts() {
    let mut policy = policy(0.5);
    let first = policy.rollout(&prompts(), &sampling(1), true, &mut Context::silent()).unwrap();
    for rollout in &first {
        // A fresh adapter equals its reference, and a fresh head returns 0.
        assert_eq!(rollout.log_probs, rollout.reference_log_probs);
        assert!(rollout.values.iter().all(|v| *v == 0.0));
        assert!(rollout.full_kl.as_ref().unwrap().iter().all(|kl| abs_diff_eq!(*kl, 0.0, epsilon = 1e-6)));
    }
    train(&mut policy, &first);
    let rollouts = policy.rollout(&prompts(), &sampling(2), true, &mut Context::silent()).unwrap();
    assert_eq!(rollouts.iter().map(|r| r.prompt).collect::<Vec<_>>(), [0, 1, 2]);
    for rollout in &rollouts {
        let tokens = rollout.response.tokens.len();
        assert_eq!(
            [rollout.log_probs.len(), rollout.values.len(), rollout.full_kl.as_ref().unwrap().len()],
            [tokens; 3]
        );
        let text = [rollout.prompt_tokens.as_slice(), &rollout.response.tokens].concat();
        let near = |all: Vec<f64>, ours: &Array1<f64>| {
            for (a, b) in all[rollout.prompt_tokens.len() - 1..].iter().zip(ours) {
                assert_abs_diff_eq!(a, b, epsilon = 1e-5);
            }
        };
        near(policy.model().log_probs(&[&text]).unwrap().remove(0), &rollout.log_probs);
        let reference = policy.with_adapter_disabled(|policy| policy.model().log_probs(&[&text]).unwrap().remove(0));
        near(reference, &rollout.reference_log_probs);
        assert!(rollout.full_kl.as_ref().unwrap().iter().all(|kl| *kl > -1e-6));
    }
    let moved = rollouts.iter().flat_map(|r| r.log_probs.iter().zip(&r.reference_log_probs)).any(|(p, q)| p != q);
    assert!(moved && rollouts.iter().flat_map(|r| &r.values).any(|v| *v != 0.0));
}

#[test]
fn an_unchanged_policy_evaluates_to_its_rollouts() {
    let mut policy = policy(0.0);
    let rollouts = policy.rollout(&prompts(), &sampling(3), false, &mut Context::silent()).unwrap();
    train(&mut policy, &rollouts);
    let rollouts = policy.rollout(&prompts(), &sampling(4), false, &mut Context::silent()).unwrap();
    let batch: Vec<&Rollout> = rollouts.iter().collect();
    policy
        .accumulate(&batch, 0.0, &mut |now| {
            for (e, r) in now.iter().zip(&rollouts) {
                let near =
                    |a: &Array1<f64>, b: &Array1<f64>| a.iter().zip(b).all(|(a, b)| abs_diff_eq!(a, b, epsilon = 1e-5));
                assert!(near(&e.log_probs, &r.log_probs) && near(&e.values, &r.values));
                assert!(e.entropies.iter().all(|h| *h > 0.0 && *h < (260_f64).ln()));
            }
            Ok(slopes(now))
        })
        .unwrap();
}

/// Before `min_new_tokens`, policy and reference are the sampled distributions: p(token) / (1 - p(end)).
#[test]
fn end_tokens_have_no_probability_before_min_new_tokens() {
    let mut policy = policy(0.0);
    let sampling = Sampling { min_new_tokens: 6, ..sampling(11) };
    let rollouts = policy.rollout(&prompts(), &sampling, true, &mut Context::silent()).unwrap();
    assert!(rollouts.iter().all(|r| r.full_kl.as_ref().unwrap().iter().all(|kl| abs_diff_eq!(
        *kl,
        0.0,
        epsilon = 1e-6
    ))));
    train(&mut policy, &rollouts);
    let rollouts = policy.rollout(&prompts(), &sampling, true, &mut Context::silent()).unwrap();
    let ends: Vec<i64> = policy.model().stop_ids().iter().map(|id| i64::from(*id)).collect();
    let wanted = |model: &CausalLm, rollout: &Rollout| -> Vec<f64> {
        let text = [rollout.prompt_tokens.as_slice(), &rollout.response.tokens].concat();
        let all = tch::no_grad(|| model.logits(&[&text], None).unwrap().softmax(-1, Kind::Double));
        let first = rollout.prompt_tokens.len() - 1;
        let mut wanted = Vec::new();
        for (i, token) in rollout.response.tokens.iter().enumerate() {
            let p = |id: i64| all.double_value(&[(first + i) as i64, id]);
            let ending: f64 = if i < 6 { ends.iter().map(|id| p(*id)).sum() } else { 0.0 };
            wanted.push((p(i64::from(*token)) / (1.0 - ending)).ln());
        }
        wanted
    };
    let near = |a: &Array1<f64>, b: &[f64]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| abs_diff_eq!(a, b, epsilon = 1e-5))
    };
    for rollout in &rollouts {
        assert_eq!(rollout.min_new_tokens, 6);
        assert!(near(&rollout.log_probs, &wanted(policy.model(), rollout)));
        let reference = policy.with_adapter_disabled(|policy| wanted(policy.model(), rollout));
        assert!(near(&rollout.reference_log_probs, &reference));
        assert!(rollout.full_kl.as_ref().unwrap().iter().all(|kl| kl.is_finite() && *kl > -1e-6));
    }
}

#[test]
fn gradients_are_finite_differences() {
    for min_new_tokens in [0, 5] {
        gradients_are_finite_differences_with(min_new_tokens);
    }
}

fn gradients_are_finite_differences_with(min_new_tokens: usize) {
    let mut policy = policy(0.0);
    let sampling = Sampling { min_new_tokens, ..sampling(5) };
    let rollouts = policy.rollout(&prompts(), &sampling, false, &mut Context::silent()).unwrap();
    train(&mut policy, &rollouts);
    let batch: Vec<&Rollout> = rollouts.iter().collect();
    policy.accumulate(&batch, 2.0, &mut |now| Ok(slopes(now))).unwrap();
    let leaves: Vec<Tensor> = policy.stepper.params().iter().map(Tensor::shallow_clone).collect();
    let gradients: Vec<Tensor> = leaves.iter().map(|leaf| leaf.grad().copy()).collect();
    let evaluate = |policy: &mut PolicyModel| {
        let mut sum = 0.0;
        let zero =
            |now: &[TokenEvaluation]| now.iter().map(|e| ObjectiveGradient::zeros(e.values.len())).collect::<Vec<_>>();
        policy
            .accumulate(&batch, 1.0, &mut |now| {
                sum = value(now);
                Ok(zero(now))
            })
            .unwrap();
        sum
    };
    let mut compared = 0;
    for (leaf, gradient) in leaves.iter().zip(&gradients) {
        // Along the gradient itself, and along one axis.
        let norm = gradient.norm().double_value(&[]);
        if norm < 1e-3 {
            continue;
        }
        let direction = gradient / norm;
        let step = 1e-2;
        let mut moved = |by: f64| {
            tch::no_grad(|| drop(leaf.shallow_clone().g_add_(&(&direction * by))));
            let value = evaluate(&mut policy);
            tch::no_grad(|| drop(leaf.shallow_clone().g_sub_(&(&direction * by))));
            value
        };
        let difference = 2.0 * (moved(step) - moved(-step)) / (2.0 * step);
        assert!(relative_eq!(norm, difference, max_relative = 2e-2), "{:?}: {norm} {difference}", leaf.size());
        compared += 1;
    }
    assert!(compared >= 6, "{compared} leaves");
}

#[test]
fn a_restored_policy_takes_the_same_steps() {
    let mut through = policy(0.4);
    let rollouts = through.rollout(&prompts(), &sampling(6), false, &mut Context::silent()).unwrap();
    train(&mut through, &rollouts);
    let folder = tempfile::tempdir().unwrap();
    through.snapshot(folder.path()).unwrap();
    let mut resumed = policy(0.4);
    resumed.restore(folder.path()).unwrap();
    for policy in [&mut through, &mut resumed] {
        let rollouts = policy.rollout(&prompts(), &sampling(7), false, &mut Context::silent()).unwrap();
        train(policy, &rollouts);
    }
    let bits = |policy: &PolicyModel| -> Vec<Vec<f32>> {
        policy.stepper.params().iter().map(|t| Vec::try_from(t.detach().flatten(0, -1)).unwrap()).collect()
    };
    assert_eq!(bits(&through), bits(&resumed));
    assert_eq!(
        through.rollout(&prompts(), &sampling(8), false, &mut Context::silent()).unwrap(),
        resumed.rollout(&prompts(), &sampling(8), false, &mut Context::silent()).unwrap()
    );
}

#[test]
fn dropout_differs_between_mini_batches() {
    let mut policy = policy(0.9);
    let rollouts = policy.rollout(&prompts(), &sampling(9), false, &mut Context::silent()).unwrap();
    train(&mut policy, &rollouts);
    let batch: Vec<&Rollout> = rollouts.iter().collect();
    let mut seen = Vec::new();
    for _ in 0..2 {
        policy
            .accumulate(&batch, 1.0, &mut |now| {
                seen.push(now.to_vec());
                Ok(slopes(now))
            })
            .unwrap();
    }
    assert_ne!(seen[0], seen[1]);
}

/// The parameters after some steps.
fn trained(mut policy: PolicyModel) -> Vec<Vec<f32>> {
    let rollouts = policy.rollout(&prompts(), &sampling(6), false, &mut Context::silent()).unwrap();
    train(&mut policy, &rollouts);
    policy.stepper.params().iter().map(|t| Vec::try_from(t.detach().flatten(0, -1)).unwrap()).collect()
}

#[test]
fn gradient_checkpointing_gives_the_same_bits() {
    assert_eq!(trained(policy_in(Precision::F32, 0.4, true)), trained(policy_in(Precision::F32, 0.4, false)));
}

/// Scaled and unscaled gradients equal those of f32, although they would underflow in f16.
#[test]
fn small_gradients_do_not_underflow_in_f16() {
    let rollouts = policy(0.0).rollout(&prompts(), &sampling(5), false, &mut Context::silent()).unwrap();
    let batch: Vec<&Rollout> = rollouts.iter().collect();
    let norm = |precision: Precision, weight: f64| {
        let mut policy = policy_in(precision, 0.0, false);
        policy.accumulate(&batch, weight, &mut |now| Ok(slopes(now))).unwrap();
        policy.step(0.0).unwrap()
    };
    let exact = norm(Precision::F32, 1e-4);
    let half = norm(Precision::F16, 1e-4);
    assert_relative_eq!(half, exact, max_relative = 0.05);
}

#[test]
fn a_step_that_overflows_f16_is_skipped() {
    let mut policy = policy_in(Precision::F16, 0.0, false);
    let rollouts = policy.rollout(&prompts(), &sampling(5), false, &mut Context::silent()).unwrap();
    let batch: Vec<&Rollout> = rollouts.iter().collect();
    let bits = |policy: &PolicyModel| -> Vec<Vec<f32>> {
        policy.stepper.params().iter().map(|t| Vec::try_from(t.detach().flatten(0, -1)).unwrap()).collect()
    };
    let before = bits(&policy);
    policy.accumulate(&batch, 1e6, &mut |now| Ok(slopes(now))).unwrap();
    assert!(policy.step(0.05).unwrap().is_infinite());
    assert_eq!(bits(&policy), before);
    assert_eq!(policy.stepper.loss_factor(), 512.0);
    // The scale is part of the state.
    let folder = tempfile::tempdir().unwrap();
    policy.snapshot(folder.path()).unwrap();
    let mut resumed = policy_in(Precision::F16, 0.0, false);
    resumed.restore(folder.path()).unwrap();
    assert_eq!(resumed.stepper.loss_factor(), 512.0);
    policy.accumulate(&batch, 1.0, &mut |now| Ok(slopes(now))).unwrap();
    assert!(policy.step(0.05).unwrap().is_finite());
    assert_ne!(bits(&policy), before);
}

#[test]
fn keys_that_are_not_given_have_the_defaults_of_the_policy() {
    let settings: PolicySettings = serde_json::from_str(r#"{"lora": {"rank": 4}}"#).unwrap();
    assert_eq!(settings.lora, LoraSettings { rank: 4, ..PolicySettings::default().lora });
}

/// Rollouts, steps and the rollouts after them are those of one process, with dropouts; equal prompts have different answers.
#[test]
fn a_policy_of_several_processes_is_that_of_one() {
    let prompts = [prompts(), prompts()].concat();
    let sampling = Sampling { min_new_tokens: 3, ..sampling(5) };
    let run = |workers: Option<&crate::Workers>| {
        let mut policy = policy_in(Precision::F32, 0.3, workers.is_some());
        if let Some(workers) = workers {
            policy.share_with(workers).unwrap();
        }
        let before = policy.rollout(&prompts, &sampling, true, &mut Context::silent()).unwrap();
        train(&mut policy, &before);
        // One step of two mini-batches.
        for part in before.chunks(4) {
            let part: Vec<&Rollout> = part.iter().collect();
            policy.accumulate(&part, 0.5, &mut |now| Ok(slopes(now))).unwrap();
        }
        policy.step(0.05).unwrap();
        let after = policy.rollout(&prompts, &sampling, false, &mut Context::silent()).unwrap();
        (before, after)
    };
    let one = run(None);
    assert!(one.0[0].response != one.0[3].response && one.0 != one.1);
    for size in [2, 4] {
        let all = crate::worker::testing::with_workers(size, |workers| run(Some(workers)));
        for (one, all) in [(&one.0, &all.0), (&one.1, &all.1)] {
            assert_eq!(one.len(), all.len());
            for (one, all) in one.iter().zip(all) {
                let parts = |r: &Rollout| (r.prompt, r.prompt_tokens.clone(), r.response.clone(), r.min_new_tokens);
                assert_eq!(parts(one), parts(all));
                let numbers = |r: &Rollout| [&r.log_probs, &r.reference_log_probs, &r.values].map(Clone::clone);
                let kl = |r: &Rollout| r.full_kl.clone().unwrap_or_default();
                for (one, all) in numbers(one).iter().chain([&kl(one)]).zip(numbers(all).iter().chain([&kl(all)])) {
                    assert_eq!(one.len(), all.len());
                    assert!(
                        one.iter().zip(all).all(|(one, all)| abs_diff_eq!(*one, *all, epsilon = 1e-4)),
                        "{one}, {all}"
                    );
                }
            }
        }
    }
}
