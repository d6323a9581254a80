//! The summary of a training, and when its checkpoints are written.

use serde::{Deserialize, Serialize};

/// The result of a training on preferences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitSummary {
    /// Optimizer steps taken.
    pub steps: u64,
    /// Mean loss over the last epoch.
    pub loss: f64,
    /// Share of the last epoch's pairs whose preferred answer scored strictly higher, as they were trained on.
    pub accuracy: f64,
}

/// When a training's checkpoints are written, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saving {
    /// Steps between two checkpoints, at least 1.
    pub save_steps: u64,
    /// The most checkpoints that are kept, at least 1; the oldest is removed first.
    pub save_total_limit: usize,
}

impl Default for Saving {
    /// A checkpoint every 100 steps, of which the newest is kept.
    fn default() -> Self {
        Saving { save_steps: 100, save_total_limit: 1 }
    }
}
