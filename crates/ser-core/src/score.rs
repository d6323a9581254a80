//! What a reward model says of an answer: raw and sigmoid scores have types of their own.

use serde::{Deserialize, Serialize};

use crate::Side;

/// The head's output r, any real number. Only differences of raw scores mean something after pairwise training.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawScore(pub f64);

impl RawScore {
    /// p = sigmoid(r) (Eq. 1), exact at both ends and NaN for NaN.
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

/// A sigmoid score p in [0, 1], the one that thresholds are about.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Probability(f64);

impl Probability {
    /// A probability from a number; `None` unless it lies in [0, 1] (so never NaN).
    pub fn new(p: f64) -> Option<Self> {
        (0.0..=1.0).contains(&p).then_some(Probability(p))
    }

    /// A probability as somebody stored it, unchecked: NaN and values outside [0, 1] stay, and select nothing.
    pub fn unchecked(p: f64) -> Self {
        Probability(p)
    }

    /// The number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// The raw scores of a pair's two answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairScores {
    /// Answer A's.
    pub a: RawScore,
    /// Answer B's.
    pub b: RawScore,
}

impl PairScores {
    /// From two numbers, A's first.
    pub fn new(a: f64, b: f64) -> Self {
        PairScores { a: RawScore(a), b: RawScore(b) }
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
    /// Answer A's.
    pub a: Probability,
    /// Answer B's.
    pub b: Probability,
}

impl PairProbabilities {
    /// From two stored numbers, A's first, unchecked (see [`Probability::unchecked`]).
    pub fn unchecked(a: f64, b: f64) -> Self {
        PairProbabilities { a: Probability::unchecked(a), b: Probability::unchecked(b) }
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
    use super::*;

    #[test]
    fn sigmoid_holds_at_the_ends() {
        assert_eq!(RawScore(1e4).sigmoid().get(), 1.0);
        assert_eq!(RawScore(-1e4).sigmoid().get(), 0.0);
        assert_eq!(RawScore(0.0).sigmoid().get(), 0.5);
        assert!((RawScore(1.0).sigmoid().get() - 0.731_058_578_630_004_9).abs() < 1e-15);
        assert!(RawScore(f64::NAN).sigmoid().get().is_nan());
    }

    #[test]
    fn ties_and_nan_have_no_higher_side() {
        assert_eq!(PairScores::new(1.0, 1.0).higher(), None);
        assert_eq!(PairScores::new(f64::NAN, 1.0).higher(), None);
        assert_eq!(PairScores::new(0.0, 1.0).higher(), Some(Side::B));
    }
}
