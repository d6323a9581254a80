//! The PPO objective of a mini-batch: value and gradient.

use ser_core::{ObjectiveGradient, Rollout, TokenEvaluation};
use serde::{Deserialize, Serialize};

use crate::advantages::{Targets, check_finite, check_length, check_response};
use crate::masked::counts;
use crate::{Ppo, PpoError, clipped_surrogate, clipped_value_loss, probability_ratio};

/// A rollout with its targets.
#[derive(Clone, Copy, Debug)]
pub struct TargetedRollout<'a> {
    /// The rollout.
    pub rollout: &'a Rollout,
    /// Its targets, from [`Ppo::advantages`].
    pub targets: &'a Targets,
}

/// The loss of a mini-batch and its statistics: means over all of its tokens that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MiniBatchLoss {
    /// `policy` + value coefficient * `value` - entropy coefficient * entropy; 0 if skipped.
    pub total: f64,
    /// The loss of the clipped surrogate (Eq. 6); 0 if skipped.
    pub policy: f64,
    /// The clipped value loss; 0 if skipped.
    pub value: f64,
    /// Entropy of the next-token distributions, in nats.
    pub entropy: f64,
    /// (log pi - log pi_old)² / 2.
    pub approx_kl: f64,
    /// log pi_old - log pi, which is compared with the target KL.
    pub policy_kl: f64,
    /// Share of tokens whose policy loss the clip decided.
    pub clip_fraction: f64,
    /// Share of tokens whose value loss the clip decided.
    pub value_clip_fraction: f64,
    /// The probability ratio rho.
    pub ratio: f64,
    /// The number of tokens that count.
    pub tokens: usize,
    /// Whether it was skipped because of its mean ratio, with a gradient of 0.
    pub skipped: bool,
}

/// Sums over one rollout's tokens that count.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    policy: f64,
    value: f64,
    entropy: f64,
    approx_kl: f64,
    policy_kl: f64,
    clipped: f64,
    value_clipped: f64,
    ratio: f64,
}

