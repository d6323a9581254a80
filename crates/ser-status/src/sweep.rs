//! The selections of other thresholds, from the scores of a run.

use rayon::prelude::*;
use ser_core::{PairProbabilities, Side, StatusRule};
use serde::{Deserialize, Serialize};

use crate::audit::label;
use crate::rule::MIN_PAIRS_PER_JOB;
use crate::{LoopState, Proportion, StatusError, Thresholds, select};

/// The selection of one setting of the thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepPoint {
    /// The thresholds.
    pub thresholds: Thresholds,
    /// The selected pairs, of the pool.
    pub coverage: Proportion,
    /// The correctly labelled pairs, of the selected pairs with gold labels.
    pub precision: Proportion,
}

/// Applies the rule of `state` with each of `grid` to a scored pool; one point per entry of `grid`, in order.
///
/// `gold` has one entry per pair, or is empty for none.
///
/// # Errors
/// [`StatusError::LengthMismatch`], and the errors of [`Thresholds::check`] for an entry.
pub fn sweep(
    probabilities: &[PairProbabilities],
    gold: &[Option<Side>],
    state: LoopState,
    grid: &[Thresholds],
) -> Result<Vec<SweepPoint>, StatusError> {
    let pool = probabilities.len();
    if !gold.is_empty() && gold.len() != pool {
        return Err(StatusError::LengthMismatch { what: "gold", got: gold.len(), expected: pool });
    }
    grid.iter()
        .map(|&thresholds| {
            let rule = state.rule(thresholds.check()?);
            let (selected, precision) = count(probabilities, gold, &rule)?;
            Ok(SweepPoint { thresholds, coverage: Proportion { count: selected, of: pool }, precision })
        })
        .collect()
}

/// The number of pairs a rule selects, and of those with gold labels the correctly labelled ones.
pub(crate) fn count(
    probabilities: &[PairProbabilities],
    gold: &[Option<Side>],
    rule: &impl StatusRule,
) -> Result<(usize, Proportion), StatusError> {
    let selected = select(probabilities, rule)?;
    let precision = selected
        .par_iter()
        .with_min_len(MIN_PAIRS_PER_JOB)
        .map(|pair| {
            let mut one = Proportion::default();
            one.judge(label(gold, pair.index), Some(pair.preferred));
            one
        })
        .reduce(Proportion::default, |mut x, y| {
            x.add(y);
            x
        });
    Ok((selected.len(), precision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stricter_thresholds_select_less() {
        let pool = [(0.9, 0.1), (0.2, 0.7), (0.6, 0.5)].map(|(a, b)| PairProbabilities::unchecked(a, b));
        let gold = [Some(Side::A), Some(Side::A), None];
        let grid = [0.0, 0.4, 0.7, 0.9].map(|tau_delta| Thresholds { tau_delta, ..Thresholds::default() });
        let points = sweep(&pool, &gold, LoopState::Status2, &grid).unwrap();
        let coverage: Vec<_> = points.iter().map(|p| p.coverage.count).collect();
        assert_eq!(coverage, [3, 2, 1, 0]);
        let precision: Vec<_> = points.iter().map(|p| p.precision.share()).collect();
        assert_eq!(precision, [Some(0.5), Some(0.5), Some(1.0), None]);
        assert_eq!(points[2].thresholds, grid[2]);
    }

    #[test]
    fn bad_entries_are_errors() {
        let bad = [Thresholds { tau_delta: 2.0, ..Thresholds::default() }];
        assert!(matches!(
            sweep(&[], &[], LoopState::Status2, &bad),
            Err(StatusError::ThresholdOutOfRange { name: "tau_delta", .. })
        ));
        assert!(sweep(&[], &[None], LoopState::Status2, &[]).is_err());
    }
}
