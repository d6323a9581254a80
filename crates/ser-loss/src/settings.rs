//! The settings of a pairwise loss.

use serde::{Deserialize, Serialize};

use crate::{LossError, LossKind, PairwiseLoss};

/// Unchecked settings of a [`PairwiseLoss`]; the default is the loss of the paper.
///
/// ```
/// # use ser_loss::{LossKind, LossSettings};
/// let authors_code = LossSettings { kind: LossKind::BradleyTerry, ..Default::default() };
/// assert!(authors_code.check().is_ok());
/// assert!(LossSettings { label_smoothing: 0.5, ..Default::default() }.check().is_err());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LossSettings {
    /// The loss's shape.
    pub kind: LossKind,
    /// m in units of raw scores, for pairs without a margin of their own. `None`: 1 for the hinge (the paper gives no
    /// number) and 0 for Bradley-Terry.
    pub margin: Option<f64>,
    /// Probability that a label is wrong, in [0, 0.5).
    pub label_smoothing: f64,
    /// Coefficient of the penalty (r_preferred + r_other)²; TRL suggests 0.01.
    pub centering: f64,
}

impl LossSettings {
    /// The loss with these settings.
    ///
    /// # Errors
    /// The first setting outside its range, with its value.
    pub fn check(self) -> Result<PairwiseLoss, LossError> {
        let margin = match (self.kind, self.margin) {
            (LossKind::LogExp, Some(value)) => return Err(LossError::UnusedMargin { value }),
            (_, Some(value)) if !(value.is_finite() && value >= 0.0) => return Err(LossError::BadMargin { value }),
            (_, Some(value)) => value,
            (LossKind::Hinge, None) => 1.0,
            (LossKind::BradleyTerry | LossKind::LogExp, None) => 0.0,
        };
        check_smoothing("label_smoothing", self.label_smoothing)?;
        if !(self.centering.is_finite() && self.centering >= 0.0) {
            return Err(LossError::BadCentering { value: self.centering });
        }
        Ok(PairwiseLoss { kind: self.kind, margin, label_smoothing: self.label_smoothing, centering: self.centering })
    }
}

pub(crate) fn check_smoothing(setting: &'static str, value: f64) -> Result<(), LossError> {
    if (0.0..0.5).contains(&value) { Ok(()) } else { Err(LossError::BadSmoothing { setting, value }) }
}
