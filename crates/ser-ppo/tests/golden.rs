//! Every quantity against TRL 0.11.4 (tests/golden/ppo.py).

#![allow(clippy::unwrap_used)]

use approx::assert_relative_eq;
use ser_core::ndarray::{Array1, aview1};
use ser_core::{Response, Rollout, TokenEvaluation};
use ser_ppo::{
    AdaptiveKl, KlControl, KlController, KlPenalty, MaskedRow, PpoSettings, RunningMoments, ScoredRollout,
    TargetedRollout, Targets, full_kl, masked_mean, masked_var, masked_whiten, token_rewards,
};
use serde::Deserialize;

type Rows = Vec<Vec<f64>>;
type Masks = Vec<Vec<bool>>;

#[derive(Deserialize)]
struct Golden {
    advantages: Vec<AdvantageCase>,
    losses: Vec<LossCase>,
    whitening: Vec<WhiteningCase>,
    controllers: Vec<ControllerCase>,
    moments: Vec<MomentsCase>,
}

#[derive(Deserialize)]
struct AdvantageCase {
    penalty: KlPenalty,
    coefficient: f64,
    gamma: f64,
    lambda: f64,
    whiten_rewards: bool,
    mask: Option<Masks>,
    tokens: Vec<Vec<u32>>,
    policy: Option<Vec<Rows>>,
    reference: Option<Vec<Rows>>,
    log_probs: Rows,
    reference_log_probs: Rows,
    scores: Vec<f64>,
    values: Rows,
    kl: Rows,
    rewards: Rows,
    advantages: Rows,
    returns: Rows,
    objective_kl: f64,
    objective_entropy: f64,
    non_score_reward: f64,
    mean_scores: f64,
    std_scores: f64,
    response_length: f64,
}

#[derive(Deserialize)]
struct LossCase {
    settings: PpoSettings,
    mask: Option<Masks>,
    tokens: Vec<Vec<u32>>,
    old_log_probs: Rows,
    old_values: Rows,
    log_probs: Rows,
    values: Rows,
    entropies: Rows,
    advantages: Rows,
    returns: Rows,
    by_log_probs: Rows,
    by_values: Rows,
    total: f64,
    policy: f64,
    value: f64,
    entropy: f64,
    approx_kl: f64,
    policy_kl: f64,
    clip_fraction: f64,
    value_clip_fraction: f64,
    ratio: f64,
    stops_early: bool,
}

#[derive(Deserialize)]
struct WhiteningCase {
    mask: Masks,
    values: Rows,
    mean: f64,
    variance: f64,
    shifted: Rows,
    unshifted: Rows,
}

#[derive(Deserialize)]
struct ControllerCase {
    start: f64,
    target: f64,
    horizon: f64,
    rollouts: usize,
    kls: Vec<f64>,
    coefficients: Vec<f64>,
}

#[derive(Deserialize)]
struct MomentsCase {
    scores: Vec<f64>,
    mean: f64,
    std: f64,
    scaled: Vec<f64>,
    standardized: Vec<f64>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/ppo.json")).unwrap()
}

fn same<'a>(ours: impl IntoIterator<Item = &'a Array1<f64>>, theirs: &[Vec<f64>]) {
    let ours: Vec<_> = ours.into_iter().collect();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_relative_eq!(ours.as_slice().unwrap(), theirs.as_slice(), max_relative = 1e-10, epsilon = 1e-12);
    }
}

fn array(row: &[f64]) -> Array1<f64> {
    aview1(row).to_owned()
}

fn rollout(tokens: &[u32], log_probs: &[f64], reference: &[f64], values: &[f64]) -> Rollout {
    Rollout {
        prompt: 0,
        prompt_tokens: vec![1],
        response: Response { text: String::new(), tokens: tokens.to_vec(), finished: true },
        log_probs: array(log_probs),
        reference_log_probs: array(reference),
        values: array(values),
        ..Rollout::default()
    }
}

#[test]
fn rewards_advantages_returns_and_objective() {
    let golden = golden();
    assert_eq!(golden.advantages.len(), 7);
    for case in &golden.advantages {
        let full: Option<Rows> = case.policy.as_ref().zip(case.reference.as_ref()).map(|(policy, reference)| {
            let row =
                |(p, q): (&Rows, &Rows)| p.iter().zip(q).map(|(p, q)| full_kl(aview1(p), aview1(q)).unwrap()).collect();
            policy.iter().zip(reference).map(row).collect()
        });
        let rollouts: Vec<Rollout> = (0..case.tokens.len())
            .map(|i| Rollout {
                full_kl: full.as_ref().map(|f| array(&f[i])),
                ..rollout(&case.tokens[i], &case.log_probs[i], &case.reference_log_probs[i], &case.values[i])
            })
            .collect();
        let batch: Vec<ScoredRollout<'_>> = rollouts
            .iter()
            .enumerate()
            .map(|(i, rollout)| ScoredRollout {
                mask: case.mask.as_ref().map(|m| m[i].as_slice()),
                ..ScoredRollout::new(rollout, case.scores[i])
            })
            .collect();
        let settings = PpoSettings {
            gamma: case.gamma,
            lambda: case.lambda,
            whiten_rewards: case.whiten_rewards,
            kl_penalty: case.penalty,
            ..Default::default()
        };
        let prepared = settings.check().unwrap().advantages(&batch, case.coefficient, &[3]).unwrap();
        let targets = &prepared.targets;
        same(targets.iter().map(|t| &t.advantages), &case.advantages);
        same(targets.iter().map(|t| &t.returns), &case.returns);

        let kl = |i: usize| -> Array1<f64> {
            let keep = |t: usize| case.mask.as_ref().is_none_or(|m| m[i][t]);
            let token = |t: usize| match &full {
                Some(full) => full[i][t],
                None => case.penalty.penalty(case.log_probs[i][t], case.reference_log_probs[i][t]).unwrap(),
            };
            (0..case.tokens[i].len()).map(|t| if keep(t) { token(t) } else { 0.0 }).collect()
        };
        let kls: Vec<Array1<f64>> = (0..batch.len()).map(kl).collect();
        same(&kls, &case.kl);
        let rewards: Vec<Array1<f64>> =
            batch.iter().zip(&kls).map(|(s, kl)| token_rewards(kl.view(), s.mask, case.coefficient, s.score)).collect();
        same(&rewards, &case.rewards);

        let s = prepared.statistics;
        for (ours, theirs) in [
            (s.kl, case.objective_kl),
            (s.entropy, case.objective_entropy),
            (s.non_score_reward, case.non_score_reward),
            (s.scores, case.mean_scores),
            (s.scores_std, case.std_scores),
            (s.rlhf_reward, case.non_score_reward + case.mean_scores),
        ] {
            assert_relative_eq!(ours, theirs, max_relative = 1e-10, epsilon = 1e-12);
        }
        // TRL takes the length in float32.
        assert_relative_eq!(s.response_length, case.response_length, max_relative = 1e-6);
        assert_eq!(s.num_eos_tokens as usize, case.tokens.iter().flatten().filter(|t| **t == 3).count());
    }
}

