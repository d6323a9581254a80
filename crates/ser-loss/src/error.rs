//! What can go wrong in a loss.

/// Why a loss could not be built or evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// A margin in the settings that is none.
    #[error("loss.margin is {value}; it must be finite and at least 0")]
    BadMargin {
        /// The margin given.
        value: f64,
    },
    /// A margin for a loss that has none.
    #[error("loss.margin is {value}, but the loss log_exp has no margin; leave it out, or use bradley_terry")]
    UnusedMargin {
        /// The margin given.
        value: f64,
    },
    /// A smoothing that would turn labels over.
    #[error("{setting} is {value}; it must be at least 0 and under 0.5, where labels would say nothing")]
    BadSmoothing {
        /// The setting's name.
        setting: &'static str,
        /// The smoothing given.
        value: f64,
    },
    /// A penalty that would be a reward.
    #[error("loss.centering is {value}; it must be finite and at least 0")]
    BadCentering {
        /// The coefficient given.
        value: f64,
    },
    /// A beta that makes no sense.
    #[error("dpo.beta is {value}; it must be finite and over 0")]
    BadBeta {
        /// The beta given.
        value: f64,
    },
    /// Targets that belong to other scores.
    #[error("{scores} pairs were scored but {targets} targets given; there must be one target per pair")]
    LengthMismatch {
        /// How many pairs have scores.
        scores: usize,
        /// How many targets there are.
        targets: usize,
    },
    /// A score or log-probability that is not a finite number.
    #[error("pair {place} of the batch: {what} is {value}; training has diverged, or the model's weights are broken")]
    NotFinite {
        /// The pair's place in the batch, from 0.
        place: usize,
        /// Which number.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// A target's margin that is not a finite number.
    #[error("pair {place} of the batch: its margin is {value}; it must be finite")]
    BadTargetMargin {
        /// The pair's place in the batch, from 0.
        place: usize,
        /// The margin given.
        value: f64,
    },
    /// A weight that is none.
    #[error("pair {place} of the batch: its weight is {value}; it must be finite and at least 0")]
    BadWeight {
        /// The pair's place in the batch, from 0.
        place: usize,
        /// The weight given.
        value: f64,
    },
    /// A label probability that is none.
    #[error("pair {place} of the batch: its label's probability is {value}; it must lie in [0, 1]")]
    BadProbability {
        /// The pair's place in the batch, from 0.
        place: usize,
        /// The probability given.
        value: f64,
    },
    /// Finite numbers whose loss is not.
    #[error(
        "pair {place} of the batch: its loss or gradient is too large for a number; scores or weights are far too big"
    )]
    Overflow {
        /// The pair's place in the batch, from 0.
        place: usize,
    },
}
