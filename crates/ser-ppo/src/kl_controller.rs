//! Controllers of the KL coefficient.

use serde::{Deserialize, Serialize};

use crate::PpoError;

/// The kind of controller of the KL coefficient.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KlControl {
    /// The coefficient is constant.
    Fixed,
    /// The coefficient follows the KL divergence.
    Adaptive(AdaptiveKl),
}

impl Default for KlControl {
    fn default() -> Self {
        KlControl::Adaptive(AdaptiveKl::default())
    }
}

/// The proportional controller of Ziegler et al. (arXiv 1909.08593, section 2.2); the defaults are TRL's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveKl {
    /// The target KL divergence, in nats per response, over 0.
    pub target: f64,
    /// The number of rollouts that change the coefficient by the whole (clipped) error, over 0.
    pub horizon: f64,
}

impl Default for AdaptiveKl {
    fn default() -> Self {
        AdaptiveKl { target: 6.0, horizon: 10_000.0 }
    }
}

impl AdaptiveKl {
    fn check(self, batch_size: usize) -> Result<(), PpoError> {
        for (setting, value) in
            [("kl_control.adaptive.target", self.target), ("kl_control.adaptive.horizon", self.horizon)]
        {
            if !(value.is_finite() && value > 0.0) {
                return Err(PpoError::OutOfRange { setting, value, allowed: "finite and over 0" });
            }
        }
        // 1 - 0.2 n / horizon must stay over 0.
        if MAX_ERROR * batch_size as f64 >= self.horizon {
            return Err(PpoError::ShortHorizon { horizon: self.horizon, batch_size });
        }
        Ok(())
    }
}

/// The clip of the relative error.
const MAX_ERROR: f64 = 0.2;

/// The KL coefficient and its controller. This is the whole state: a run that stores it resumes exactly.
///
/// ```
/// use ser_ppo::{AdaptiveKl, KlControl, KlController};
/// let control = KlControl::Adaptive(AdaptiveKl { target: 6.0, horizon: 10_000.0 });
/// let mut controller = KlController::new(0.2, control, 100)?;
/// controller.update(12.0, 100)?; // error clipped to 0.2: 0.2 (1 + 0.2 * 100 / 10000)
/// approx::assert_abs_diff_eq!(controller.coefficient(), 0.2004, epsilon = 1e-12);
/// # Ok::<(), ser_ppo::PpoError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct KlController {
    coefficient: f64,
    control: KlControl,
}

impl KlController {
    /// A controller that starts at `coefficient`, for steps of at most `batch_size` rollouts.
    pub fn new(coefficient: f64, control: KlControl, batch_size: usize) -> Result<Self, PpoError> {
        if !(coefficient.is_finite() && coefficient >= 0.0) {
            return Err(PpoError::OutOfRange {
                setting: "initial_kl_coefficient",
                value: coefficient,
                allowed: "finite and at least 0",
            });
        }
        if let KlControl::Adaptive(adaptive) = control {
            adaptive.check(batch_size)?;
        }
        Ok(KlController { coefficient, control })
    }

    /// The coefficient beta of the KL penalty.
    pub fn coefficient(&self) -> f64 {
        self.coefficient
    }

    /// After a step of `rollouts` rollouts with a mean divergence of `kl` nats per response (`objective/kl`):
    /// beta becomes beta (1 + clip(kl / target - 1, -0.2, 0.2) rollouts / horizon).
    pub fn update(&mut self, kl: f64, rollouts: usize) -> Result<(), PpoError> {
        if !kl.is_finite() {
            return Err(PpoError::BadKl { value: kl });
        }
        if let KlControl::Adaptive(adaptive) = self.control {
            adaptive.check(rollouts)?;
            let error = (kl / adaptive.target - 1.0).clamp(-MAX_ERROR, MAX_ERROR);
            self.coefficient *= 1.0 + error * rollouts as f64 / adaptive.horizon;
        }
        Ok(())
    }
}
