//! The gradient of a pairwise loss and its backward pass, for reward model and DPO.

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

/// The value of a pairwise loss, as the sum of weight times loss, and its gradient by the scores, [2 * pairs], two per pair in
/// the order of the batch.
///
/// The gradient of a step of `step_pairs` pairs is the mean over its pairs of weight times the gradient of the pair's loss,
/// whatever the batches are. It is multiplied by `loss_factor`.
pub(crate) fn pair_loss_gradient(
    loss: &dyn PairLoss,
    pairs: &[ScoredPair],
    step_pairs: usize,
    loss_factor: f64,
) -> Result<(f64, Vec<f32>), ModelError> {
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
    Ok((output.value * weight, gradient))
}

/// Back-propagates the gradient of a loss by `scores` through them.
pub(crate) fn backward_scores(scores: &Tensor, gradient: &[f32]) -> Result<(), ModelError> {
    let gradient = Tensor::f_from_slice(gradient)?.f_to_device(scores.device())?;
    Ok(scores.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?)
}
