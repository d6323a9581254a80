//! The learning status (Eq. 3).

use serde::{Deserialize, Serialize};

/// How far a reward model has come, of one pair or as a whole (Eq. 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LearningStatus {
    /// Sure of each answer: one high, the other low.
    Status1,
    /// Sure of the difference between the answers.
    Status2,
    /// Neither: nothing to learn from.
    Stop,
}

impl LearningStatus {
    /// Whether a pair of this status is kept.
    pub fn keeps(self) -> bool {
        self != LearningStatus::Stop
    }
}
