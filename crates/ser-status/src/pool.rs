//! The number of pairs of a pool that each state would keep.

use rayon::prelude::*;
use ser_core::{LearningStatus, PairProbabilities};
use serde::{Deserialize, Serialize};

use crate::rule::MIN_PAIRS_PER_JOB;
use crate::{CheckedThresholds, LoopState, Status1Rule, Status2Rule};

/// The number of pairs of a pool that each state would keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolCounts {
    /// Pairs in the pool.
    pub pairs: usize,
    /// Pairs that [`LoopState::Status1`] would keep.
    pub status1: usize,
    /// Pairs that [`LoopState::Status2`] would keep, whether or not Status 1 keeps them too.
    pub status2: usize,
    /// Pairs that [`LoopState::Either`] would keep.
    pub either: usize,
}

impl PoolCounts {
    /// Counts a scored pool.
    pub fn new(pool: &[PairProbabilities], thresholds: CheckedThresholds) -> Self {
        let (one, two) = (Status1Rule(thresholds), Status2Rule(thresholds));
        pool.par_iter()
            .with_min_len(MIN_PAIRS_PER_JOB)
            .map(|&pair| {
                let (one, two) = (one.status(pair).keeps(), two.status(pair).keeps());
                PoolCounts {
                    pairs: 1,
                    status1: usize::from(one),
                    status2: usize::from(two),
                    either: usize::from(one || two),
                }
            })
            .reduce(PoolCounts::default, |x, y| PoolCounts {
                pairs: x.pairs + y.pairs,
                status1: x.status1 + y.status1,
                status2: x.status2 + y.status2,
                either: x.either + y.either,
            })
    }

    /// The number of pairs that a state would keep.
    pub fn kept_by(&self, state: LoopState) -> usize {
        match state {
            LoopState::Status1 => self.status1,
            LoopState::Status2 => self.status2,
            LoopState::Either => self.either,
            LoopState::Stop => 0,
        }
    }

    /// Pairs that Status 2 would keep and Status 1 would not: the more ambiguous pairs of the paper.
    pub fn status2_alone(&self) -> usize {
        self.either.saturating_sub(self.status1)
    }

    /// Eq. 3 for the reward model as a whole: Status 1 if any pair has it, else Status 2, else Stop.
    pub fn status(&self) -> LearningStatus {
        if self.status1 > 0 {
            LearningStatus::Status1
        } else if self.status2 > 0 {
            LearningStatus::Status2
        } else {
            LearningStatus::Stop
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Thresholds;

    #[test]
    fn counts_by_hand() {
        let pool = [(0.6, 0.4), (0.9, 0.1), (0.95, 0.6), (0.5, 0.5), (f64::NAN, 0.1)]
            .map(|(a, b)| PairProbabilities::unchecked(a, b));
        let thresholds = Thresholds::default().check().unwrap();
        let counts = PoolCounts::new(&pool, thresholds);
        assert_eq!(counts, PoolCounts { pairs: 5, status1: 2, status2: 2, either: 3 });
        assert_eq!((counts.status(), counts.status2_alone()), (LearningStatus::Status1, 1));
        assert_eq!(PoolCounts::new(&pool[2..], thresholds).status(), LearningStatus::Status2);
        assert_eq!(PoolCounts::new(&pool[3..], thresholds).status(), LearningStatus::Stop);
    }
}
