//! The summary of a training, and when its checkpoints are written.

use serde::{Deserialize, Serialize};

/// The result of a training on preferences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitSummary {
    /// Optimizer steps taken.
    pub steps: u64,
    /// Mean loss over the last epoch.
    pub loss: f64,
    /// Share of the pairs of the last epoch whose preferred answer scored strictly higher during training.
    pub accuracy: f64,
}

/// The interval of a training's checkpoints, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saving {
    /// The number of steps between two checkpoints, at least 1.
    pub save_steps: u64,
    /// The largest number of checkpoints that are kept, at least 1; the oldest is removed first.
    pub save_total_limit: usize,
}

impl Default for Saving {
    /// A checkpoint every 100 steps; the newest is kept.
    fn default() -> Self {
        Saving { save_steps: 100, save_total_limit: 1 }
    }
}
