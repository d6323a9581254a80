//! Score differences of pairs with similar answers: the paper's Figure 6 on labelled pairs.

use ndarray::ArrayView2;
use ser_core::{PairStore, Side};
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::score_rows::rows;

/// Pairs that are read at a time.
const CHUNK: usize = 8192;

/// Number of bins of the histogram; even, so that 0 is the border of two.
const BINS: usize = 20;

/// Score differences r_chosen - r_rejected of the pairs whose answers are most alike, under one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScoreDifferences {
    /// Pairs with a finite difference.
    pub pairs: u64,
    /// Pairs left out because a score is NaN or infinite.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub not_finite: u64,
    /// The smallest [`answer_similarity`] of the pairs.
    pub similarity: f64,
    /// Pairs whose chosen answer scores strictly higher.
    pub right: u64,
    /// The 5th, 25th, 50th, 75th and 95th percentile of the differences (nearest rank).
    pub percentiles: [f64; 5],
    /// Histogram of the differences. All models of a run have the same bins; the first and the last bin also count
    /// values beyond them.
    pub histogram: Vec<DifferenceBin>,
}

/// Pairs whose difference lies in [low, high).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DifferenceBin {
    /// Lower edge.
    pub low: f64,
    /// Upper edge.
    pub high: f64,
    /// Number of pairs.
    pub pairs: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Similarity of two answers, from 0 to 1: Dice's coefficient of their character trigrams (as multisets, in lower case,
/// with runs of whitespace as one blank). Two answers without letters have similarity 1.
pub fn answer_similarity(a: &str, b: &str) -> f64 {
    let [a, b] = [a, b].map(trigrams);
    if a.is_empty() && b.is_empty() {
        return 1.0;
    }
    let (mut i, mut j, mut shared) = (0, 0, 0usize);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => (i, j, shared) = (i + 1, j + 1, shared + 1),
        }
    }
    2.0 * shared as f64 / (a.len() + b.len()) as f64
}

/// Sorted trigrams of a text with a blank before and after it.
fn trigrams(text: &str) -> Vec<[char; 3]> {
    let mut chars = vec![' '];
    for word in text.split_whitespace() {
        chars.extend(word.chars().flat_map(char::to_lowercase));
        chars.push(' ');
    }
    let mut grams: Vec<[char; 3]> = chars.windows(3).filter_map(|window| window.try_into().ok()).collect();
    grams.sort_unstable();
    grams
}

