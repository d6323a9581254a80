//! Pairwise accuracy.

use std::collections::BTreeMap;

use ser_core::{Clusters, PairScores, Side};
use serde::{Deserialize, Serialize};

use crate::tally::cluster_index;
use crate::{Binning, Bootstrap, Calibration, Estimate, EvalError};

/// The raw scores with the gold answer's first: [r_chosen, r_rejected].
pub fn chosen_first(scores: PairScores, gold: Side) -> [f64; 2] {
    match gold {
        Side::A => [scores.a.0, scores.b.0],
        Side::B => [scores.b.0, scores.a.0],
    }
}

/// Which pairs ([r_chosen, r_rejected]) are right: the chosen answer scores strictly higher. Ties and NaN are wrong.
pub fn correct(scores: &[[f64; 2]]) -> Vec<bool> {
    scores.iter().map(|[chosen, rejected]| chosen > rejected).collect()
}

/// A reward model on held-out pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Share of pairs whose chosen answer scores strictly higher.
    pub accuracy: Estimate,
    /// Expected calibration error of the pairwise probability, equal-width bins; none where no score was finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ece: Option<f64>,
}

impl Evaluation {
    /// Measures scores ([r_chosen, r_rejected] per pair); ECE over ten bins of equal width. `clusters` says which pairs
    /// share a prompt.
    ///
    /// # Errors
    /// As [`Bootstrap::accuracy`].
    pub fn measure(scores: &[[f64; 2]], clusters: Clusters<'_>, bootstrap: &Bootstrap) -> Result<Self, EvalError> {
        let accuracy = bootstrap.accuracy(&correct(scores), clusters)?;
        let ece = Calibration::measure(scores, 10, Binning::EqualWidth)?.ece;
        Ok(Evaluation { accuracy, ece })
    }
}

/// Accuracy on one named part of a test set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SubsetAccuracy {
    /// The part's name.
    pub subset: String,
    /// Accuracy on it.
    pub accuracy: Estimate,
}

/// Accuracy per subset (RewardBench), sorted by name. `subsets` names each pair's part, `clusters` says which pairs share
/// a prompt.
///
/// # Errors
/// [`EvalError::LengthMismatch`], and the errors of [`Bootstrap::check`].
pub fn accuracy_by_subset<S: AsRef<str>>(
    scores: &[[f64; 2]],
    subsets: &[S],
    clusters: Clusters<'_>,
    bootstrap: &Bootstrap,
) -> Result<Vec<SubsetAccuracy>, EvalError> {
    if scores.len() != subsets.len() {
        return Err(EvalError::LengthMismatch {
            left_name: "the scores",
            left: scores.len(),
            right_name: "the subset names",
            right: subsets.len(),
        });
    }
    let index = cluster_index(scores.len(), clusters)?;
    let mut outcomes: BTreeMap<&str, (Vec<bool>, Vec<u64>)> = BTreeMap::new();
    for ((right, subset), &cluster) in correct(scores).into_iter().zip(subsets).zip(&index.of_pair) {
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
