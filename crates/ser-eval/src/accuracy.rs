//! Pairwise accuracy.

use std::collections::BTreeMap;

use ndarray::ArrayView2;
use ser_core::{Clusters, PairScores, Side};
use serde::{Deserialize, Serialize};

use crate::score_rows::rows;
use crate::tally::cluster_index;
use crate::{Binning, Bootstrap, Calibration, Estimate, EvalError};

/// Raw scores ordered by the gold label: [r_chosen, r_rejected].
pub fn chosen_first(scores: PairScores, gold: Side) -> [f64; 2] {
    match gold {
        Side::A => [scores.a.0, scores.b.0],
        Side::B => [scores.b.0, scores.a.0],
    }
}

/// Marks the pairs whose chosen answer scores strictly higher. Ties and NaN are wrong.
///
/// `scores` has one row per pair: [r_chosen, r_rejected].
///
/// # Errors
/// [`EvalError::ScoreColumns`].
pub fn correct(scores: ArrayView2<'_, f64>) -> Result<Vec<bool>, EvalError> {
    Ok(rows(scores)?.map(|[chosen, rejected]| chosen > rejected).collect())
}

/// Test results of a reward model on held-out pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Share of pairs whose chosen answer scores strictly higher.
    pub accuracy: Estimate,
    /// Expected calibration error of the pairwise probability, equal-width bins; none if no score is finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ece: Option<f64>,
}

impl Evaluation {
    /// Measures scores ([r_chosen, r_rejected] per pair); the ECE uses ten bins of equal width. `clusters` gives the
    /// prompt of each pair.
    ///
    /// # Errors
    /// [`EvalError::ScoreColumns`] and the errors of [`Bootstrap::accuracy`].
    pub fn measure(
        scores: ArrayView2<'_, f64>,
        clusters: Clusters<'_>,
        bootstrap: &Bootstrap,
    ) -> Result<Self, EvalError> {
        let accuracy = bootstrap.accuracy(&correct(scores)?, clusters)?;
        let ece = Calibration::measure(scores, 10, Binning::EqualWidth)?.ece;
        Ok(Evaluation { accuracy, ece })
    }
}

/// Accuracy on one named subset of a test set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsetAccuracy {
    /// Name of the subset.
    pub subset: String,
    /// Accuracy on the subset.
    pub accuracy: Estimate,
}

/// Accuracy per subset (RewardBench), sorted by name. `subsets` has the name of each pair's subset, `clusters` its
/// prompt.
///
/// # Errors
/// [`EvalError::ScoreColumns`], [`EvalError::LengthMismatch`], and the errors of [`Bootstrap::check`].
pub fn accuracy_by_subset<S: AsRef<str>>(
    scores: ArrayView2<'_, f64>,
    subsets: &[S],
    clusters: Clusters<'_>,
    bootstrap: &Bootstrap,
) -> Result<Vec<SubsetAccuracy>, EvalError> {
    if scores.nrows() != subsets.len() {
        return Err(EvalError::LengthMismatch {
            left_name: "the scores",
            left: scores.nrows(),
            right_name: "the subset names",
            right: subsets.len(),
        });
    }
    let index = cluster_index(scores.nrows(), clusters)?;
    let mut outcomes: BTreeMap<&str, (Vec<bool>, Vec<u64>)> = BTreeMap::new();
    for ((right, subset), &cluster) in correct(scores)?.into_iter().zip(subsets).zip(&index.of_pair) {
        let (rights, ids) = outcomes.entry(subset.as_ref()).or_default();
        rights.push(right);
        ids.push(cluster as u64);
    }
    outcomes
        .into_iter()
        .map(|(subset, (rights, ids))| {
            let accuracy = bootstrap.accuracy(&rights, Clusters::Ids(&ids))?;
            Ok(SubsetAccuracy { subset: subset.to_owned(), accuracy })
        })
        .collect()
}
