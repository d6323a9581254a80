use ser_core::BoxError;

/// What can go wrong here; each message names the setting or the argument, its value and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatusError {
    /// A threshold that is not a probability.
    #[error("{name} is {value}: it is compared with sigmoid scores, so give a number from 0 to 1")]
    ThresholdOutOfRange {
        /// The threshold's name.
        name: &'static str,
        /// What it was set to.
        value: f64,
    },
    /// tau_low above tau_high: an answer could be sure to be good and to be bad.
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
        /// What it was set to.
        value: f64,
        /// The range in words.
        range: &'static str,
    },
    /// A list of settings with nothing in it.
    #[error("{name} is empty: give at least one")]
    EmptySetting {
        /// The setting's name.
        name: &'static str,
    },
    /// Two slices that must run side by side do not.
    #[error("{what} has {got} entries for {expected} pairs: give one for each pair, in the same order")]
    LengthMismatch {
        /// The slice at fault.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length it must have.
        expected: usize,
    },
    /// A selected pair that is not in the pool.
    #[error("a selected pair has index {index}, but the pool has {pool} pairs: give the pool it was selected from")]
    IndexOutOfPool {
        /// The pair's index.
        index: usize,
        /// The pool's size.
        pool: usize,
    },
    /// Nothing to fit an anchor on.
    #[error(
        "none of the {pairs} held-out pairs has finite scores, so no temperature can be fitted: hold labelled pairs \
         out of the seed, or set anchor to none, pool_mean or per_pair"
    )]
    NothingToFit {
        /// How many pairs there were.
        pairs: usize,
    },
    /// A length balance was asked for and no lengths were given.
    #[error("max_length_share is set but no answer lengths were given: pass the lengths or unset it")]
    LengthsMissing,
    /// Thresholds at shares of the pool were asked for and no pair of the pool has finite scores.
    #[error("no pair of the pool has finite scores, so there is no Delta to place candidates at: give taus instead")]
    EmptyPool,
    /// A rule of somebody else's failed.
    #[error("the status rule failed")]
    RuleFailed(#[source] BoxError),
}
