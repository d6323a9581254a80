//! The scores of a reward model: raw scores and probabilities are two types.

use ndarray::ArrayView2;
use serde::{Deserialize, Deserializer, Serialize};

use crate::Side;

/// The output r of the model's head, any real number. After pairwise training only differences of raw scores have a
/// meaning.
///
/// JSON has no NaN and no infinities: these are the strings `nan`, `inf` and `-inf` there, so every score survives a
/// round trip.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct RawScore(pub f64);

impl From<f64> for RawScore {
    fn from(r: f64) -> Self {
        RawScore(r)
    }
}

impl RawScore {
    /// p = sigmoid(r) (Eq. 1), exact at both ends; NaN for NaN.
    pub fn sigmoid(self) -> Probability {
        let r = self.0;
        // Each branch keeps exp's argument negative, so nothing overflows.
        Probability(if r >= 0.0 {
            1.0 / (1.0 + (-r).exp())
        } else {
            let e = r.exp();
            e / (1.0 + e)
        })
    }
}

/// A sigmoid score p in [0, 1], which thresholds are compared with. Deserializing refuses any other number.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Probability(f64);

impl Probability {
    /// A probability from a number; `None` for NaN and for numbers outside [0, 1].
    pub fn new(p: f64) -> Option<Self> {
        (0.0..=1.0).contains(&p).then_some(Probability(p))
    }

    /// A stored number as a probability, unchecked: NaN and values outside [0, 1] are kept, and no rule selects them.
    pub fn unchecked(p: f64) -> Self {
        Probability(p)
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Probability {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let p = f64::deserialize(deserializer)?;
        Probability::new(p)
            .ok_or_else(|| serde::de::Error::custom(format!("a probability is {p}; it must lie in [0, 1]")))
    }
}

/// An array of scores that does not have one row per pair and one column per answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an array of scores has {columns} columns; it must have 2, answer A's score and answer B's")]
pub struct ScoreShapeError {
    /// The number of columns of the array.
    pub columns: usize,
}

/// The rows of an array of shape `[pairs, 2]`.
fn rows(array: ArrayView2<'_, f64>) -> Result<Vec<[f64; 2]>, ScoreShapeError> {
    if array.ncols() != 2 {
        return Err(ScoreShapeError { columns: array.ncols() });
    }
    Ok(array.column(0).iter().zip(array.column(1)).map(|(a, b)| [*a, *b]).collect())
}

/// The raw scores of a pair's two answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairScores {
    /// The score of answer A.
    pub a: RawScore,
    /// The score of answer B.
    pub b: RawScore,
}

impl From<[f64; 2]> for PairScores {
    fn from([a, b]: [f64; 2]) -> Self {
        PairScores::new(a, b)
    }
}

impl From<(f64, f64)> for PairScores {
    fn from((a, b): (f64, f64)) -> Self {
        PairScores::new(a, b)
    }
}

impl From<PairScores> for [f64; 2] {
    fn from(scores: PairScores) -> Self {
        [scores.a.0, scores.b.0]
    }
}

impl PairScores {
    /// From two numbers, A's first.
    pub fn new(a: f64, b: f64) -> Self {
        PairScores { a: RawScore(a), b: RawScore(b) }
    }

    /// The scores of a whole pool, from an array of shape `[pairs, 2]`, A's in the first column.
    ///
    /// ```
    /// use ser_core::PairScores;
    /// use ser_core::ndarray::array;
    ///
    /// let scores = PairScores::from_array(array![[1.5, -0.5], [0.0, 2.0]].view())?;
    /// assert_eq!(scores[1], PairScores::new(0.0, 2.0));
    /// # Ok::<(), ser_core::ScoreShapeError>(())
    /// ```
    ///
    /// # Errors
    /// [`ScoreShapeError`] if the array has another number of columns than 2.
    pub fn from_array(scores: ArrayView2<'_, f64>) -> Result<Vec<Self>, ScoreShapeError> {
        Ok(rows(scores)?.into_iter().map(PairScores::from).collect())
    }

    /// r_A - r_B.
    pub fn margin(self) -> f64 {
        self.a.0 - self.b.0
    }

    /// The side that scores strictly higher; `None` for a tie or a NaN.
    pub fn higher(self) -> Option<Side> {
        if self.a.0 > self.b.0 {
            Some(Side::A)
        } else if self.b.0 > self.a.0 {
            Some(Side::B)
        } else {
            None
        }
    }

