//! Generalised advantage estimation (arXiv 1506.02438).

use crate::PpoError;

/// A_t = delta_t + gamma lambda A_{t+1} with delta_t = r_t + gamma V_{t+1} - V_t; V and A are 0 after the last token.
///
/// `rewards` and `values` are one response's, `[T]` each; so are the advantages.
///
/// ```
/// // delta = [0 + 2 - 1, 1 - 2] = [1, -1], so A = [1 - 0.5, -1].
/// assert_eq!(ser_ppo::gae(&[0.0, 1.0], &[1.0, 2.0], 1.0, 0.5)?, [0.5, -1.0]);
/// # Ok::<(), ser_ppo::PpoError>(())
/// ```
pub fn gae(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> Result<Vec<f64>, PpoError> {
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
    Ok(advantages)
}

/// What the value head learns: R_t = A_t + V_t, with advantages that are not whitened.
pub fn returns(advantages: &[f64], values: &[f64]) -> Result<Vec<f64>, PpoError> {
    check_lengths(advantages, "advantages", values)?;
    Ok(advantages.iter().zip(values).map(|(a, v)| a + v).collect())
}

fn check_lengths(entries: &[f64], what: &'static str, values: &[f64]) -> Result<(), PpoError> {
    if entries.len() == values.len() {
        Ok(())
    } else {
        Err(PpoError::UnequalArrays { what, len: entries.len(), tokens: values.len() })
    }
}
