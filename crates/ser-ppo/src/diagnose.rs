//! Warnings from the statistics of recent steps.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::StepStatistics;

/// The limits of the statistics beyond which [`diagnose`] warns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiagnosisSettings {
    /// The number of steps of a window.
    pub window: usize,
    /// The least `objective/kl` that noise explains (-1 in TRL), in nats per response.
    pub negative_kl: f64,
    /// The largest `objective/kl`, in nats per response.
    pub exploding_kl: f64,
    /// The least standard deviation of the values, as a share of that of the returns.
    pub value_spread: f64,
    /// The largest factor by which mean response lengths may grow or shrink.
    pub length_factor: f64,
    /// The largest share of scores at a limit.
    pub saturated_share: f64,
    /// The least standard deviation of the scores, as a share of what it was in the oldest window.
    pub score_spread: f64,
    /// The largest mean ratio; its inverse is the least.
    pub ratio: f64,
}

impl Default for DiagnosisSettings {
    fn default() -> Self {
        DiagnosisSettings {
            window: 10,
            negative_kl: -1.0,
            exploding_kl: 60.0,
            value_spread: 0.01,
            length_factor: 1.5,
            saturated_share: 0.9,
            score_spread: 0.05,
            ratio: 2.0,
        }
    }
}

/// A problem of a run; its text has a remedy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// The newest KL is clearly negative.
    NegativeKl {
        /// `objective/kl`.
        kl: f64,
    },
    /// The newest KL is very large.
    ExplodingKl {
        /// `objective/kl`.
        kl: f64,
    },
    /// Values have hardly differed for a whole window.
    ValueCollapse {
        /// `val/std`, the window's mean.
        values_std: f64,
        /// `returns/std`, the window's mean.
        returns_std: f64,
    },
    /// Responses have become much longer or shorter.
    LengthDrift {
        /// Mean length in the oldest window.
        before: f64,
        /// Mean length in the newest.
        now: f64,
    },
    /// Scores are at the end of their range.
    RewardAtLimit {
        /// Share of the newest window's scores at a limit.
        share: f64,
    },
    /// Scores hardly differ any more.
    RewardSpreadLost {
        /// Mean spread in the oldest window.
        before: f64,
        /// Mean spread in the newest.
        now: f64,
    },
    /// The probability ratios of the newest step are far from 1, or mini-batches were skipped.
    RatioBlowUp {
        /// `val/ratio`.
        ratio: f64,
        /// Mini-batches skipped.
        skipped: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Warning::NegativeKl { kl } => write!(
                f,
                "objective/kl is {kl:.2}, but a divergence is never negative: sampling does not follow the distribution of \
                 the policy (temperature, top-k, top-p, forced lengths), or the log-probabilities are of other tokens"
            ),
            Warning::ExplodingKl { kl } => write!(
                f,
                "objective/kl is {kl:.1} nats per response: the policy is far from its reference; lower the learning rate \
                 or raise the KL coefficient"
            ),
            Warning::ValueCollapse { values_std, returns_std } => write!(
                f,
                "the values hardly differ (standard deviation {values_std:.2e}) while the returns do \
                 ({returns_std:.2e}): the value head learns nothing; raise value_coefficient or its learning rate"
            ),
            Warning::LengthDrift { before, now } => write!(
                f,
                "responses went from {before:.0} to {now:.0} tokens on average: the reward may favour length; look at \
                 samples, and at the missing-EOS penalty"
            ),
            Warning::RewardAtLimit { share } => write!(
                f,
                "{:.0} % of the scores are at the end of their range, so they do not distinguish answers; anchor \
                 or rescale the reward",
                100.0 * share
            ),
            Warning::RewardSpreadLost { before, now } => write!(
                f,
                "the scores' standard deviation fell from {before:.2e} to {now:.2e}: the reward is saturated, or the \
                 policy gives the same answer to every prompt; look at samples"
            ),
            Warning::RatioBlowUp { ratio, skipped } => write!(
                f,
                "val/ratio is {ratio:.2} and {skipped} mini-batches were skipped: the policy moves too far within one \
                 step; lower the learning rate or the number of epochs"
            ),
        }
    }
}

/// Warnings from the steps of a run, oldest first: all steps, or as many recent ones as are kept.
///
/// KL and ratios are those of the newest step; lengths and the spread of scores compare the oldest window with the newest,
/// once there are two windows. The function has no state.
pub fn diagnose(steps: &[StepStatistics], settings: &DiagnosisSettings) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let Some(newest) = steps.last() else { return warnings };
    if newest.kl < settings.negative_kl {
        warnings.push(Warning::NegativeKl { kl: newest.kl });
    }
    if newest.kl > settings.exploding_kl {
        warnings.push(Warning::ExplodingKl { kl: newest.kl });
    }
    let far = newest.ratio > settings.ratio || newest.ratio * settings.ratio < 1.0;
    // A step without any mini-batch has a ratio of 0, which does not count.
    if newest.num_skipped > 0 || (far && newest.ratio != 0.0) {
        warnings.push(Warning::RatioBlowUp { ratio: newest.ratio, skipped: newest.num_skipped });
    }

    let window = settings.window.max(1);
    let Some(now) = steps.len().checked_sub(window).and_then(|from| steps.get(from..)) else { return warnings };
    let average = |steps: &[StepStatistics], of: fn(&StepStatistics) -> f64| {
        steps.iter().map(of).sum::<f64>() / steps.len() as f64
    };
    let (values_std, returns_std) = (average(now, |s| s.values_std), average(now, |s| s.returns_std));
    if returns_std > 0.0 && now.iter().all(|s| s.values_std < settings.value_spread * s.returns_std) {
        warnings.push(Warning::ValueCollapse { values_std, returns_std });
    }
    let share = average(now, |s| s.scores_at_limit);
    if share > settings.saturated_share {
        warnings.push(Warning::RewardAtLimit { share });
    }

    let Some(oldest) = steps.get(..window).filter(|_| steps.len() >= 2 * window) else { return warnings };
    let compare = |of: fn(&StepStatistics) -> f64| (average(oldest, of), average(now, of));
    let (before, now_) = compare(|s| s.response_length);
    if now_ > before * settings.length_factor || now_ * settings.length_factor < before {
        warnings.push(Warning::LengthDrift { before, now: now_ });
    }
    let (before, now_) = compare(|s| s.scores_std);
    if now_ < settings.score_spread * before {
        warnings.push(Warning::RewardSpreadLost { before, now: now_ });
    }
    warnings
}
