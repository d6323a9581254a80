//! From scored rollouts to advantages and returns.

use ndarray::{Array1, ArrayView1};
use ser_core::Rollout;

use crate::masked::{MaskedRow, counts, masked_mean, masked_var, masked_whiten, mean, variance};
use crate::{KlPenalty, Ppo, PpoError, gae, returns};

/// A rollout with its reward.
#[derive(Clone, Copy, Debug)]
pub struct ScoredRollout<'a> {
    /// The rollout.
    pub rollout: &'a Rollout,
    /// The reward of the whole response.
    pub score: f64,
    /// Whether the score is at a limit of the scaling or of the clip, for [`diagnose`](crate::diagnose).
    pub at_limit: bool,
    /// `false` for response tokens that the policy did not choose, such as the output of a tool; of shape `[T]`. These
    /// are never read, and have neither rewards nor gradients; in GAE they are steps without reward and with a value of
    /// 0, as in TRL.
    pub mask: Option<&'a [bool]>,
}

impl<'a> ScoredRollout<'a> {
    /// A rollout without a mask: the policy chose all of its tokens.
    pub fn new(rollout: &'a Rollout, score: f64) -> Self {
        ScoredRollout { rollout, score, at_limit: false, mask: None }
    }

    /// Each token's KL penalty, 0 where the mask is `false`.
    fn kl(&self, index: usize, penalty: KlPenalty) -> Result<Array1<f64>, PpoError> {
        let kl: Array1<f64> = match (penalty, &self.rollout.full_kl) {
            (KlPenalty::Full, None) => return Err(PpoError::NoFullKl { rollout: index }),
            (KlPenalty::Full, Some(full)) => full.clone(),
            _ => {
                let pairs = self.rollout.log_probs.iter().zip(&self.rollout.reference_log_probs);
                pairs.map(|(p, q)| penalty.penalty(*p, *q).unwrap_or(f64::NAN)).collect()
            }
        };
        check_finite(index, "KL penalty", &kl, self.mask)?;
        Ok(masked_to_zero(kl.view(), self.mask))
    }

    fn check(&self, index: usize) -> Result<(), PpoError> {
        let rollout = self.rollout;
        check_response(index, rollout, self.mask)?;
        let tokens = rollout.response.tokens.len();
        if let Some(full) = &rollout.full_kl {
            check_length(index, "full_kl", full.len(), tokens)?;
        }
        let reference = &rollout.reference_log_probs;
        check_length(index, "reference log-probabilities", reference.len(), tokens)?;
        check_finite(index, "reference log-probability", reference, self.mask)?;
        if self.score.is_finite() { Ok(()) } else { Err(PpoError::BadScore { rollout: index, value: self.score }) }
    }
}

/// The targets of a rollout's tokens, of shape `[T]` each; 0 where the mask is `false`.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    /// A_t, whitened if `whiten_advantages` is set.
    pub advantages: Array1<f64>,
    /// R_t = A_t + V_t, of the advantages before whitening.
    pub returns: Array1<f64>,
    /// Which tokens count; `None` for all.
    pub mask: Option<Vec<bool>>,
}

/// Statistics of the policy over the rollouts of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ObjectiveStatistics {
    /// Mean over responses of the sum of their tokens' KL, as the penalty measures it, in nats.
    pub kl: f64,
    /// The KL coefficient beta.
    pub kl_coefficient: f64,
    /// Mean over responses of -log pi(response), in nats.
    pub entropy: f64,
    /// Mean over responses of -beta KL.
    pub non_score_reward: f64,
    /// `non_score_reward` + `scores`.
    pub rlhf_reward: f64,
    /// Mean score.
    pub scores: f64,
    /// Standard deviation of the scores; 0 for a single one.
    pub scores_std: f64,
    /// Share of scores at a limit of scaling or clip.
    pub scores_at_limit: f64,
    /// The number of end tokens sampled.
    pub num_eos_tokens: u64,
    /// Mean number of response tokens.
    pub response_length: f64,
    /// Mean of the values.
    pub values_mean: f64,
    /// Their standard deviation.
    pub values_std: f64,
    /// Standard deviation of the returns.
    pub returns_std: f64,
    /// 1 - Var(R - V) / Var(R): 1 if the values predict the returns exactly, 0 if they predict no better than a constant
    /// (also if the returns are all equal).
    pub explained_variance: f64,
}

