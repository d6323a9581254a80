//! Calibration of sigmoid(r_chosen - r_rejected).

use ndarray::ArrayView2;
use ser_core::RawScore;
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::score_rows::rows;

/// How confidences are assigned to bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binning {
    /// Bins of equal width over [0.5, 1].
    EqualWidth,
    /// Bins with (nearly) equal numbers of pairs; equal confidences may fall into neighbouring bins.
    EqualMass,
}

/// One row of a reliability table.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Lower edge; for equal mass, the smallest confidence in the bin.
    pub low: f64,
    /// Upper edge; for equal mass, the largest confidence in the bin.
    pub high: f64,
    /// Number of pairs.
    pub pairs: u64,
    /// Mean confidence of the pairs; none for an empty bin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// Share of pairs that are right; none for an empty bin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

/// The reliability of a model's pairwise probability.
///
/// A pair's confidence is the probability of the answer that the model prefers, sigmoid(|r_chosen - r_rejected|), so it
/// lies in [0.5, 1]; the pair is right if that answer is the chosen one. (The probability of the chosen answer itself
/// would have the same outcome for every pair.) A tie prefers neither answer and counts as half right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The binning.
    pub binning: Binning,
    /// Expected calibration error: the mean over pairs of |accuracy - confidence| of their bin; none without pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ece: Option<f64>,
    /// The reliability table, by increasing confidence.
    pub bins: Vec<ReliabilityBin>,
    /// Pairs left out because the difference of their scores is NaN.
    pub left_out: u64,
}

impl Calibration {
    /// Measures scores; `scores` has one row per pair: [r_chosen, r_rejected].
    ///
    /// # Errors
    /// [`EvalError::NoBins`] and [`EvalError::ScoreColumns`].
    pub fn measure(scores: ArrayView2<'_, f64>, bins: usize, binning: Binning) -> Result<Self, EvalError> {
        if bins == 0 {
            return Err(EvalError::NoBins);
        }
        let mut pairs: Vec<(f64, f64)> = rows(scores)?
            .map(|[chosen, rejected]| chosen - rejected)
            .filter(|margin| !margin.is_nan())
            .map(|margin| (RawScore(margin.abs()).sigmoid().get(), right(margin)))
            .collect();
        // Sorted by outcome too, so that the result does not depend on the order of the input.
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let rows = match binning {
            Binning::EqualWidth => equal_width(&pairs, bins),
            Binning::EqualMass => equal_mass(&pairs, bins),
        };
        let error: f64 =
            rows.iter().filter_map(|row| Some(row.pairs as f64 * (row.accuracy? - row.confidence?).abs())).sum();
        Ok(Calibration {
            binning,
            ece: (!pairs.is_empty()).then(|| error / pairs.len() as f64),
            bins: rows,
            left_out: (scores.nrows() - pairs.len()) as u64,
        })
    }
}

fn right(margin: f64) -> f64 {
    if margin > 0.0 {
        1.0
    } else if margin < 0.0 {
        0.0
    } else {
        0.5
    }
}

fn row(low: f64, high: f64, pairs: &[(f64, f64)]) -> ReliabilityBin {
    let n = pairs.len();
    let mean = |values: f64| (n > 0).then(|| values / n as f64);
    ReliabilityBin {
        low,
        high,
        pairs: n as u64,
        confidence: mean(pairs.iter().map(|p| p.0).sum()),
        accuracy: mean(pairs.iter().map(|p| p.1).sum()),
    }
}

/// `pairs` sorted by confidence; bins are [low, high), the last one [low, high].
fn equal_width(pairs: &[(f64, f64)], bins: usize) -> Vec<ReliabilityBin> {
    let edge = |i: usize| 0.5 + 0.5 * i as f64 / bins as f64;
    let mut rest = pairs;
    (0..bins)
        .map(|i| {
            let end = if i + 1 == bins { rest.len() } else { rest.partition_point(|p| p.0 < edge(i + 1)) };
            let (inside, after) = rest.split_at(end);
            rest = after;
            row(edge(i), edge(i + 1), inside)
        })
        .collect()
}

/// `pairs` sorted by confidence; with fewer pairs than bins, there are fewer bins.
fn equal_mass(pairs: &[(f64, f64)], bins: usize) -> Vec<ReliabilityBin> {
    let n = pairs.len();
    let bins = bins.min(n);
    let mut rest = pairs;
    (0..bins)
        .filter_map(|i| {
            let size = (i + 1) * n / bins - i * n / bins;
            let (inside, after) = rest.split_at(size.min(rest.len()));
            rest = after;
            Some(row(inside.first()?.0, inside.last()?.0, inside))
        })
        .collect()
}
