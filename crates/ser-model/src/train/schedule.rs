//! Learning-rate schedules.

use serde::{Deserialize, Serialize};

/// The schedule after warm-up, under transformers' names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheduler {
    /// Falls linearly to zero (reward models in the paper).
    #[default]
    Linear,
    /// Half a cosine down to zero (SFT in the paper).
    Cosine,
    /// Constant.
    Constant,
}

impl Scheduler {
    /// The factor on the learning rate at `step` (from 0) of `total`, after `warmup` steps of linear increase.
    pub fn factor(self, step: u64, warmup: u64, total: u64) -> f64 {
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let rest = total.saturating_sub(warmup).max(1) as f64;
        let done = ((step - warmup) as f64 / rest).min(1.0);
        match self {
            Scheduler::Linear => 1.0 - done,
            Scheduler::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Scheduler::Constant => 1.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// `get_linear_schedule_with_warmup(optimizer, 2, 6)` and `get_cosine_schedule_with_warmup` of transformers.
    #[test]
    fn equals_transformers() {
        let all = |s: Scheduler| (0..6).map(|step| s.factor(step, 2, 6)).collect::<Vec<_>>();
        assert_eq!(all(Scheduler::Linear), [0.0, 0.5, 1.0, 0.75, 0.5, 0.25]);
        for (got, want) in all(Scheduler::Cosine).iter().zip([0.0, 0.5, 1.0, 0.853_553_4, 0.5, 0.146_446_6]) {
            assert_abs_diff_eq!(*got, want, epsilon = 1e-7);
        }
        assert_eq!(all(Scheduler::Constant), [0.0, 0.5, 1.0, 1.0, 1.0, 1.0]);
        assert_eq!(Scheduler::Linear.factor(9, 0, 0), 0.0);
    }
}
