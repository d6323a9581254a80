//! The PPO objective of a mini-batch: value and gradient.

use ser_core::{ObjectiveGradient, Rollout, TokenEvaluation};
use serde::{Deserialize, Serialize};

use crate::advantages::{Targets, check_finite, check_length, check_response};
use crate::masked::counts;
use crate::{Ppo, PpoError, PpoSettings, clipped_surrogate, clipped_value_loss, probability_ratio};

/// A rollout and what its tokens are to teach.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// The rollout.
    pub rollout: &'a Rollout,
    /// Its targets, from [`Ppo::advantages`].
    pub targets: &'a Targets,
}

/// A mini-batch's loss and what goes with it: means over all of its tokens that count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MiniBatchLoss {
    /// `policy` + value coefficient * `value` - entropy coefficient * entropy; 0 if skipped.
    pub total: f64,
    /// The clipped surrogate's loss (Eq. 6); 0 if skipped.
    pub policy: f64,
    /// The clipped value loss; 0 if skipped.
    pub value: f64,
    /// Entropy of the next-token distributions, in nats.
    pub entropy: f64,
    /// (log pi - log pi_old)² / 2.
    pub approx_kl: f64,
    /// log pi_old - log pi, which the target KL is about.
    pub policy_kl: f64,
    /// Share of tokens whose policy loss the clip decided.
    pub clip_fraction: f64,
    /// Share of tokens whose value loss the clip decided.
    pub value_clip_fraction: f64,
    /// rho.
    pub ratio: f64,
    /// How many tokens count.
    pub tokens: usize,
    /// Whether the ratio guard made any of its gradient 0.
    pub skipped: bool,
}

/// Sums over one rollout's tokens that count.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    tokens: usize,
    policy: f64,
    value: f64,
    entropy: f64,
    approx_kl: f64,
    policy_kl: f64,
    clipped: f64,
    value_clipped: f64,
    ratio: f64,
}

impl Sums {
    fn over_threshold(&self, settings: &PpoSettings) -> bool {
        self.ratio > settings.ratio_threshold * self.tokens as f64
    }
}

impl Ppo {
    /// The loss of one mini-batch and, per sample, its derivative by every log-probability, value and entropy.
    ///
    /// `evaluations` are the policy's as it is now, one per sample. Means are over the tokens of all samples
    /// together. If the mean ratio is over the threshold, the mini-batch is skipped: loss and gradient are 0.
    pub fn mini_batch_loss(
        &self,
        samples: &[Sample<'_>],
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
        for (place, (sample, evaluation)) in samples.iter().zip(evaluations).enumerate() {
            let (sum, gradient) = self.rollout_loss(place, sample, evaluation, 1.0 / tokens as f64)?;
            sums.push(sum);
            gradients.push(gradient);
        }
        let all: Vec<&Sums> = sums.iter().collect();
        let whole = Sums { tokens, ratio: sums.iter().map(|s| s.ratio).sum(), ..Sums::default() };
        let skipped = whole.over_threshold(self.settings());
        if skipped {
            gradients.iter_mut().for_each(clear);
        }
        Ok((self.combine(&all, |_| skipped), gradients))
    }

    /// One optimizer step's objective, for [`Policy::update`](ser_core::Policy::update) on the samples' rollouts.
    ///
    /// `samples` are split into mini-batches of `mini_batch_size`; the mean of their losses is what is descended.
    pub fn update_objective<'a>(&'a self, samples: &'a [Sample<'a>]) -> UpdateObjective<'a> {
        UpdateObjective { ppo: self, samples, sums: vec![None; samples.len()] }
    }

    /// Whether the rest of a step's epochs is left out: the mean of log pi_old - log pi over an epoch's tokens is more
    /// than 1.5 times the target KL.
    pub fn stops_early(&self, epoch: &[MiniBatchLoss]) -> bool {
        let tokens: usize = epoch.iter().map(|m| m.tokens).sum();
        let policy_kl: f64 = epoch.iter().map(|m| m.policy_kl * m.tokens as f64).sum::<f64>() / tokens as f64;
        self.settings().early_stopping && policy_kl > 1.5 * self.settings().target_kl
    }

    /// Sums over a rollout's tokens, and the gradient of `weight` times the sum of its tokens' losses.
    fn rollout_loss(
        &self,
        place: usize,
        sample: &Sample<'_>,
        evaluation: &TokenEvaluation,
        weight: f64,
    ) -> Result<(Sums, ObjectiveGradient), PpoError> {
        let (settings, Sample { rollout, targets }) = (self.settings(), *sample);
        let mask = targets.mask.as_deref();
        check_sample(place, sample, evaluation)?;
        let tokens = rollout.response.tokens.len();
        let mut sums = Sums::default();
        let zeros = vec![0.0; tokens];
        let mut gradient = ObjectiveGradient { log_probs: zeros.clone(), values: zeros.clone(), entropies: zeros };
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
            sums.tokens += 1;
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

    /// Means over the tokens of `sums`; those for which `skipped` says so add nothing to the losses.
    fn combine(&self, sums: &[&Sums], skipped: impl Fn(&Sums) -> bool) -> MiniBatchLoss {
        let tokens: usize = sums.iter().map(|s| s.tokens).sum();
        let mean = |of: &dyn Fn(&Sums) -> f64| sums.iter().map(|s| of(s)).sum::<f64>() / tokens as f64;
        let kept = |of: &dyn Fn(&Sums) -> f64| mean(&|s| if skipped(s) { 0.0 } else { of(s) });
        let (policy, value, bonus) = (kept(&|s| s.policy), kept(&|s| s.value), kept(&|s| s.entropy));
        let settings = self.settings();
        MiniBatchLoss {
            total: policy + settings.value_coefficient * value - settings.entropy_coefficient * bonus,
            policy,
            value,
            entropy: mean(&|s| s.entropy),
            approx_kl: mean(&|s| s.approx_kl),
            policy_kl: mean(&|s| s.policy_kl),
            clip_fraction: mean(&|s| s.clipped),
            value_clip_fraction: mean(&|s| s.value_clipped),
            ratio: mean(&|s| s.ratio),
            tokens,
            skipped: sums.iter().any(|s| skipped(s)),
        }
    }
}

