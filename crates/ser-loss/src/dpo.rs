//! Direct preference optimisation (arXiv 2305.18290) over log-probabilities.

use ser_core::{BoxError, LossOutput, PairLoss, PairTarget};
use serde::{Deserialize, Serialize};

use crate::LossError;
use crate::batch::{PairLossValue, check_finite, weighted_mean};
use crate::kernel::{log_sigmoid_loss, mixed, smoothed, squared};
use crate::settings::check_smoothing;

/// The shape of a DPO loss, in h = (log pi - log pi_ref)(chosen) - (log pi - log pi_ref)(rejected).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DpoKind {
    /// -log sigmoid(beta h - m); m is the pair's own margin, 0 without one.
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
    /// How strongly the policy is held to the reference, over 0.
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
    /// Checks the settings and makes the loss.
    pub fn build(self) -> Result<DpoLoss, LossError> {
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return Err(LossError::BadBeta { value: self.beta });
        }
        check_smoothing("dpo.label_smoothing", self.label_smoothing)?;
        Ok(DpoLoss { settings: self })
    }
}

/// Log-probabilities of a pair's answers, [chosen, rejected], in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DpoPair {
    /// Under the policy.
    pub policy: [f64; 2],
    /// Under the reference.
    pub reference: [f64; 2],
}

/// What a [`DpoLoss`] returns.
#[derive(Clone, Debug, PartialEq)]
pub struct DpoOutput {
    /// The batch's loss.
    pub value: f64,
    /// d value / d policy log-probability of [chosen, rejected], per pair.
    pub gradient: Vec<[f64; 2]>,
    /// The implicit rewards beta (log pi - log pi_ref) of [chosen, rejected], per pair.
    pub rewards: Vec<[f64; 2]>,
}

/// A checked DPO loss. Weights, soft labels and zero total weight are treated as in
/// [`PairwiseLoss`](crate::PairwiseLoss): in the sigmoid form it is Bradley-Terry on the implicit rewards.
///
/// ```
/// use ser_core::PairTarget;
/// use ser_loss::{DpoPair, DpoSettings};
///
/// let loss = DpoSettings::default().build()?;
/// let pair = DpoPair { policy: [-10.0, -14.0], reference: [-12.0, -11.0] };
/// let out = loss.evaluate(&[pair], &[PairTarget { weight: 1.0, margin: None, probability: 1.0 }])?;
/// // h = 2 - -3 = 5, so the loss is -log sigmoid(0.5).
/// assert!((out.value - 0.474_076_984).abs() < 1e-9);
/// # Ok::<(), ser_loss::LossError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DpoLoss {
    settings: DpoSettings,
}

impl DpoLoss {
    /// Value, gradient and implicit rewards for `pairs` and as many `targets`.
    pub fn evaluate(&self, pairs: &[DpoPair], targets: &[PairTarget]) -> Result<DpoOutput, LossError> {
        let DpoSettings { kind, beta, label_smoothing } = self.settings;
        let mut rewards = Vec::with_capacity(pairs.len());
        let output = weighted_mean(pairs, targets, |place, pair, target| {
            let ([chosen, rejected], [ref_chosen, ref_rejected]) = (pair.policy, pair.reference);
            check_finite(
                place,
                &[
                    ("the policy's log-probability of the chosen answer", chosen),
                    ("the policy's log-probability of the rejected answer", rejected),
                    ("the reference's log-probability of the chosen answer", ref_chosen),
                    ("the reference's log-probability of the rejected answer", ref_rejected),
                ],
            )?;
            let ratios = [chosen - ref_chosen, rejected - ref_rejected];
            rewards.push(ratios.map(|ratio| beta * ratio));
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

/// Over log-ratios log pi - log pi_ref in place of scores, which is all that DPO knows of policy and reference.
impl PairLoss for DpoLoss {
    fn evaluate(&self, ratios: &[[f64; 2]], targets: &[PairTarget]) -> Result<LossOutput, BoxError> {
        let pair = |policy: &[f64; 2]| DpoPair { policy: *policy, reference: [0.0; 2] };
        let pairs: Vec<DpoPair> = ratios.iter().map(pair).collect();
        let DpoOutput { value, gradient, .. } = DpoLoss::evaluate(self, &pairs, targets)?;
        Ok(LossOutput { value, gradient })
    }
}
