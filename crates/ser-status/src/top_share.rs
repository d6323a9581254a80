//! A rule that keeps the most confident share of the pool.

use ser_core::{LearningStatus, PoolView, StatusRule};
use serde::{Deserialize, Serialize};

use crate::StatusError;

/// Keeps the share of the pool with the largest distance between the two answers' scores, whatever that distance is; kept pairs get
/// Status 2. It compares raw scores where the caller has them, else probabilities.
///
/// Unlike fixed thresholds, it selects the same number of pairs in every iteration, whatever the scale of the scores
/// (FlexMatch, arXiv 2110.08263, and West-of-N, arXiv 2401.12086, select by quantiles too). Of equal distances, the pair that comes
/// first is kept. Pairs with a NaN or an infinity are never kept and do not count.
///
/// ```
/// use ser_core::{LearningStatus, PairProbabilities, StatusRule};
/// use ser_status::TopShare;
///
/// let pool = [(0.5, 0.6), (0.9, 0.1), (0.2, 0.5)].map(|(a, b)| PairProbabilities::unchecked(a, b));
/// let statuses = TopShare::new(0.5)?.classify(&(&pool).into())?;
/// assert_eq!(statuses, [LearningStatus::Stop, LearningStatus::Status2, LearningStatus::Status2]);
/// # Ok::<(), ser_status::StatusError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopShare(f64);

impl TopShare {
    /// Keeps this share of the pairs with finite scores, rounded up to whole pairs.
    ///
    /// # Errors
    /// [`StatusError::SettingOutOfRange`] for a share outside (0, 1].
    pub fn new(share: f64) -> Result<Self, StatusError> {
        if share > 0.0 && share <= 1.0 {
            Ok(TopShare(share))
        } else {
            Err(StatusError::SettingOutOfRange { name: "top_share", value: share, range: "over 0 and at most 1" })
        }
    }

    /// The share.
    pub fn share(self) -> f64 {
        self.0
    }
}

impl StatusRule for TopShare {
    type Error = StatusError;

    fn classify(&self, pool: &PoolView<'_>) -> Result<Vec<LearningStatus>, StatusError> {
        let distances: Vec<f64> = match pool.scores() {
            Some(scores) => scores.iter().map(|scores| (scores.a.0 - scores.b.0).abs()).collect(),
            None => pool.probabilities().iter().map(|pair| (pair.a.get() - pair.b.get()).abs()).collect(),
        };
        let mut order: Vec<usize> =
            (0..distances.len()).filter(|&i| distances.get(i).is_some_and(|d| d.is_finite())).collect();
        // A stable sort: of equals, the first stays first.
        order.sort_by(|&i, &j| distances.get(j).partial_cmp(&distances.get(i)).unwrap_or(std::cmp::Ordering::Equal));
        order.truncate((self.0 * order.len() as f64).ceil() as usize);
        let mut statuses = vec![LearningStatus::Stop; pool.len()];
        for index in order {
            if let Some(status) = statuses.get_mut(index) {
                *status = LearningStatus::Status2;
            }
        }
        Ok(statuses)
    }
}

#[cfg(test)]
mod tests {
    use ser_core::{PairProbabilities, PairScores};

    use super::*;

    fn kept(share: f64, pool: PoolView<'_>) -> Vec<usize> {
        let statuses = TopShare::new(share).unwrap().classify(&pool).unwrap();
        (0..statuses.len()).filter(|&i| statuses[i] == LearningStatus::Status2).collect()
    }

    #[test]
    fn raw_scores_decide_where_there_are_some() {
        let probabilities = [PairProbabilities::unchecked(0.9, 0.1); 4];
        let scores = [(9.0, 8.0), (0.0, 3.0), (5.0, f64::NAN), (1.0, 0.0)].map(|(a, b)| PairScores::new(a, b));
        let pool = PoolView::new(&probabilities).with_scores(&scores);
        assert_eq!(kept(0.34, pool), [0, 1]); // 0.34 of three, rounded up; of two equals, the first
        assert_eq!(kept(1.0, pool), [0, 1, 3]);
        assert_eq!(kept(0.01, pool), [1]);
        assert_eq!(kept(0.5, PoolView::new(&probabilities)), [0, 1]);
        assert!(kept(0.5, PoolView::new(&[])).is_empty());
    }

    #[test]
    fn shares_outside_of_the_range_are_refused() {
        for share in [0.0, -0.1, 1.1, f64::NAN] {
            let error = TopShare::new(share).unwrap_err().to_string();
            assert!(error.contains("over 0 and at most 1"), "{error}");
        }
    }
}