/// One optimizer step's objective: gives each rollout's gradient, and keeps the losses.
///
/// A policy asks for one rollout's gradient at a time, so the ratio guard looks at one rollout at a time too: one
/// whose mean ratio is over the threshold adds nothing. With mini-batches of 1 that is the mini-batch.
#[derive(Debug)]
pub struct UpdateObjective<'a> {
    ppo: &'a Ppo,
    samples: &'a [Sample<'a>],
    sums: Vec<Option<Sums>>,
}

impl UpdateObjective<'_> {
    /// The gradient for the sample at `place`, such that the mean over all samples of
    /// `sum(gradient * derivative of the evaluation)` is the derivative of the mean of the mini-batches' losses.
    pub fn gradient(&mut self, place: usize, evaluation: &TokenEvaluation) -> Result<ObjectiveGradient, PpoError> {
        let rollouts = self.samples.len();
        let size = self.ppo.settings().mini_batch_size;
        let (Some(sample), Some(slot), Some(mini_batch)) =
            (self.samples.get(place), self.sums.get_mut(place), self.samples.chunks(size).nth(place / size))
        else {
            return Err(PpoError::NoSuchRollout { rollout: place, rollouts });
        };
        let mini_batches = rollouts.div_ceil(size) as f64;
        let weight = rollouts as f64 / (mini_batches * count_tokens(mini_batch) as f64);
        let (sums, mut gradient) = self.ppo.rollout_loss(place, sample, evaluation, weight)?;
        if sums.over_threshold(self.ppo.settings()) {
            clear(&mut gradient);
        }
        *slot = Some(sums);
        Ok(gradient)
    }

    /// The mini-batches' losses, once every sample has been evaluated.
    pub fn finish(self) -> Result<Vec<MiniBatchLoss>, PpoError> {
        if let Some(rollout) = self.sums.iter().position(Option::is_none) {
            return Err(PpoError::NotEvaluated { rollout });
        }
        let settings = self.ppo.settings();
        let combine = |chunk: &[Option<Sums>]| {
            let sums: Vec<&Sums> = chunk.iter().flatten().collect();
            self.ppo.combine(&sums, |s| s.over_threshold(settings))
        };
        Ok(self.sums.chunks(settings.mini_batch_size).map(combine).collect())
    }
}

fn count_tokens(samples: &[Sample<'_>]) -> usize {
    let counted = |s: &Sample<'_>| match &s.targets.mask {
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

fn check_sample(place: usize, sample: &Sample<'_>, evaluation: &TokenEvaluation) -> Result<(), PpoError> {
    let Sample { rollout, targets } = sample;
    let mask = targets.mask.as_deref();
    check_response(place, rollout, mask)?;
    for (what, row) in [
        ("advantage", &targets.advantages),
        ("return", &targets.returns),
        ("evaluated log-probability", &evaluation.log_probs),
        ("evaluated value", &evaluation.values),
        ("evaluated entropy", &evaluation.entropies),
    ] {
        check_length(place, what, row.len(), rollout.response.tokens.len())?;
        check_finite(place, what, row, mask)?;
    }
    Ok(())
}
