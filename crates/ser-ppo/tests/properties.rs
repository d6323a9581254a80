//! Gradients against central finite differences, and properties of any batch.

#![allow(clippy::unwrap_used)]

mod support;

use approx::{abs_diff_eq, relative_eq};
use proptest::collection::vec;
use proptest::prelude::*;
use ser_core::ndarray::{Array1, s};
use ser_core::{Rollout, TokenEvaluation};
use ser_ppo::{
    AdaptiveKl, KlControl, KlController, KlEstimator, MaskedRow, Ppo, PpoSettings, RunningMoments, ScoredRollout,
    TargetedRollout, Targets, gae, masked_mean, masked_var, masked_whiten, returns,
};
use support::rollout;

const STEP: f64 = 1e-6;

/// One token: log pi_old, log pi, V_old, V, entropy, advantage, return, and whether it counts.
type Token = (f64, f64, f64, f64, f64, f64, f64, bool);

fn token() -> impl Strategy<Value = Token> {
    (-6.0..-0.1, -1.0..1.0, -2.0..2.0, -1.0..1.0, 0.0..4.0, -2.0..2.0, -3.0..3.0, prop::bool::weighted(0.8)).prop_map(
        |(old, moved, old_value, value, entropy, advantage, target, counts)| {
            (old, old + moved, old_value, old_value + value, entropy, advantage, target, counts)
        },
    )
}

fn batch() -> impl Strategy<Value = Vec<Vec<Token>>> {
    let some_count = |rows: &Vec<Token>| rows.iter().any(|t| t.7);
    vec(vec(token(), 1..7).prop_filter("no token counts", some_count), 1..6)
}

fn ppo() -> impl Strategy<Value = Ppo> {
    (0.05..0.5, 0.05..0.5, 0.0..1.0, 0.0..0.1, 1_usize..4, 1_usize..3).prop_map(
        |(clip_range, value_clip_range, value_coefficient, entropy_coefficient, mini_batch_size, accumulation)| {
            PpoSettings {
                clip_range,
                value_clip_range,
                value_coefficient,
                entropy_coefficient,
                mini_batch_size,
                gradient_accumulation_steps: accumulation,
                batch_size: mini_batch_size * accumulation,
                ..Default::default()
            }
            .check()
            .unwrap()
        },
    )
}

struct Data {
    rollouts: Vec<Rollout>,
    targets: Vec<Targets>,
    evaluations: Vec<TokenEvaluation>,
}

impl Data {
    fn new(batch: &[Vec<Token>]) -> Self {
        let column = |row: &[Token], of: fn(&Token) -> f64| row.iter().map(of).collect::<Vec<f64>>();
        Data {
            rollouts: batch
                .iter()
                .map(|row| rollout(&column(row, |t| t.0), &column(row, |t| t.0), &column(row, |t| t.2)))
                .collect(),
            targets: batch
                .iter()
                .map(|row| Targets {
                    advantages: column(row, |t| t.5).into(),
                    returns: column(row, |t| t.6).into(),
                    mask: Some(row.iter().map(|t| t.7).collect()),
                })
                .collect(),
            evaluations: batch
                .iter()
                .map(|row| TokenEvaluation {
                    log_probs: column(row, |t| t.1).into(),
                    values: column(row, |t| t.3).into(),
                    entropies: column(row, |t| t.4).into(),
                })
                .collect(),
        }
    }

    fn samples(&self) -> Vec<TargetedRollout<'_>> {
        self.rollouts.iter().zip(&self.targets).map(|(rollout, targets)| TargetedRollout { rollout, targets }).collect()
    }

    /// Whether the edge of a clip, where there is no derivative, is within a few steps.
    fn near_a_kink(&self, s: &PpoSettings) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() < 1e3 * STEP;
        self.rollouts.iter().zip(&self.targets).zip(&self.evaluations).any(|((r, t), e)| {
            (0..r.values.len()).any(|i| {
                let ratio = (e.log_probs[i] - r.log_probs[i]).exp();
                let (low, high) = (r.values[i] - s.value_clip_range, r.values[i] + s.value_clip_range);
                let held = e.values[i].clamp(low, high);
                near(ratio, 1.0 - s.clip_range)
                    || near(ratio, 1.0 + s.clip_range)
                    || near(e.values[i], low)
                    || near(e.values[i], high)
                    || (held != e.values[i] && near((held - t.returns[i]).abs(), (e.values[i] - t.returns[i]).abs()))
            })
        })
    }
}

