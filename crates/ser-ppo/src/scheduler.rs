//! Schedules of the learning rate.

use serde::{Deserialize, Serialize};

/// The schedule of the learning rate over the steps of a run, under the names of transformers and without warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LearningRateScheduler {
    /// The same in every step.
    #[default]
    Constant,
    /// Falls linearly, to 0 after the last step (the authors' code).
    Linear,
}

impl LearningRateScheduler {
    /// The factor on the learning rate in `step` (from 0) of `total`.
    ///
    /// ```
    /// use ser_ppo::LearningRateScheduler::Linear;
    /// assert_eq!([0, 1, 2, 3].map(|step| Linear.factor(step, 4)), [1.0, 0.75, 0.5, 0.25]);
    /// ```
    pub fn factor(self, step: u64, total: u64) -> f64 {
        match self {
            LearningRateScheduler::Constant => 1.0,
            LearningRateScheduler::Linear => total.saturating_sub(step) as f64 / total.max(1) as f64,
        }
    }
}
