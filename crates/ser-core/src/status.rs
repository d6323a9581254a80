//! The learning status (Eq. 3).

use serde::{Deserialize, Serialize};

/// The learning status of a reward model, for one pair or as a whole (Eq. 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LearningStatus {
    /// Confident of each answer: one score is high, the other low.
    Status1,
    /// Confident of the difference between the answers.
    Status2,
    /// Neither: the pair is not trained on.
    Stop,
}

impl LearningStatus {
    /// Whether a pair of this status is selected.
    pub fn keeps(self) -> bool {
        self != LearningStatus::Stop
    }
}