/// A row of an evaluation: 0 log-probabilities, 1 values, 2 entropies.
fn entry(e: &mut TokenEvaluation, kind: usize) -> &mut Array1<f64> {
    match kind {
        0 => &mut e.log_probs,
        1 => &mut e.values,
        _ => &mut e.entropies,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn gradient_is_the_finite_difference(ppo in ppo(), batch in batch()) {
        let data = Data::new(&batch);
        prop_assume!(!data.near_a_kink(ppo.settings()));
        let samples = data.samples();
        let (loss, gradients) = ppo.mini_batch_loss(&samples, &data.evaluations).unwrap();
        prop_assume!(!loss.skipped);
        let moved = |i: usize, kind: usize, t: usize, by: f64| {
            let mut evaluations = data.evaluations.clone();
            entry(&mut evaluations[i], kind)[t] += by;
            ppo.mini_batch_loss(&samples, &evaluations).unwrap().0.total
        };
        for (i, gradient) in gradients.iter().enumerate() {
            for (kind, row) in [&gradient.log_probs, &gradient.values, &gradient.entropies].into_iter().enumerate() {
                for (t, ours) in row.iter().enumerate() {
                    let difference = (moved(i, kind, t, STEP) - moved(i, kind, t, -STEP)) / (2.0 * STEP);
                    let equal = relative_eq!(*ours, difference, epsilon = 1e-7, max_relative = 1e-7);
                    prop_assert!(equal, "{ours} {difference}");
                    prop_assert!(batch[i][t].7 || *ours == 0.0, "a masked token has a gradient");
                }
            }
        }
    }

    #[test]
    fn an_unmoved_policy_has_ratio_one_and_loss_minus_the_mean_advantage(ppo in ppo(), batch in batch()) {
        let batch: Vec<Vec<Token>> =
            batch.iter().map(|row| row.iter().map(|t| (t.0, t.0, t.2, t.2, t.4, t.5, t.6, t.7)).collect()).collect();
        let data = Data::new(&batch);
        let (loss, _) = ppo.mini_batch_loss(&data.samples(), &data.evaluations).unwrap();
        let rows: Vec<MaskedRow<'_>> =
            data.targets.iter().map(|t| MaskedRow::new(&t.advantages, t.mask.as_deref()).unwrap()).collect();
        prop_assert!(abs_diff_eq!(loss.policy, -masked_mean(&rows).unwrap(), epsilon = 1e-12));
        prop_assert_eq!((loss.ratio, loss.approx_kl, loss.policy_kl, loss.clip_fraction), (1.0, 0.0, 0.0, 0.0));
        prop_assert_eq!(loss.value_clip_fraction, 0.0);
    }

    #[test]
    fn clipping_never_lowers_a_loss(ppo in ppo(), batch in batch()) {
        let wide = PpoSettings { clip_range: 0.999, value_clip_range: 1e6, ..ppo.settings().clone() }.check().unwrap();
        let data = Data::new(&batch);
        let (held, _) = ppo.mini_batch_loss(&data.samples(), &data.evaluations).unwrap();
        let (free, _) = wide.mini_batch_loss(&data.samples(), &data.evaluations).unwrap();
        prop_assert!(held.policy >= free.policy - 1e-12 && held.value >= free.value - 1e-12);
    }

    #[test]
    fn masking_the_end_equals_a_shorter_response(
        rows in vec((vec((-5.0..0.0, -5.0..0.0, -2.0..2.0), 1..8), 1_usize..8, -3.0..3.0), 1..5),
    ) {
        let whole: Vec<Rollout> = rows.iter().map(|(tokens, ..)| from_tokens(tokens)).collect();
        let keep = |tokens: usize, wanted: usize| wanted.min(tokens);
        let short: Vec<Rollout> = rows.iter().map(|(t, k, _)| from_tokens(&t[..keep(t.len(), *k)])).collect();
        let masks: Vec<Vec<bool>> =
            rows.iter().map(|(t, k, _)| (0..t.len()).map(|i| i < keep(t.len(), *k)).collect()).collect();
        let ppo = PpoSettings { whiten_rewards: true, gamma: 0.97, ..Default::default() }.check().unwrap();
        let masked: Vec<ScoredRollout<'_>> = whole.iter().zip(&masks).zip(&rows)
            .map(|((r, m), row)| ScoredRollout { mask: Some(m), ..ScoredRollout::new(r, row.2) }).collect();
        let cut: Vec<ScoredRollout<'_>> =
            short.iter().zip(&rows).map(|(r, row)| ScoredRollout::new(r, row.2)).collect();
        let (masked, cut) =
            (ppo.advantages(&masked, 0.3, &[]).unwrap(), ppo.advantages(&cut, 0.3, &[]).unwrap());
        for (m, c) in masked.targets.iter().zip(&cut.targets) {
            let n = c.advantages.len();
            prop_assert_eq!(m.advantages.slice(s![..n]), &c.advantages);
            prop_assert_eq!(m.returns.slice(s![..n]), &c.returns);
            prop_assert!(m.advantages.slice(s![n..]).iter().all(|a| *a == 0.0));
        }
        prop_assert_eq!(masked.statistics.kl, cut.statistics.kl);
        prop_assert_eq!(masked.statistics.entropy, cut.statistics.entropy);
    }

    #[test]
    fn permuting_rollouts_permutes_targets(
        rows in vec((vec((-5.0..0.0, -5.0..0.0, -2.0..2.0), 1..6), -3.0..3.0), 1..6),
    ) {
        let ppo = PpoSettings::default().check().unwrap();
        let rollouts: Vec<Rollout> = rows.iter().map(|(tokens, _)| from_tokens(tokens)).collect();
        let mut batch: Vec<ScoredRollout<'_>> =
            rollouts.iter().zip(&rows).map(|(r, row)| ScoredRollout::new(r, row.1)).collect();
        let there = ppo.advantages(&batch, 0.2, &[]).unwrap();
        batch.reverse();
        let back = ppo.advantages(&batch, 0.2, &[]).unwrap();
        for (a, b) in there.targets.iter().zip(back.targets.iter().rev()) {
            for (a, b) in a.advantages.iter().chain(&a.returns).zip(b.advantages.iter().chain(&b.returns)) {
                prop_assert!(relative_eq!(*a, *b, epsilon = 1e-6, max_relative = 1e-6), "{a} {b}");
            }
        }
    }

    /// A_t = sum over l of (gamma lambda)^l delta_{t+l}, GAE's definition.
    #[test]
    fn gae_is_the_weighted_sum_of_errors(
        tokens in vec((-2.0..2.0, -2.0..2.0), 1..12), gamma in 0.0..=1.0, lambda in 0.0..=1.0,
    ) {
        let (rewards, values): (Vec<f64>, Vec<f64>) = tokens.into_iter().unzip();
        let (rewards, values) = (Array1::from(rewards), Array1::from(values));
        let advantages = gae(rewards.view(), values.view(), gamma, lambda).unwrap();
        let delta = |t: usize| rewards[t] + gamma * values.get(t + 1).copied().unwrap_or(0.0) - values[t];
        for (t, ours) in advantages.iter().enumerate() {
            let sum: f64 = (t..rewards.len()).map(|i| f64::powi(gamma * lambda, (i - t) as i32) * delta(i)).sum();
            prop_assert!(relative_eq!(*ours, sum, epsilon = 1e-11, max_relative = 1e-11));
        }
        let back = returns(advantages.view(), values.view()).unwrap();
        prop_assert_eq!(back, advantages + values);
    }

    #[test]
    fn whitened_numbers_have_mean_0_and_variance_1(values in vec(-100.0..100.0, 2..40), scale in 0.1..10.0) {
        let values: Vec<f64> = values.iter().map(|v| v * scale).collect();
        let rows = [MaskedRow::whole(&values)];
        prop_assume!(masked_var(&rows).unwrap() > 1e-2);
        let white = masked_whiten(&rows, true);
        let white = [MaskedRow::whole(&white[0])];
        prop_assert!(abs_diff_eq!(masked_mean(&white).unwrap(), 0.0, epsilon = 1e-9));
        prop_assert!(abs_diff_eq!(masked_var(&white).unwrap(), 1.0, epsilon = 1e-5));
        let kept = masked_whiten(&rows, false);
        let mean = masked_mean(&[MaskedRow::whole(&kept[0])]).unwrap();
        prop_assert!(abs_diff_eq!(mean, masked_mean(&rows).unwrap(), epsilon = 1e-9));
    }

    #[test]
    fn k2_and_k3_are_never_negative(p in -20.0..0.0, q in -20.0..0.0) {
        prop_assert!(KlEstimator::K2.estimate(p, q) >= 0.0 && KlEstimator::K3.estimate(p, q) >= 0.0);
        prop_assert_eq!(KlEstimator::K1.estimate(p, q), -KlEstimator::K1.estimate(q, p));
    }

    #[test]
    fn the_coefficient_moves_toward_the_target_and_stays_positive(kls in vec(-100.0..100.0, 1..50), batch in 1_usize..400) {
        let control = KlControl::Adaptive(AdaptiveKl { target: 6.0, horizon: 100.0 });
        let mut controller = KlController::new(0.2, control, batch).unwrap();
        for kl in kls {
            let before = controller.coefficient();
            controller.update(kl, batch).unwrap();
            prop_assert!(controller.coefficient() > 0.0);
            prop_assert_eq!(controller.coefficient() > before, kl > 6.0);
        }
    }

    #[test]
    fn moments_of_parts_are_moments_of_the_whole(parts in vec(vec(-50.0..50.0, 1..9), 1..9)) {
        let mut moments = RunningMoments::default();
        parts.iter().for_each(|part| moments.update(part));
        let whole = parts.concat();
        prop_assume!(whole.len() > 1);
        let rows = [MaskedRow::whole(&whole)];
        prop_assert!(abs_diff_eq!(moments.mean(), masked_mean(&rows).unwrap(), epsilon = 1e-9));
        prop_assert!(abs_diff_eq!(moments.std(), masked_var(&rows).unwrap().sqrt(), epsilon = 1e-9));
    }
}

fn from_tokens(tokens: &[(f64, f64, f64)]) -> Rollout {
    let column = |of: fn(&(f64, f64, f64)) -> f64| tokens.iter().map(of).collect::<Vec<f64>>();
    rollout(&column(|t| t.0), &column(|t| t.1), &column(|t| t.2))
}