impl Ppo {
    /// The loss of one mini-batch and, per sample, its derivative by every log-probability, value and entropy.
    ///
    /// `evaluations` are those of the present policy, one per sample. Means are over the tokens of all samples
    /// together. If the mean ratio is over the threshold, the mini-batch is skipped: loss and gradient are 0.
    pub fn mini_batch_loss(
        &self,
        samples: &[TargetedRollout<'_>],
        evaluations: &[TokenEvaluation],
    ) -> Result<(MiniBatchLoss, Vec<ObjectiveGradient>), PpoError> {
        if samples.len() != evaluations.len() {
            return Err(PpoError::CountMismatch {
                what: "evaluations",
                len: evaluations.len(),
                rollouts: samples.len(),
            });
        }
        if samples.is_empty() {
            return Err(PpoError::EmptyBatch);
        }
        let tokens = count_tokens(samples);
        let mut sums = Vec::with_capacity(samples.len());
        let mut gradients = Vec::with_capacity(samples.len());
        for (index, (sample, evaluation)) in samples.iter().zip(evaluations).enumerate() {
            let (sum, gradient) = self.rollout_loss(index, sample, evaluation, 1.0 / tokens as f64)?;
            sums.push(sum);
            gradients.push(gradient);
        }
        let loss = self.combine(&sums, tokens);
        if loss.skipped {
            gradients.iter_mut().for_each(clear);
        }
        Ok((loss, gradients))
    }

    /// Whether the remaining epochs of a step are skipped: the mean of log pi_old - log pi over an epoch's tokens is more
    /// than 1.5 times the target KL.
    pub fn stops_early(&self, epoch: &[MiniBatchLoss]) -> bool {
        let tokens: usize = epoch.iter().map(|m| m.tokens).sum();
        let policy_kl: f64 = epoch.iter().map(|m| m.policy_kl * m.tokens as f64).sum::<f64>() / tokens as f64;
        self.settings().early_stopping && policy_kl > 1.5 * self.settings().target_kl
    }

    /// Sums over a rollout's tokens, and the gradient of `weight` times the sum of its tokens' losses.
    fn rollout_loss(
        &self,
        index: usize,
        sample: &TargetedRollout<'_>,
        evaluation: &TokenEvaluation,
        weight: f64,
    ) -> Result<(Sums, ObjectiveGradient), PpoError> {
        let (settings, TargetedRollout { rollout, targets }) = (self.settings(), *sample);
        let mask = targets.mask.as_deref();
        check_sample(index, sample, evaluation)?;
        let tokens = rollout.response.tokens.len();
        let mut sums = Sums::default();
        let mut gradient = ObjectiveGradient::zeros(tokens);
        let new = evaluation.log_probs.iter().zip(&evaluation.values).zip(&evaluation.entropies);
        let old = rollout.log_probs.iter().zip(&rollout.values);
        let aims = targets.advantages.iter().zip(&targets.returns);
        let slots = gradient.log_probs.iter_mut().zip(&mut gradient.values).zip(&mut gradient.entropies);
        for (token, (((new, old), aim), slot)) in new.zip(old).zip(aims).zip(slots).enumerate() {
            if !counts(mask, token) {
                continue;
            }
            let (((&log_prob, &value), &entropy), (&old_log_prob, &old_value), (&advantage, &return_)) =
                (new, old, aim);
            let policy = clipped_surrogate(log_prob, old_log_prob, advantage, settings.clip_range);
            let critic = clipped_value_loss(value, old_value, return_, settings.value_clip_range);
            let moved = log_prob - old_log_prob;
            sums.policy += policy.value;
            sums.value += critic.value;
            sums.entropy += entropy;
            sums.approx_kl += 0.5 * moved * moved;
            sums.policy_kl -= moved;
            sums.clipped += f64::from(u8::from(policy.clipped));
            sums.value_clipped += f64::from(u8::from(critic.clipped));
            sums.ratio += probability_ratio(log_prob, old_log_prob);
            let ((by_log_prob, by_value), by_entropy) = slot;
            *by_log_prob = weight * policy.slope;
            *by_value = weight * settings.value_coefficient * critic.slope;
            *by_entropy = -weight * settings.entropy_coefficient;
        }
        Ok((sums, gradient))
    }

    /// Means over the mini-batch's `tokens`.
    fn combine(&self, sums: &[Sums], tokens: usize) -> MiniBatchLoss {
        let settings = self.settings();
        let mean = |of: fn(&Sums) -> f64| sums.iter().map(of).sum::<f64>() / tokens as f64;
        let (ratio, entropy) = (mean(|s| s.ratio), mean(|s| s.entropy));
        let skipped = ratio > settings.ratio_threshold;
        let kept = |of| if skipped { 0.0 } else { mean(of) };
        let (policy, value, bonus) = (kept(|s| s.policy), kept(|s| s.value), if skipped { 0.0 } else { entropy });
        MiniBatchLoss {
            total: policy + settings.value_coefficient * value - settings.entropy_coefficient * bonus,
            policy,
            value,
            entropy,
            approx_kl: mean(|s| s.approx_kl),
            policy_kl: mean(|s| s.policy_kl),
            clip_fraction: mean(|s| s.clipped),
            value_clip_fraction: mean(|s| s.value_clipped),
            ratio,
            tokens,
            skipped,
        }
    }
}

fn count_tokens(samples: &[TargetedRollout<'_>]) -> usize {
    let counted = |s: &TargetedRollout<'_>| match &s.targets.mask {
        Some(mask) => mask.iter().filter(|m| **m).count(),
        None => s.rollout.response.tokens.len(),
    };
    samples.iter().map(counted).sum()
}

fn clear(gradient: &mut ObjectiveGradient) {
    for row in [&mut gradient.log_probs, &mut gradient.values, &mut gradient.entropies] {
        row.fill(0.0);
    }
}

fn check_sample(index: usize, sample: &TargetedRollout<'_>, evaluation: &TokenEvaluation) -> Result<(), PpoError> {
    let TargetedRollout { rollout, targets } = sample;
    let mask = targets.mask.as_deref();
    check_response(index, rollout, mask)?;
    for (what, row) in [
        ("advantage", &targets.advantages),
        ("return", &targets.returns),
        ("evaluated log-probability", &evaluation.log_probs),
        ("evaluated value", &evaluation.values),
        ("evaluated entropy", &evaluation.entropies),
    ] {
        check_length(index, what, row.len(), rollout.response.tokens.len())?;
        check_finite(index, what, row, mask)?;
    }
    Ok(())
}
