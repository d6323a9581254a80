//! Direct preference optimisation (arXiv 2305.18290) over log-probabilities.

use ndarray::{Array2, ArrayView2};
use ser_core::{BoxError, LossOutput, PairLoss, PairTarget};
use serde::{Deserialize, Serialize};

use crate::LossError;
use crate::batch::{PairLossValue, check_finite, rows, weighted_mean};
use crate::kernel::{log_sigmoid_loss, mixed, smoothed, squared};
use crate::settings::check_smoothing;

/// The shape of a DPO loss, in h = (log pi - log pi_ref)(chosen) - (log pi - log pi_ref)(rejected).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DpoKind {
    /// -log sigmoid(beta h - m); m is the pair's own margin, and 0 for pairs without one.
    #[default]
    Sigmoid,
    /// (h - 1 / (2 beta))² (IPO, arXiv 2310.12036), for log-probabilities averaged over tokens; margins are not used.
    Ipo,
}

/// Unchecked settings of a [`DpoLoss`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpoSettings {
    /// The loss's shape.
    pub kind: DpoKind,
    /// The strength of the pull to the reference, over 0.
    pub beta: f64,
    /// Probability that a label is wrong, in [0, 0.5) (conservative DPO).
    pub label_smoothing: f64,
}

impl Default for DpoSettings {
    fn default() -> Self {
        DpoSettings { kind: DpoKind::Sigmoid, beta: 0.1, label_smoothing: 0.0 }
    }
}

impl DpoSettings {
    /// The loss with these settings.
    ///
    /// # Errors
    /// The first setting outside its range, with its value.
    pub fn check(self) -> Result<DpoLoss, LossError> {
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Err(LossError::BadBeta { value: self.beta });
        }
        check_smoothing("label_smoothing", self.label_smoothing)?;
        Ok(DpoLoss { settings: self })
    }
}

/// The value, gradient and implicit rewards of a [`DpoLoss`]; arrays have shape `[pairs, 2]`, the chosen answer in
/// column 0 and the rejected one in column 1.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DpoOutput {
    /// The batch's loss.
    pub value: f64,
    /// d value / d log pi(answer).
    pub gradient: Array2<f64>,
    /// The implicit rewards beta (log pi - log pi_ref) of the answers.
    pub rewards: Array2<f64>,
}

/// A checked DPO loss. Weights, soft labels and zero total weight are treated as in
/// [`PairwiseLoss`](crate::PairwiseLoss): the sigmoid form is Bradley-Terry on the implicit rewards.
///
/// ```
/// use ser_core::PairTarget;
/// use ser_core::ndarray::array;
/// use ser_loss::DpoSettings;
///
/// let loss = DpoSettings::default().check()?;
/// let (policy, reference) = (array![[-10.0, -14.0]], array![[-12.0, -11.0]]);
/// let target = PairTarget { weight: 1.0, margin: None, probability: 1.0 };
/// let out = loss.evaluate(policy.view(), reference.view(), &[target])?;
/// // h = 2 - -3 = 5, so the loss is -log sigmoid(0.5).
/// approx::assert_abs_diff_eq!(out.value, 0.474_076_984, epsilon = 1e-9);
/// # Ok::<(), ser_loss::LossError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DpoLoss {
    settings: DpoSettings,
}

impl DpoLoss {
    /// Value, gradient and implicit rewards for the log-probabilities of both answers under policy and reference, in
    /// nats, of shape `[pairs, 2]` (the chosen answer in column 0, the rejected one in column 1), and as many `targets`.
    ///
    /// # Errors
    /// Arrays of another shape, arrays and targets that do not match, and numbers that are not finite or outside their
    /// range, with the pair's index.
    pub fn evaluate(
        &self,
        policy: ArrayView2<'_, f64>,
        reference: ArrayView2<'_, f64>,
        targets: &[PairTarget],
    ) -> Result<DpoOutput, LossError> {
        let DpoSettings { kind, beta, label_smoothing } = self.settings;
        let policy = rows("the array of the policy's log-probabilities", policy)?;
        let reference = rows("the array of the reference's log-probabilities", reference)?;
        if policy.len() != reference.len() {
            return Err(LossError::ReferenceMismatch { policy: policy.len(), reference: reference.len() });
        }
        let mut rewards = Array2::zeros((policy.len(), 2));
        let output = weighted_mean(policy.len(), targets, |index, target| {
            let [chosen, rejected] = policy.get(index).copied().unwrap_or_default();
            let [ref_chosen, ref_rejected] = reference.get(index).copied().unwrap_or_default();
            check_finite(
                index,
                &[
                    ("the policy's log-probability of the chosen answer", chosen),
                    ("the policy's log-probability of the rejected answer", rejected),
                    ("the reference's log-probability of the chosen answer", ref_chosen),
                    ("the reference's log-probability of the rejected answer", ref_rejected),
                ],
            )?;
            let ratios = [chosen - ref_chosen, rejected - ref_rejected];
            rewards.row_mut(index).iter_mut().zip(ratios).for_each(|(reward, ratio)| *reward = beta * ratio);
            let h = ratios[0] - ratios[1];
            let q = smoothed(target.probability, label_smoothing);
            let (value, slope) = match kind {
                DpoKind::Sigmoid => {
                    let loss = mixed(log_sigmoid_loss, beta * h, target.margin.unwrap_or(0.0), q);
                    (loss.value, beta * loss.slope)
                }
                DpoKind::Ipo => {
                    let loss = mixed(|x| squared(x, 0.5 / beta), h, 0.0, q);
                    (loss.value, loss.slope)
                }
            };
            Ok(PairLossValue { value, gradient: [slope, -slope] })
        })?;
        Ok(DpoOutput { value: output.value, gradient: output.gradient, rewards })
    }
}

/// Takes the log-ratios log pi - log pi_ref in place of scores: DPO depends on policy and reference by these alone.
impl PairLoss for DpoLoss {
    fn evaluate(&self, ratios: ArrayView2<'_, f64>, targets: &[PairTarget]) -> Result<LossOutput, BoxError> {
        let reference = Array2::zeros(ratios.dim());
        let DpoOutput { value, gradient, .. } = DpoLoss::evaluate(self, ratios, reference.view(), targets)?;
        Ok(LossOutput { value, gradient })
    }
}
