//! Generalised advantage estimation (arXiv 1506.02438).

use ndarray::{Array1, ArrayView1};

use crate::PpoError;

/// A_t = delta_t + gamma lambda A_{t+1} with delta_t = r_t + gamma V_{t+1} - V_t; V and A are 0 after the last token.
///
/// `rewards`, `values` and the advantages are those of one response, of shape `[T]`.
///
/// ```
/// use ser_core::ndarray::array;
///
/// // delta = [0 + 2 - 1, 1 - 2] = [1, -1], so A = [1 - 0.5, -1].
/// let (rewards, values) = (array![0.0, 1.0], array![1.0, 2.0]);
/// assert_eq!(ser_ppo::gae(rewards.view(), values.view(), 1.0, 0.5)?, array![0.5, -1.0]);
/// # Ok::<(), ser_ppo::PpoError>(())
/// ```
///
/// # Errors
/// [`PpoError::UnequalArrays`] if the two arrays differ in length.
pub fn gae(
    rewards: ArrayView1<'_, f64>,
    values: ArrayView1<'_, f64>,
    gamma: f64,
    lambda: f64,
) -> Result<Array1<f64>, PpoError> {
    check_lengths(rewards, "rewards", values)?;
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    let mut advantages: Vec<f64> = rewards
        .iter()
        .zip(values)
        .rev()
        .map(|(reward, value)| {
            let delta = reward + gamma * next_value - value;
            next_value = *value;
            next_advantage = delta + gamma * lambda * next_advantage;
            next_advantage
        })
        .collect();
    advantages.reverse();
    Ok(advantages.into())
}

/// The targets of the value head: R_t = A_t + V_t, of advantages before whitening; all of shape `[T]`.
///
/// # Errors
/// [`PpoError::UnequalArrays`] if the two arrays differ in length.
pub fn returns(advantages: ArrayView1<'_, f64>, values: ArrayView1<'_, f64>) -> Result<Array1<f64>, PpoError> {
    check_lengths(advantages, "advantages", values)?;
    Ok(advantages.iter().zip(values).map(|(a, v)| a + v).collect())
}

fn check_lengths(
    entries: ArrayView1<'_, f64>,
    what: &'static str,
    values: ArrayView1<'_, f64>,
) -> Result<(), PpoError> {
    if entries.len() == values.len() {
        Ok(())
    } else {
        Err(PpoError::UnequalArrays { what, len: entries.len(), tokens: values.len() })
    }
}