/// The quarter of `pairs` with the most similar answers by [`answer_similarity`] (at least one pair; of equally similar
/// ones the first), and their score differences under each model. `scores` has one list per model: [r_chosen,
/// r_rejected] per pair.
///
/// # Errors
/// [`EvalError::LengthMismatch`], [`EvalError::ScoreColumns`], and [`EvalError::Pairs`] for pairs that cannot be read.
pub fn similar_pair_differences(
    pairs: &dyn PairStore,
    scores: &[ArrayView2<'_, f64>],
) -> Result<Vec<ScoreDifferences>, EvalError> {
    for model in scores {
        if model.nrows() != pairs.len() {
            return Err(EvalError::LengthMismatch {
                left_name: "the pairs",
                left: pairs.len(),
                right_name: "a model's scores",
                right: model.nrows(),
            });
        }
    }
    let mut alike: Vec<(f64, usize)> = Vec::with_capacity(pairs.len());
    for start in (0..pairs.len()).step_by(CHUNK) {
        let chunk = pairs.read_range(start..(start + CHUNK).min(pairs.len())).map_err(EvalError::Pairs)?;
        let similarity = chunk.iter().map(|pair| answer_similarity(pair.response(Side::A), pair.response(Side::B)));
        alike.extend(similarity.zip(start..));
    }
    alike.sort_by(|(a, i), (b, j)| b.total_cmp(a).then(i.cmp(j)));
    alike.truncate(pairs.len().div_ceil(4));
    let Some(&(similarity, _)) = alike.last() else { return Ok(Vec::new()) };
    let differences: Vec<Vec<f64>> = scores
        .iter()
        .map(|model| {
            let all: Vec<f64> = rows(*model)?.map(|[chosen, rejected]| chosen - rejected).collect();
            let differences = alike.iter().filter_map(|(_, index)| all.get(*index).copied());
            let mut finite: Vec<f64> = differences.filter(|d| d.is_finite()).collect();
            finite.sort_by(f64::total_cmp);
            Ok(finite)
        })
        .collect::<Result<_, EvalError>>()?;
    // The common axis covers all but the largest fiftieth of the absolute differences.
    let mut sizes: Vec<f64> = differences.iter().flatten().map(|d| d.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let reach = nearest_rank(&sizes, 0.98).filter(|reach| *reach > 0.0).unwrap_or(1.0);
    Ok(differences.iter().map(|sorted| of_model(sorted, alike.len(), similarity, reach)).collect())
}

fn of_model(sorted: &[f64], all: usize, similarity: f64, reach: f64) -> ScoreDifferences {
    let edge = |i: usize| reach * (2.0 * i as f64 / BINS as f64 - 1.0);
    let mut histogram: Vec<DifferenceBin> =
        (0..BINS).map(|i| DifferenceBin { low: edge(i), high: edge(i + 1), pairs: 0 }).collect();
    for difference in sorted {
        let index = ((difference / reach + 1.0) / 2.0 * BINS as f64).floor().clamp(0.0, (BINS - 1) as f64) as usize;
        if let Some(bin) = histogram.get_mut(index) {
            bin.pairs += 1;
        }
    }
    ScoreDifferences {
        pairs: sorted.len() as u64,
        not_finite: (all - sorted.len()) as u64,
        similarity,
        right: sorted.iter().filter(|difference| **difference > 0.0).count() as u64,
        percentiles: [0.05, 0.25, 0.5, 0.75, 0.95].map(|share| nearest_rank(sorted, share).unwrap_or(0.0)),
        histogram,
    }
}

/// The smallest value that at least this share of a sorted list does not exceed.
fn nearest_rank(sorted: &[f64], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use approx::assert_abs_diff_eq;
    use ndarray::aview2;
    use ser_core::{Pair, PairId};
    use std::sync::Arc;

    #[test]
    fn similarity_is_dices_coefficient_of_trigrams() {
        // " ab", "abc", "bc " against " ab", "abd", "bd ": 2 * 1 / 6.
        assert_abs_diff_eq!(answer_similarity("abc", "ABD"), 1.0 / 3.0, epsilon = 1e-12);
        assert_eq!(answer_similarity("The  same\n", "the same"), 1.0);
        assert_eq!(answer_similarity("aaaa", "zzzz"), 0.0);
        assert_eq!((answer_similarity("", " "), answer_similarity("", "abc")), (1.0, 0.0));
        // As multisets: 4 trigrams of " aaaa " are 2 kinds and twice "aaa".
        assert_abs_diff_eq!(answer_similarity("aaaa", "aaa"), 2.0 * 3.0 / 7.0, epsilon = 1e-12);
    }

    #[test]
    fn the_most_similar_quarter_is_the_same_for_all_models() {
        let pair = |id: u64, a: &str, b: &str| Arc::new(Pair::from_text(PairId(id), "q", a, b));
        let mut pairs: Vec<_> = (0..6).map(|id| pair(id, "one thing", "some other words")).collect();
        pairs.push(pair(6, "a long answer with an end", "a long answer with an aim"));
        pairs.push(pair(7, "a long answer, kept", "a long answer, kept."));
        // Only pairs 6 and 7 are used.
        let mut first = vec![[100.0, 0.0]; 8];
        (first[6], first[7]) = ([0.0, 1.0], [0.5, 0.0]);
        let mut second = first.clone();
        (second[6], second[7]) = ([2.0, 0.0], [f64::NAN, 0.0]);
        let found = similar_pair_differences(&pairs, &[aview2(&first), aview2(&second)]).unwrap();
        assert_eq!((found[0].pairs, found[0].right, found[0].not_finite), (2, 1, 0));
        assert_eq!(found[0].percentiles, [-1.0, -1.0, -1.0, 0.5, 0.5]);
        assert_eq!((found[1].pairs, found[1].right, found[1].not_finite), (1, 1, 1));
        assert_eq!(found[0].histogram.first().unwrap().low, found[1].histogram.first().unwrap().low);
        assert_eq!(found[0].histogram.iter().map(|bin| bin.pairs).sum::<u64>(), 2);
        // 0 is a border, and the largest difference is in the last bin.
        assert_eq!(found[0].histogram[10].low, 0.0);
        assert_eq!((found[1].histogram[19].pairs, found[1].histogram[19].high), (1, 2.0));
        assert!(similar_pair_differences(&Vec::new(), &[ArrayView2::from(&[] as &[[f64; 2]])]).unwrap().is_empty());
        assert!(similar_pair_differences(&pairs, &[aview2(&first[..3])]).is_err());
    }
}
