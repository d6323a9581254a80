//! The weighted mean over a batch, and the checks that come before it.

use ser_core::{LossOutput, PairTarget};

use crate::LossError;

/// One pair's loss and its derivatives by the two numbers it is a function of.
pub(crate) struct PairLossValue {
    pub(crate) value: f64,
    pub(crate) gradient: [f64; 2],
}

/// Mean of `pair_loss` over the batch weighted by the targets: sum(w_i * l_i) / sum(w_i), the contract of
/// [`PairLoss`](ser_core::PairLoss). 0, with a gradient of 0, if all weights are 0.
pub(crate) fn weighted_mean<T>(
    pairs: &[T],
    targets: &[PairTarget],
    mut pair_loss: impl FnMut(usize, &T, &PairTarget) -> Result<PairLossValue, LossError>,
) -> Result<LossOutput, LossError> {
    if pairs.len() != targets.len() {
        return Err(LossError::LengthMismatch { scores: pairs.len(), targets: targets.len() });
    }
    let mut total = 0.0;
    for (place, target) in targets.iter().enumerate() {
        check_target(place, target)?;
        total += target.weight;
        if !f64::is_finite(total) {
            return Err(LossError::Overflow { place });
        }
    }
    let mut value = 0.0;
    let mut gradient = Vec::with_capacity(pairs.len());
    for (place, (pair, target)) in pairs.iter().zip(targets).enumerate() {
        let loss = pair_loss(place, pair, target)?;
        let share = if total > 0.0 { target.weight / total } else { 0.0 };
        let [a, b] = loss.gradient.map(|g| share * g);
        value += share * loss.value;
        if !(value.is_finite() && a.is_finite() && b.is_finite()) {
            return Err(LossError::Overflow { place });
        }
        gradient.push([a, b]);
    }
    Ok(LossOutput { value, gradient })
}

fn check_target(place: usize, target: &PairTarget) -> Result<(), LossError> {
    if !(target.weight.is_finite() && target.weight >= 0.0) {
        return Err(LossError::BadWeight { place, value: target.weight });
    }
    if !(0.0..=1.0).contains(&target.probability) {
        return Err(LossError::BadProbability { place, value: target.probability });
    }
    match target.margin {
        Some(value) if !value.is_finite() => Err(LossError::BadTargetMargin { place, value }),
        _ => Ok(()),
    }
}

/// Names the first of a pair's numbers that is not finite.
pub(crate) fn check_finite(place: usize, numbers: &[(&'static str, f64)]) -> Result<(), LossError> {
    match numbers.iter().find(|(_, value)| !value.is_finite()) {
        Some(&(what, value)) => Err(LossError::NotFinite { place, what, value }),
        None => Ok(()),
    }
}
