//! The loss of a reward model over the raw scores of pairs.

use ser_core::{BoxError, LossOutput, PairLoss, PairTarget};

use crate::batch::{PairLossValue, check_finite, weighted_mean};
use crate::kernel::{Kernel, hinge, log_sigmoid_loss, mixed, smoothed};
use crate::{LossError, LossKind};

/// A checked loss, made by [`LossSettings::build`](crate::LossSettings::build). The formula stands in the crate's
/// documentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairwiseLoss {
    pub(crate) kind: LossKind,
    pub(crate) margin: f64,
    pub(crate) label_smoothing: f64,
    pub(crate) centering: f64,
}

impl PairwiseLoss {
    /// Value and gradient for `scores` ([r_preferred, r_other] per pair) and as many `targets`; what
    /// [`PairLoss::evaluate`] does, with this crate's own error.
    pub fn value_and_gradient(&self, scores: &[[f64; 2]], targets: &[PairTarget]) -> Result<LossOutput, LossError> {
        weighted_mean(scores, targets, |place, &[preferred, other], target| {
            check_finite(place, &[("the preferred answer's score", preferred), ("the other answer's score", other)])?;
            let label = self.label_loss(preferred - other, target);
            let sum = preferred + other;
            let pull = 2.0 * self.centering * sum;
            Ok(PairLossValue {
                value: label.value + self.centering * sum * sum,
                gradient: [label.slope + pull, -label.slope + pull],
            })
        })
    }

    /// The loss without centring, and its slope by r_preferred - r_other.
    fn label_loss(&self, difference: f64, target: &PairTarget) -> Kernel {
        let margin = target.margin.unwrap_or(self.margin);
        let q = smoothed(target.probability, self.label_smoothing);
        match self.kind {
            LossKind::Hinge => mixed(hinge, difference, margin, q),
            LossKind::BradleyTerry => mixed(log_sigmoid_loss, difference, margin, q),
            LossKind::LogExp => mixed(log_sigmoid_loss, difference, 0.0, q),
        }
    }
}

impl PairLoss for PairwiseLoss {
    fn evaluate(&self, scores: &[[f64; 2]], targets: &[PairTarget]) -> Result<LossOutput, BoxError> {
        Ok(self.value_and_gradient(scores, targets)?)
    }
}
