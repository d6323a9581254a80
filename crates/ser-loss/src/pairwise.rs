//! The loss of a reward model over the raw scores of pairs.

use ndarray::ArrayView2;
use ser_core::{BoxError, LossOutput, PairLoss, PairTarget};
use serde::{Deserialize, Serialize};

use crate::LossError;
use crate::batch::{PairLossValue, check_finite, rows, weighted_mean};
use crate::kernel::{Kernel, hinge, log_sigmoid_loss, mixed, smoothed};

/// The shape of a pairwise loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// max(0, m - (r_preferred - r_other)): Eq. 5 of the paper.
    #[default]
    Hinge,
    /// -log sigmoid(r_preferred - r_other - m): the loss of the authors' code (without margin) and of Llama 2 (with one).
    BradleyTerry,
    /// log(1 + exp(r_other - r_preferred)) (OpenRLHF): Bradley-Terry that ignores the margins of the data.
    LogExp,
}

/// A checked loss, made by [`LossSettings::check`](crate::LossSettings::check). The formula is in the crate's
/// documentation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairwiseLoss {
    pub(crate) kind: LossKind,
    pub(crate) margin: f64,
    pub(crate) label_smoothing: f64,
    pub(crate) centering: f64,
}

impl PairwiseLoss {
    /// Value and gradient for `scores` of shape `[pairs, 2]` (r_preferred in column 0, r_other in column 1) and as many
    /// `targets`: [`PairLoss::evaluate`] with this crate's own error.
    ///
    /// # Errors
    /// Scores of another shape, scores and targets that do not match, and numbers that are not finite or outside their
    /// range, with the pair's index.
    pub fn value_and_gradient(
        &self,
        scores: ArrayView2<'_, f64>,
        targets: &[PairTarget],
    ) -> Result<LossOutput, LossError> {
        let scores = rows("the array of scores", scores)?;
        weighted_mean(scores.len(), targets, |index, target| {
            let [preferred, other] = scores.get(index).copied().unwrap_or_default();
            check_finite(index, &[("the preferred answer's score", preferred), ("the other answer's score", other)])?;
            let label = self.label_loss(preferred - other, target);
            let sum = preferred + other;
            let pull = 2.0 * self.centering * sum;
            Ok(PairLossValue {
                value: label.value + self.centering * sum * sum,
                gradient: [label.slope + pull, -label.slope + pull],
            })
        })
    }

    /// The loss without the centring penalty, and its slope by r_preferred - r_other.
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
    fn evaluate(&self, scores: ArrayView2<'_, f64>, targets: &[PairTarget]) -> Result<LossOutput, BoxError> {
        Ok(self.value_and_gradient(scores, targets)?)
    }
}
