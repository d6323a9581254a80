//! Settings of a linear reward model.

use serde::{Deserialize, Serialize};

use crate::LinearError;

/// How the views' scores become one score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combination {
    /// The sum of the views' scores.
    #[default]
    Sum,
    /// A weighted sum. The weights are fitted to margins on folds of the training pairs that the heads did not see, by
    /// logistic regression with a penalty on the distance to equal weights.
    Fitted,
}

/// Unchecked settings of a [`LinearReward`](crate::LinearReward).
///
/// ```
/// use ser_linear::LinearSettings;
///
/// assert!(LinearSettings::default().check().is_ok());
/// assert!(LinearSettings { components: 0, ..Default::default() }.check().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearSettings {
    /// Principal components per view, at least 1. Default 40.
    pub components: usize,
    /// Coefficient l of the penalty `l / 2 * |b|²` on each head, over 0. The loss it is added to is the sum over pairs, so
    /// more pairs weigh more against it. Default 30; components have unit scale, so it does not depend on the features' units.
    pub l2: f64,
    /// How the views' scores are combined.
    pub combination: Combination,
    /// The most L-BFGS iterations per head, at least 1. Default 200.
    pub max_iterations: usize,
    /// Seed of the draws that principal components start from and of the folds of a fitted combination.
    pub seed: u64,
}

impl Default for LinearSettings {
    fn default() -> Self {
        LinearSettings { components: 40, l2: 30.0, combination: Combination::Sum, max_iterations: 200, seed: 0 }
    }
}

/// Settings that were checked.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedLinearSettings(LinearSettings);

impl CheckedLinearSettings {
    /// The settings.
    pub fn get(&self) -> &LinearSettings {
        &self.0
    }
}

impl LinearSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`LinearError::Setting`] with the field, its value and the values that are accepted.
    pub fn check(self) -> Result<CheckedLinearSettings, LinearError> {
        let refuse = |field, value: String, expected| Err(LinearError::Setting { field, value, expected });
        if self.components == 0 {
            return refuse("components", "0".to_owned(), "at least 1");
        }
        if !(self.l2.is_finite() && self.l2 > 0.0) {
            return refuse("l2", self.l2.to_string(), "a finite number over 0");
        }
        if self.max_iterations == 0 {
            return refuse("max_iterations", "0".to_owned(), "at least 1");
        }
        Ok(CheckedLinearSettings(self))
    }
}
