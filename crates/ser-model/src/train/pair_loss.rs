//! The backward pass of a pairwise loss, for reward model and DPO.

use ser_core::ndarray::aview2;
use ser_core::{PairLoss, PairTarget};
use tch::{Kind, Tensor};

use crate::ModelError;

/// One pair of a batch, as a pairwise loss takes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScoredPair {
    /// The scores of preferred and other answer.
    pub(crate) scores: [f64; 2],
    /// Whether the other answer comes first in the batch's tensor of scores.
    pub(crate) swapped: bool,
    pub(crate) target: PairTarget,
}

/// Back-propagates a pairwise loss through `scores`, [2 * pairs], two per pair in the order of the batch. Returns the sum of
/// weight times loss.
///
/// The gradient of a step of `step_pairs` pairs is the mean over its pairs of weight times the gradient of the pair's loss,
/// whatever the batches are. It is multiplied by `loss_factor`.
pub(crate) fn backward_pair_loss(
    loss: &dyn PairLoss,
    scores: &Tensor,
    pairs: &[ScoredPair],
    step_pairs: usize,
    loss_factor: f64,
) -> Result<f64, ModelError> {
    let ordered: Vec<[f64; 2]> = pairs.iter().map(|pair| pair.scores).collect();
    let targets: Vec<PairTarget> = pairs.iter().map(|pair| pair.target).collect();
    let output = loss.evaluate(aview2(&ordered), &targets).map_err(ModelError::Loss)?;
    // The loss is a weighted mean over this batch; the step's is a mean over all of its pairs.
    let weight: f64 = targets.iter().map(|target| target.weight).sum();
    let factor = loss_factor * weight / step_pairs as f64;
    let gradient: Vec<f32> = output
        .gradient
        .rows()
        .into_iter()
        .zip(pairs)
        .flat_map(|(row, pair)| {
            let by = |column: usize| row.get(column).copied().unwrap_or(f64::NAN);
            if pair.swapped { [by(1), by(0)] } else { [by(0), by(1)] }
        })
        .map(|slope| (slope * factor) as f32)
        .collect();
    let gradient = Tensor::f_from_slice(&gradient)?.f_to_device(scores.device())?;
    scores.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
    Ok(output.value * weight)
}
