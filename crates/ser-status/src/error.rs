//! The error of this crate.

use ser_core::BoxError;

/// Why settings or inputs were refused; each message has the setting or argument, its value and a remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// A threshold outside [0, 1].
    #[error("{name} is {value}: give a number from 0 to 1, as it is compared with sigmoid scores")]
    ThresholdOutOfRange {
        /// The threshold's name.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// A tau_low over tau_high, so that an answer could be confidently good and confidently bad.
    #[error("tau_low is {tau_low}, over tau_high, which is {tau_high}: lower tau_low or raise tau_high")]
    ThresholdsCross {
        /// tau_high as set.
        tau_high: f64,
        /// tau_low as set.
        tau_low: f64,
    },
    /// A setting outside its range.
    #[error("{name} is {value}: give a number {range}")]
    SettingOutOfRange {
        /// The setting's name.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range in words.
        range: &'static str,
    },
    /// An empty list of settings.
    #[error("{name} is empty: give at least one")]
    EmptySetting {
        /// The setting's name.
        name: &'static str,
    },
    /// A slice whose length is not the number of pairs.
    #[error("{what} has {got} entries for {expected} pairs: give one for each pair, in the same order")]
    LengthMismatch {
        /// The name of the slice.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A selected pair with an index past the end of the pool.
    #[error("a selected pair has index {index}, but the pool has {pool} pairs: give the pool it was selected from")]
    IndexOutOfPool {
        /// The pair's index.
        index: usize,
        /// The pool's size.
        pool: usize,
    },
    /// No pair with finite scores to fit an anchor on.
    #[error(
        "none of the {pairs} held-out pairs has finite scores, so no temperature can be fitted: hold labelled pairs \
         out of the seed, or set anchor to none, pool_mean or per_pair"
    )]
    NothingToFit {
        /// The number of held-out pairs.
        pairs: usize,
    },
    /// A length balance without lengths.
    #[error("max_length_share is set but no answer lengths were given: pass the lengths or unset it")]
    LengthsMissing,
    /// Candidates are shares of the pool, but no pair of the pool has finite scores.
    #[error("no pair of the pool has finite scores, so candidates cannot be shares of it: give taus instead")]
    EmptyPool,
    /// The status rule failed.
    #[error("the status rule failed")]
    RuleFailed(#[source] BoxError),
}