#[test]
fn losses_and_gradients() {
    let golden = golden();
    assert_eq!(golden.losses.len(), 7);
    assert!(golden.losses.iter().any(|c| c.stops_early) && golden.losses.iter().any(|c| c.total == 0.0));
    for case in &golden.losses {
        let settings = PpoSettings { batch_size: 1, ..case.settings.clone() };
        let ppo = settings.check().unwrap();
        let rollouts: Vec<Rollout> = (0..case.tokens.len())
            .map(|i| rollout(&case.tokens[i], &case.old_log_probs[i], &case.old_log_probs[i], &case.old_values[i]))
            .collect();
        let targets: Vec<Targets> = (0..case.tokens.len())
            .map(|i| Targets {
                advantages: array(&case.advantages[i]),
                returns: array(&case.returns[i]),
                mask: case.mask.as_ref().map(|m| m[i].clone()),
            })
            .collect();
        let samples: Vec<TargetedRollout<'_>> =
            rollouts.iter().zip(&targets).map(|(rollout, targets)| TargetedRollout { rollout, targets }).collect();
        let evaluations: Vec<TokenEvaluation> = (0..case.tokens.len())
            .map(|i| TokenEvaluation {
                log_probs: array(&case.log_probs[i]),
                values: array(&case.values[i]),
                entropies: array(&case.entropies[i]),
            })
            .collect();
        let (loss, gradients) = ppo.mini_batch_loss(&samples, &evaluations).unwrap();
        for (ours, theirs) in [
            (loss.total, case.total),
            (loss.policy, case.policy),
            (loss.value, case.value),
            (loss.entropy, case.entropy),
            (loss.approx_kl, case.approx_kl),
            (loss.policy_kl, case.policy_kl),
            (loss.ratio, case.ratio),
        ] {
            assert_relative_eq!(ours, theirs, max_relative = 1e-10, epsilon = 1e-12);
        }
        // TRL takes these two in float32.
        assert_relative_eq!(loss.clip_fraction, case.clip_fraction, epsilon = 1e-7);
        assert_relative_eq!(loss.value_clip_fraction, case.value_clip_fraction, epsilon = 1e-7);
        same(gradients.iter().map(|g| &g.log_probs), &case.by_log_probs);
        same(gradients.iter().map(|g| &g.values), &case.by_values);
        assert_eq!(loss.skipped, case.ratio > case.settings.ratio_threshold);
        assert_eq!(ppo.stops_early(&[loss]), case.stops_early);
    }
}

#[test]
fn means_variances_and_whitening() {
    for case in &golden().whitening {
        let rows: Vec<MaskedRow<'_>> =
            case.values.iter().zip(&case.mask).map(|(v, m)| MaskedRow::new(v, Some(m)).unwrap()).collect();
        assert_relative_eq!(masked_mean(&rows).unwrap(), case.mean, max_relative = 1e-12);
        assert_relative_eq!(masked_var(&rows).unwrap(), case.variance, max_relative = 1e-12);
        same(&masked_whiten(&rows, true), &case.shifted);
        same(&masked_whiten(&rows, false), &case.unshifted);
    }
}

#[test]
fn adaptive_controllers_over_twenty_steps() {
    for case in &golden().controllers {
        assert_eq!(case.coefficients.len(), 20);
        let control = KlControl::Adaptive(AdaptiveKl { target: case.target, horizon: case.horizon });
        let mut controller = KlController::new(case.start, control, case.rollouts).unwrap();
        for (kl, expected) in case.kls.iter().zip(&case.coefficients) {
            controller.update(*kl, case.rollouts).unwrap();
            assert_relative_eq!(controller.coefficient(), *expected, max_relative = 1e-14);
        }
    }
}

#[test]
fn running_moments() {
    let mut moments = RunningMoments::default();
    for case in &golden().moments {
        moments.update(&case.scores);
        // TRL keeps them in float32.
        assert_relative_eq!(moments.mean(), case.mean, max_relative = 1e-6);
        assert_relative_eq!(moments.std(), case.std, max_relative = 1e-6);
        for ((x, scaled), standardized) in case.scores.iter().zip(&case.scaled).zip(&case.standardized) {
            assert_relative_eq!(moments.normalize(*x, false), *scaled, max_relative = 1e-6);
            assert_relative_eq!(moments.normalize(*x, true), *standardized, max_relative = 1e-5, epsilon = 1e-6);
        }
    }
}
