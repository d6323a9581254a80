//! The weighted mean over a batch, and the checks before it.

use ndarray::{Array2, ArrayView2};
use ser_core::{LossOutput, PairTarget};

use crate::LossError;

/// The loss of one pair and its derivatives by its two numbers.
pub(crate) struct PairLossValue {
    pub(crate) value: f64,
    pub(crate) gradient: [f64; 2],
}

/// Mean of `pair_loss` over the batch weighted by the targets: sum(w_i * l_i) / sum(w_i), the contract of
/// [`PairLoss`](ser_core::PairLoss). 0, with a gradient of 0, if all weights are 0. `pair_loss` gets the pair's index.
pub(crate) fn weighted_mean(
    pairs: usize,
    targets: &[PairTarget],
    mut pair_loss: impl FnMut(usize, &PairTarget) -> Result<PairLossValue, LossError>,
) -> Result<LossOutput, LossError> {
    if pairs != targets.len() {
        return Err(LossError::LengthMismatch { scores: pairs, targets: targets.len() });
    }
    let mut total = 0.0;
    for (index, target) in targets.iter().enumerate() {
        check_target(index, target)?;
        total += target.weight;
        if !f64::is_finite(total) {
            return Err(LossError::Overflow { index });
        }
    }
    let mut value = 0.0;
    let mut gradient = Array2::zeros((pairs, 2));
    for (index, (target, mut row)) in targets.iter().zip(gradient.rows_mut()).enumerate() {
        let loss = pair_loss(index, target)?;
        let share = if total > 0.0 { target.weight / total } else { 0.0 };
        let [a, b] = loss.gradient.map(|g| share * g);
        value += share * loss.value;
        if !(value.is_finite() && a.is_finite() && b.is_finite()) {
            return Err(LossError::Overflow { index });
        }
        row.iter_mut().zip([a, b]).for_each(|(entry, by)| *entry = by);
    }
    Ok(LossOutput { value, gradient })
}

/// The rows of an array of shape `[pairs, 2]`. `what` names the array in the error.
pub(crate) fn rows(what: &'static str, array: ArrayView2<'_, f64>) -> Result<Vec<[f64; 2]>, LossError> {
    if array.ncols() != 2 {
        return Err(LossError::BadShape { what, columns: array.ncols() });
    }
    Ok(array.column(0).iter().zip(array.column(1)).map(|(a, b)| [*a, *b]).collect())
}

fn check_target(index: usize, target: &PairTarget) -> Result<(), LossError> {
    if !(target.weight.is_finite() && target.weight >= 0.0) {
        return Err(LossError::BadWeight { index, value: target.weight });
    }
    if !(0.0..=1.0).contains(&target.probability) {
        return Err(LossError::BadProbability { index, value: target.probability });
    }
    match target.margin {
        Some(value) if !value.is_finite() => Err(LossError::BadTargetMargin { index, value }),
        _ => Ok(()),
    }
}

/// Names the first of a pair's numbers that is not finite.
pub(crate) fn check_finite(index: usize, numbers: &[(&'static str, f64)]) -> Result<(), LossError> {
    match numbers.iter().find(|(_, value)| !value.is_finite()) {
        Some(&(what, value)) => Err(LossError::NotFinite { index, what, value }),
        None => Ok(()),
    }
}
