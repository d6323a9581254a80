//! The error of this crate.

/// Why settings were refused or a loss could not be evaluated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LossError {
    /// A margin in the settings that is negative or not finite.
    #[error("margin is {value}; it must be finite and at least 0")]
    BadMargin {
        /// The margin given.
        value: f64,
    },
    /// A margin for a loss without a margin.
    #[error("margin is {value}, but the loss log_exp has no margin; leave it out, or use bradley_terry")]
    UnusedMargin {
        /// The margin given.
        value: f64,
    },
    /// A label smoothing that would reverse labels.
    #[error("{setting} is {value}; it must be at least 0 and under 0.5")]
    BadSmoothing {
        /// The setting's name.
        setting: &'static str,
        /// The smoothing given.
        value: f64,
    },
    /// A centring coefficient that is negative or not finite.
    #[error("centering is {value}; it must be finite and at least 0")]
    BadCentering {
        /// The coefficient given.
        value: f64,
    },
    /// A beta that is not positive.
    #[error("beta is {value}; it must be finite and over 0")]
    BadBeta {
        /// The beta given.
        value: f64,
    },
    /// An array without one column per answer.
    #[error("{what} has {columns} columns; it must have 2, the preferred answer's and the other's")]
    BadShape {
        /// The name of the array.
        what: &'static str,
        /// The number of its columns.
        columns: usize,
    },
    /// Log-probabilities of policy and reference for different numbers of pairs.
    #[error(
        "the policy has log-probabilities of {policy} pairs but the reference of {reference}; they must be the same pairs"
    )]
    ReferenceMismatch {
        /// The number of pairs under the policy.
        policy: usize,
        /// The number of pairs under the reference.
        reference: usize,
    },
    /// Scores and targets of different lengths.
    #[error("{scores} pairs were scored but {targets} targets given; there must be one target per pair")]
    LengthMismatch {
        /// The number of pairs with scores.
        scores: usize,
        /// The number of targets.
        targets: usize,
    },
    /// A score or log-probability that is not a finite number.
    #[error("pair {index} of the batch: {what} is {value}; training has diverged, or the model's weights are broken")]
    NotFinite {
        /// The pair's index in the batch, from 0.
        index: usize,
        /// The name of the number.
        what: &'static str,
        /// The number.
        value: f64,
    },
    /// A target's margin that is not a finite number.
    #[error("pair {index} of the batch: its margin is {value}; it must be finite")]
    BadTargetMargin {
        /// The pair's index in the batch, from 0.
        index: usize,
        /// The margin given.
        value: f64,
    },
    /// A weight that is negative or not finite.
    #[error("pair {index} of the batch: its weight is {value}; it must be finite and at least 0")]
    BadWeight {
        /// The pair's index in the batch, from 0.
        index: usize,
        /// The weight given.
        value: f64,
    },
    /// A label probability outside [0, 1].
    #[error("pair {index} of the batch: its label's probability is {value}; it must lie in [0, 1]")]
    BadProbability {
        /// The pair's index in the batch, from 0.
        index: usize,
        /// The probability given.
        value: f64,
    },
    /// Finite numbers whose loss or gradient overflows.
    #[error("pair {index} of the batch: its loss or gradient overflows; its scores or weights are too large")]
    Overflow {
        /// The pair's index in the batch, from 0.
        index: usize,
    },
}