/// The targets and statistics of a step's rollouts.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PreparedStep {
    /// The targets per rollout, in order.
    pub targets: Vec<Targets>,
    /// Statistics of the policy over the rollouts.
    pub statistics: ObjectiveStatistics,
}

/// r_t = -beta KL_t on every token that counts, plus the score on the last of them.
///
/// That is the last token of the response itself (its end token, where it has one), never one after it. `kl` and the
/// rewards have shape `[T]`.
pub fn token_rewards(kl: ArrayView1<'_, f64>, mask: Option<&[bool]>, kl_coefficient: f64, score: f64) -> Array1<f64> {
    let mut rewards: Array1<f64> =
        kl.iter().enumerate().map(|(t, kl)| if counts(mask, t) { -kl_coefficient * kl } else { 0.0 }).collect();
    if let Some((_, last)) = rewards.indexed_iter_mut().filter(|(t, _)| counts(mask, *t)).last() {
        *last += score;
    }
    rewards
}

impl Ppo {
    /// Advantages and returns of a step's rollouts, whitened over all of them together, and the step's objective.
    ///
    /// `end_tokens` are the ids that `val/num_eos_tokens` counts.
    pub fn advantages(
        &self,
        batch: &[ScoredRollout<'_>],
        kl_coefficient: f64,
        end_tokens: &[u32],
    ) -> Result<PreparedStep, PpoError> {
        let settings = self.settings();
        if batch.is_empty() {
            return Err(PpoError::EmptyBatch);
        }
        if !(kl_coefficient.is_finite() && kl_coefficient >= 0.0) {
            return Err(PpoError::BadKlCoefficient { value: kl_coefficient });
        }
        for (index, scored) in batch.iter().enumerate() {
            scored.check(index)?;
        }
        let kl = rows(batch, |index, scored| scored.kl(index, settings.kl_penalty))?;
        let mut rewards: Vec<Array1<f64>> =
            batch.iter().zip(&kl).map(|(s, kl)| token_rewards(kl.view(), s.mask, kl_coefficient, s.score)).collect();
        if settings.whiten_rewards {
            rewards = masked_whiten(&masked(batch, &rewards), false);
        }
        let values = rows(batch, |_, scored| Ok(masked_to_zero(scored.rollout.values.view(), scored.mask)))?;
        let mut advantages = Vec::with_capacity(batch.len());
        let mut all_returns = Vec::with_capacity(batch.len());
        for ((scored, rewards), values) in batch.iter().zip(&rewards).zip(&values) {
            let estimated = gae(rewards.view(), values.view(), settings.gamma, settings.lambda)?;
            all_returns.push(masked_to_zero(returns(estimated.view(), values.view())?.view(), scored.mask));
            advantages.push(masked_to_zero(estimated.view(), scored.mask));
        }
        let statistics = objective(
            batch,
            &ObjectiveRows { kl: &kl, values: &values, advantages: &advantages, returns: &all_returns },
            kl_coefficient,
            end_tokens,
        );
        if settings.whiten_advantages {
            advantages = masked_whiten(&masked(batch, &advantages), true);
        }
        let targets = batch.iter().zip(advantages).zip(all_returns);
        let targets = targets.map(|((scored, advantages), returns)| Targets {
            advantages,
            returns,
            mask: scored.mask.map(<[bool]>::to_vec),
        });
        Ok(PreparedStep { targets: targets.collect(), statistics })
    }
}

struct ObjectiveRows<'a> {
    kl: &'a [Array1<f64>],
    values: &'a [Array1<f64>],
    advantages: &'a [Array1<f64>],
    returns: &'a [Array1<f64>],
}

