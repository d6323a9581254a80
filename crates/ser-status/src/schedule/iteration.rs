//! The inputs and decisions of schedules.

use std::fmt;

use ser_core::Clusters;
use serde::{Deserialize, Serialize};

use crate::clustered::check_ids;
use crate::{LoopState, PoolCounts, StatusError};

/// The right answers of a reward model on held-out pairs, compared with those of the model before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Held-out pairs.
    pub pairs: usize,
    /// Prompts of these pairs: the independent units.
    pub prompts: usize,
    /// Pairs the model gets right (the preferred answer scores strictly higher).
    pub correct: usize,
    /// Pairs it gets right and the model before got wrong; 0 for the first model.
    pub gained: usize,
    /// Pairs it gets wrong and the model before got right; 0 for the first model.
    pub lost: usize,
    /// Sum over prompts of (gained - lost - gain * pairs)^2, for the standard error of the gain.
    pub squared_residuals: f64,
}

impl Validation {
    /// From one flag per held-out pair, in the same order for both models: whether the model gets it right. `clusters`
    /// groups the pairs by prompt.
    ///
    /// # Errors
    /// [`StatusError::LengthMismatch`].
    pub fn new(current: &[bool], previous: Option<&[bool]>, clusters: Clusters<'_>) -> Result<Self, StatusError> {
        let previous = previous.unwrap_or(current);
        if previous.len() != current.len() {
            return Err(StatusError::LengthMismatch {
                what: "the previous model's validation",
                got: previous.len(),
                expected: current.len(),
            });
        }
        check_ids(current.len(), clusters)?;
        let both = || current.iter().zip(previous);
        let gained = both().filter(|(now, before)| **now && !**before).count();
        let lost = both().filter(|(now, before)| !**now && **before).count();
        let gain = (gained as f64 - lost as f64) / current.len().max(1) as f64;
        let index = clusters.index(0..current.len());
        let difference = |(now, before): (&bool, &bool)| f64::from(u8::from(*now)) - f64::from(u8::from(*before));
        let residuals = index.sums(both().map(|pair| difference(pair) - gain));
        Ok(Validation {
            pairs: current.len(),
            prompts: index.count,
            correct: current.iter().filter(|right| **right).count(),
            gained,
            lost,
            squared_residuals: residuals.iter().map(|e| e * e).sum(),
        })
    }

    /// Share of pairs it gets right; `None` without pairs.
    pub fn accuracy(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.correct as f64 / self.pairs as f64)
    }

    /// The gain in accuracy over the model before, g = (gained - lost) / n, and its standard error,
    /// sqrt(G / (G - 1) * squared_residuals) / n for G prompts: that of a mean of paired differences, far smaller than
    /// that of two independent accuracies, with the prompt as the independent unit. `None` with fewer than two prompts.
    pub fn gain(&self) -> Option<(f64, f64)> {
        let (n, prompts) = (self.pairs as f64, self.prompts as f64);
        let variance = prompts / (prompts - 1.0) * self.squared_residuals;
        (self.prompts > 1).then(|| ((self.gained as f64 - self.lost as f64) / n, variance.sqrt() / n))
    }

    /// Whether the gain is over so many of its standard errors; `None` with fewer than two prompts.
    pub fn gain_exceeds(&self, standard_errors: f64) -> Option<bool> {
        // The gain of a single gained pair is exactly one standard error; rounding must not make it more.
        self.gain().map(|(gain, error)| gain > standard_errors * error * (1.0 + 1e-9))
    }
}

/// The statistics of one iteration's reward model: of iteration 0 (the seed), then of each later one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct IterationStats {
    /// The state by which its training pairs were selected; `None` for the seed model.
    pub state: Option<LoopState>,
    /// How many pairs each state would keep of the pool that the next iteration may label.
    pub available: PoolCounts,
    /// Of `available.status1`, those that no earlier iteration has selected.
    pub fresh_status1: usize,
    /// Its results on held-out labelled pairs, where there are any.
    pub validation: Option<Validation>,
}

