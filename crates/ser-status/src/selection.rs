//! The filter (Eq. 4): selects the pairs to train on next, with their labels.

use rayon::prelude::*;
use ser_core::{LearningStatus, PoolView, Side, StatusRule};
use serde::{Deserialize, Serialize};

use crate::StatusError;
use crate::rule::{MIN_PAIRS_PER_JOB, classify};

/// A selected pair with its pseudo-label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selected {
    /// Its index in the pool.
    pub index: usize,
    /// The higher-scored answer: the pseudo-label.
    pub preferred: Side,
    /// The status by which it was selected.
    pub status: LearningStatus,
    /// |p_A - p_B| (Eq. 2).
    pub delta: f64,
}

/// The pairs that `rule` keeps, in the pool's order.
///
/// A tie, which has no label, and a pair with a NaN or an infinity are left out whatever status the rule gives them.
/// `pool` is a [`PoolView`], or a slice of probabilities.
///
/// # Errors
/// [`StatusError::RuleFailed`] with the rule's own error, [`StatusError::LengthMismatch`] if it did not give one status
/// per pair.
pub fn select<'a>(
    pool: impl Into<PoolView<'a>>,
    rule: &(impl StatusRule + ?Sized),
) -> Result<Vec<Selected>, StatusError> {
    let pool = pool.into();
    let statuses = classify(rule, &pool)?;
    Ok(pool
        .probabilities()
        .par_iter()
        .with_min_len(MIN_PAIRS_PER_JOB)
        .zip(statuses)
        .enumerate()
        .filter_map(|(index, (pair, status))| {
            let delta = pair.delta();
            let preferred = pair.higher()?;
            (status.keeps() && delta.is_finite()).then_some(Selected { index, preferred, status, delta })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PaperRule, Thresholds};
    use ser_core::{PairProbabilities, rule_fn};

    #[test]
    fn labels_prefer_the_higher_answer() {
        let pool = [(0.6, 0.4), (0.5, 0.5), (0.2, 0.9)].map(|(a, b)| PairProbabilities::unchecked(a, b));
        let selected = select(&pool, &PaperRule(Thresholds::default().check().unwrap())).unwrap();
        let labels: Vec<_> = selected.iter().map(|s| (s.index, s.preferred)).collect();
        assert_eq!(labels, [(0, Side::A), (2, Side::B)]);
        assert_eq!(selected[1].delta, 0.9 - 0.2);
    }

    #[test]
    fn no_rule_can_select_a_tie_or_a_score_that_is_not_finite() {
        let everything = rule_fn(|pool| Ok::<_, StatusError>(vec![LearningStatus::Status2; pool.len()]));
        let pool = [(0.5, 0.5), (f64::NAN, 0.5), (f64::INFINITY, 0.0), (0.1, 0.2)]
            .map(|(a, b)| PairProbabilities::unchecked(a, b));
        let indices: Vec<_> = select(&pool, &everything).unwrap().iter().map(|s| s.index).collect();
        assert_eq!(indices, [3]);
    }
}