fn objective(
    batch: &[ScoredRollout<'_>],
    rows: &ObjectiveRows<'_>,
    kl_coefficient: f64,
    end_tokens: &[u32],
) -> ObjectiveStatistics {
    // The batch has a rollout, and every rollout has a token that counts, so every mean exists.
    let per_rollout = |of: &dyn Fn(&ScoredRollout<'_>) -> f64| mean(|| batch.iter().map(of)).unwrap_or(0.0);
    let kl = mean(|| rows.kl.iter().map(|row| row.iter().sum())).unwrap_or(0.0);
    let scores = per_rollout(&|s| s.score);
    let non_score_reward = -kl_coefficient * kl;
    let spread = |row: &[Array1<f64>]| masked_var(&masked(batch, row)).unwrap_or(0.0);
    let returns_var = spread(rows.returns);
    ObjectiveStatistics {
        kl,
        kl_coefficient,
        entropy: per_rollout(&|s| -MaskedRow::fitting(&s.rollout.log_probs, s.mask).selected().sum::<f64>()),
        non_score_reward,
        rlhf_reward: non_score_reward + scores,
        scores,
        scores_std: variance(|| batch.iter().map(|s| s.score)).unwrap_or(0.0).sqrt(),
        scores_at_limit: per_rollout(&|s| f64::from(u8::from(s.at_limit))),
        num_eos_tokens: batch
            .iter()
            .flat_map(|s| &s.rollout.response.tokens)
            .filter(|token| end_tokens.contains(token))
            .count() as u64,
        response_length: per_rollout(&|s| s.rollout.response.tokens.len() as f64),
        values_mean: masked_mean(&masked(batch, rows.values)).unwrap_or(0.0),
        values_std: spread(rows.values).sqrt(),
        returns_std: returns_var.sqrt(),
        // R - V is the advantage.
        explained_variance: if returns_var > 0.0 { 1.0 - spread(rows.advantages) / returns_var } else { 0.0 },
    }
}

fn rows<'b>(
    batch: &[ScoredRollout<'b>],
    mut row: impl FnMut(usize, &ScoredRollout<'b>) -> Result<Array1<f64>, PpoError>,
) -> Result<Vec<Array1<f64>>, PpoError> {
    batch.iter().enumerate().map(|(index, scored)| row(index, scored)).collect()
}

fn masked<'a>(batch: &[ScoredRollout<'a>], rows: &'a [Array1<f64>]) -> Vec<MaskedRow<'a>> {
    batch.iter().zip(rows).map(|(scored, row)| MaskedRow::fitting(row, scored.mask)).collect()
}

fn masked_to_zero(row: ArrayView1<'_, f64>, mask: Option<&[bool]>) -> Array1<f64> {
    row.iter().enumerate().map(|(t, x)| if counts(mask, t) { *x } else { 0.0 }).collect()
}

/// Checks that a rollout has tokens that count, and log-probabilities and values for each.
pub(crate) fn check_response(index: usize, rollout: &Rollout, mask: Option<&[bool]>) -> Result<(), PpoError> {
    let tokens = rollout.response.tokens.len();
    if tokens == 0 {
        return Err(PpoError::EmptyResponse { rollout: index });
    }
    if let Some(mask) = mask {
        check_length(index, "the mask", mask.len(), tokens)?;
        if !mask.contains(&true) {
            return Err(PpoError::AllMasked { rollout: index });
        }
    }
    check_length(index, "log-probabilities", rollout.log_probs.len(), tokens)?;
    check_length(index, "values", rollout.values.len(), tokens)?;
    check_finite(index, "log-probability", &rollout.log_probs, mask)?;
    check_finite(index, "value", &rollout.values, mask)
}

pub(crate) fn check_length(index: usize, what: &'static str, len: usize, tokens: usize) -> Result<(), PpoError> {
    if len == tokens { Ok(()) } else { Err(PpoError::LengthMismatch { rollout: index, what, len, tokens }) }
}

pub(crate) fn check_finite(
    index: usize,
    what: &'static str,
    row: &Array1<f64>,
    mask: Option<&[bool]>,
) -> Result<(), PpoError> {
    match row.iter().enumerate().find(|(t, x)| counts(mask, *t) && !x.is_finite()) {
        Some((token, &value)) => Err(PpoError::NotFinite { rollout: index, token, what, value }),
        None => Ok(()),
    }
}