/// The state of the next iteration, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The state.
    pub state: LoopState,
    /// The reason.
    pub reason: Reason,
}

/// The reason of a decision; displays as a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The plan has this state.
    Planned,
    /// The planned state keeps no pair, and this one does.
    PlannedKeepsNothing,
    /// No allowed state keeps a pair.
    NothingToSelect,
    /// The limit of iterations is reached.
    LoopLimit,
    /// The last iteration's gain in validation accuracy is not marginal.
    Improving {
        /// The gain.
        gain: f64,
        /// Its standard error.
        standard_error: f64,
    },
    /// The last iteration's gain in validation accuracy is marginal.
    Marginal {
        /// The gain.
        gain: f64,
        /// Its standard error.
        standard_error: f64,
    },
    /// Without validation: the share of the pool that is fresh Status 1 is not marginal.
    Fresh {
        /// The share.
        share: f64,
    },
    /// Without validation: the share of the pool that is fresh Status 1 is marginal.
    Stale {
        /// The share.
        share: f64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |x: f64| 100.0 * x;
        match *self {
            Reason::Planned => write!(f, "as planned"),
            Reason::PlannedKeepsNothing => write!(f, "the planned state keeps no pair"),
            Reason::NothingToSelect => write!(f, "no pair can be selected any more"),
            Reason::LoopLimit => write!(f, "the loop limit is reached"),
            Reason::Improving { gain, standard_error } => {
                write!(f, "the last loop gained {:.2} ± {:.2} points", percent(gain), percent(standard_error))
            }
            Reason::Marginal { gain, standard_error } => {
                write!(
                    f,
                    "the last loop's gain is marginal: {:.2} ± {:.2} points",
                    percent(gain),
                    percent(standard_error)
                )
            }
            Reason::Fresh { share } => write!(f, "{:.2} % of the pool is fresh Status 1", percent(share)),
            Reason::Stale { share } => write!(f, "only {:.2} % of the pool is fresh Status 1", percent(share)),
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    #[test]
    fn validation_counts_and_paired_standard_error() {
        let now = [true, true, false, true];
        let before = [true, false, true, false];
        let v = Validation::new(&now, Some(&before), Clusters::Singletons).unwrap();
        assert_eq!((v.pairs, v.prompts, v.correct, v.gained, v.lost), (4, 4, 3, 2, 1));
        // Differences 0, 1, -1, 1: mean 1/4, squared residuals 3 - 4/16 = 11/4, standard error sqrt(4/3 * 11/4) / 4.
        let (gain, error) = v.gain().unwrap();
        assert_eq!(gain, 0.25);
        assert_abs_diff_eq!(error, (11f64 / 48.0).sqrt(), epsilon = 1e-15);
        // The gain of one gained pair is one standard error, whatever the number of pairs.
        for n in 2..200 {
            let now: Vec<bool> = (0..n).map(|i| i == 0).collect();
            let one = Validation::new(&now, Some(&vec![false; n]), Clusters::Singletons).unwrap();
            assert_eq!((one.gain_exceeds(1.0), one.gain_exceeds(0.9)), (Some(false), Some(true)), "{n}");
        }
        // Prompts {0, 1} and {2, 3}: sums of residuals 1/2 and -1/2.
        let by_prompt = Validation::new(&now, Some(&before), Clusters::Ids(&[7, 7, 3, 3])).unwrap();
        let (gain, error) = by_prompt.gain().unwrap();
        assert_eq!((gain, by_prompt.prompts), (0.25, 2));
        assert_abs_diff_eq!(error, (2.0 * 0.5_f64).sqrt() / 4.0, epsilon = 1e-15);
        assert_eq!(Validation::new(&now, Some(&before), Clusters::Ids(&[1; 4])).unwrap().gain(), None);
        assert!(Validation::new(&now, Some(&before[..3]), Clusters::Singletons).is_err());
        assert!(Validation::new(&now, Some(&before), Clusters::Ids(&[1; 3])).is_err());
        assert_eq!(Validation::new(&[], None, Clusters::Singletons).unwrap().gain(), None);
    }
}