    /// Both scores through the sigmoid (Eq. 1).
    pub fn sigmoid(self) -> PairProbabilities {
        PairProbabilities { a: self.a.sigmoid(), b: self.b.sigmoid() }
    }
}

/// The sigmoid scores of a pair's two answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairProbabilities {
    /// The probability of answer A.
    pub a: Probability,
    /// The probability of answer B.
    pub b: Probability,
}

impl PairProbabilities {
    /// From two stored numbers, A's first, unchecked (see [`Probability::unchecked`]).
    pub fn unchecked(a: f64, b: f64) -> Self {
        PairProbabilities { a: Probability::unchecked(a), b: Probability::unchecked(b) }
    }

    /// The sigmoid scores of a whole pool, from an array of shape `[pairs, 2]`, A's in the first column; unchecked (see
    /// [`Probability::unchecked`]).
    ///
    /// # Errors
    /// [`ScoreShapeError`] if the array has another number of columns than 2.
    pub fn from_array(probabilities: ArrayView2<'_, f64>) -> Result<Vec<Self>, ScoreShapeError> {
        Ok(rows(probabilities)?.into_iter().map(|[a, b]| PairProbabilities::unchecked(a, b)).collect())
    }

    /// Delta = |p_A - p_B| (Eq. 2).
    pub fn delta(self) -> f64 {
        (self.a.0 - self.b.0).abs()
    }

    /// The side that scores strictly higher; `None` for a tie or a NaN.
    pub fn higher(self) -> Option<Side> {
        PairScores::new(self.a.0, self.b.0).higher()
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;
    use ndarray::array;

    use super::*;

    #[test]
    fn sigmoid_is_exact_at_both_ends() {
        assert_eq!(RawScore(1e4).sigmoid().get(), 1.0);
        assert_eq!(RawScore(-1e4).sigmoid().get(), 0.0);
        assert_eq!(RawScore(0.0).sigmoid().get(), 0.5);
        assert_abs_diff_eq!(RawScore(1.0).sigmoid().get(), 0.731_058_578_630_004_9, epsilon = 1e-15);
        assert!(RawScore(f64::NAN).sigmoid().get().is_nan());
    }

    #[test]
    fn ties_and_nan_have_no_higher_side() {
        assert_eq!(PairScores::new(1.0, 1.0).higher(), None);
        assert_eq!(PairScores::new(f64::NAN, 1.0).higher(), None);
        assert_eq!(PairScores::new(0.0, 1.0).higher(), Some(Side::B));
    }

    #[test]
    fn arrays_have_one_row_per_pair() {
        let array = array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]];
        assert_eq!(PairScores::from_array(array.view()).unwrap()[2], [5.0, 6.0].into());
        assert_eq!(PairScores::from_array(array.t()).unwrap_err(), ScoreShapeError { columns: 3 });
        let columns_first = array.t().as_standard_layout().into_owned();
        assert_eq!(PairScores::from_array(columns_first.t()).unwrap()[1], (3.0, 4.0).into());
        let probabilities = PairProbabilities::from_array(array![[0.9, 0.2]].view()).unwrap();
        assert_eq!(probabilities, [PairProbabilities::unchecked(0.9, 0.2)]);
    }

    #[test]
    fn raw_scores_survive_json_bit_for_bit() {
        let odd = [0.1 + 0.2, -0.0, f64::MIN_POSITIVE / 3.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        for r in odd {
            let text = serde_json::to_string(&RawScore(r)).unwrap();
            let back: RawScore = serde_json::from_str(&text).unwrap();
            assert!(back.0.to_bits() == r.to_bits() || back.0.is_nan() && r.is_nan(), "{text}");
        }
        assert_eq!(serde_json::to_string(&PairScores::new(1.5, f64::NAN)).unwrap(), r#"{"a":1.5,"b":"nan"}"#);
        assert_eq!(serde_json::from_str::<RawScore>("3").unwrap(), RawScore(3.0));
        assert!(serde_json::from_str::<RawScore>("null").is_err());
        assert!(serde_json::from_str::<RawScore>("\"many\"").is_err());
    }

    #[test]
    fn a_number_outside_0_and_1_is_refused_as_a_probability() {
        assert_eq!(serde_json::from_str::<Probability>("0.25").unwrap(), Probability(0.25));
        let error = serde_json::from_str::<Probability>("1.5").unwrap_err().to_string();
        assert!(error.starts_with("a probability is 1.5; it must lie in [0, 1]"), "{error}");
        assert!(serde_json::from_str::<PairProbabilities>(r#"{"a":0.5,"b":null}"#).is_err());
    }
}
