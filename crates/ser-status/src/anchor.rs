//! Anchors: the zero of raw scores, on which absolute thresholds depend.
//!
//! A pairwise loss depends on differences alone, so all raw scores may drift by a constant and with them every
//! p = sigmoid(r). An anchor removes the drift.

use rayon::prelude::*;
use ser_core::{PairProbabilities, PairScores, RawScore, Side};
use serde::{Deserialize, Serialize};

use crate::StatusError;
use crate::rule::MIN_PAIRS_PER_JOB;
use crate::sum::ordered_sum;

/// The map from raw scores to the probabilities that thresholds are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Anchor {
    /// p = sigmoid(r), as in the paper (Eq. 1).
    #[default]
    None,
    /// p = sigmoid(r - c), where c is the mean raw score of all answers of the pool.
    PoolMean,
    /// p_A = sigmoid((r_A - r_B) / 2) and p_B = 1 - p_A: the zero of each pair is its own mean, so p depends on the margin
    /// alone.
    PerPair,
    /// p = sigmoid((r - c) / T), with T and c fitted on labelled pairs that the model was not trained on.
    ///
    /// T minimises the cross-entropy of sigmoid((r_A - r_B) / T) as the probability that A is the preferred answer
    /// (temperature scaling, Guo et al. 2017), which is the Bradley-Terry probability calibrated on these pairs. The
    /// labels are Platt's (1999): (n + 1) / (n + 2) and 1 / (n + 2) in place of 1 and 0 for n pairs, so that a model
    /// that gets every pair right has a finite T. T is clamped to [0.01, 100] times the root mean square of the margins;
    /// a model no better than chance gets the upper end, with p near 1/2 and few selected pairs.
    ///
    /// c is the mean raw score of the answers of these pairs. Then p is the calibrated probability that the answer is
    /// better than an average one, which tau_high and tau_low are compared with.
    Fitted,
}

/// An anchor with its numbers: p = sigmoid((r - offset) / temperature).
///
/// It is valid for the weights it was fitted with: fit it again after each training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FittedAnchor {
    /// The kind of anchor.
    pub anchor: Anchor,
    /// The number subtracted from raw scores, in their units; not used by [`Anchor::PerPair`].
    pub offset: f64,
    /// The divisor of the difference, in units of raw scores; 1 except for [`Anchor::Fitted`].
    pub temperature: f64,
}

impl Anchor {
    /// Fits the anchor. `pool` is read by [`Anchor::PoolMean`] alone, `held_out` (scores and preferred side of
    /// labelled pairs not trained on) by [`Anchor::Fitted`] alone; pairs with a NaN or an infinity are skipped.
    ///
    /// A pool without finite scores has offset 0: no pair can be selected from it.
    ///
    /// # Errors
    /// [`StatusError::NothingToFit`] if [`Anchor::Fitted`] has no pair with finite scores.
    pub fn fit(self, pool: &[PairScores], held_out: &[(PairScores, Side)]) -> Result<FittedAnchor, StatusError> {
        let identity = FittedAnchor { anchor: self, offset: 0.0, temperature: 1.0 };
        match self {
            Anchor::None | Anchor::PerPair => Ok(identity),
            Anchor::PoolMean => Ok(FittedAnchor { offset: mean_score(pool).unwrap_or(0.0), ..identity }),
            Anchor::Fitted => {
                let nothing = StatusError::NothingToFit { pairs: held_out.len() };
                let scores: Vec<PairScores> = held_out.iter().map(|&(scores, _)| scores).collect();
                let offset = mean_score(&scores).ok_or(nothing)?;
                let margins: Vec<f64> = held_out
                    .iter()
                    .filter(|(scores, _)| finite(*scores))
                    .map(|&(scores, preferred)| match preferred {
                        Side::A => scores.margin(),
                        Side::B => -scores.margin(),
                    })
                    .collect();
                Ok(FittedAnchor { offset, temperature: temperature(&margins), ..identity })
            }
        }
    }
}

impl FittedAnchor {
    /// The probabilities of each pair's answers, in order. A pair with a NaN or an infinity becomes NaN, so that no
    /// rule selects it (the sigmoid of infinity would be 1).
    pub fn apply(&self, scores: &[PairScores]) -> Vec<PairProbabilities> {
        scores.par_iter().with_min_len(MIN_PAIRS_PER_JOB).map(|&pair| self.probabilities(pair)).collect()
    }

    /// The probabilities of one pair; see [`apply`](Self::apply).
    pub fn probabilities(&self, scores: PairScores) -> PairProbabilities {
        if !finite(scores) {
            return PairProbabilities::unchecked(f64::NAN, f64::NAN);
        }
        let anchored = match self.anchor {
            Anchor::None => scores,
            Anchor::PerPair => PairScores::new(scores.margin() / 2.0, -scores.margin() / 2.0),
            Anchor::PoolMean | Anchor::Fitted => {
                let of = |r: RawScore| (r.0 - self.offset) / self.temperature;
                PairScores::new(of(scores.a), of(scores.b))
            }
        };
        anchored.sigmoid()
    }
}

fn finite(scores: PairScores) -> bool {
    scores.a.0.is_finite() && scores.b.0.is_finite()
}

/// Mean over both answers of the pairs with finite scores.
fn mean_score(pairs: &[PairScores]) -> Option<f64> {
    let count = pairs.par_iter().with_min_len(MIN_PAIRS_PER_JOB).filter(|pair| finite(**pair)).count();
    // Halved before the addition, so that no pair of finite scores overflows.
    let sum = ordered_sum(pairs, |pair| if finite(*pair) { pair.a.0 / 2.0 + pair.b.0 / 2.0 } else { 0.0 });
    (count > 0).then(|| sum / count as f64)
}

/// The T of [`Anchor::Fitted`], from r_preferred - r_other of each pair.
fn temperature(margins: &[f64]) -> f64 {
    let n = margins.len() as f64;
    let scale = (ordered_sum(margins, |m| m * m) / n).sqrt();
    if !(scale > 0.0 && scale.is_finite()) {
        return 1.0; // All margins are 0, or their squares overflow: T has no effect or cannot be computed.
    }
    let label = (n + 1.0) / (n + 2.0);
    // d/ds of the cross-entropy at s = 1/T. It rises with s (the cross-entropy is convex), so bisection finds its zero.
    let slope = |s: f64| ordered_sum(margins, |m| m * (RawScore(m * s).sigmoid().get() - label));
    let (mut low, mut high) = ((0.01 / scale).ln(), (100.0 / scale).ln());
    if slope(low.exp()) >= 0.0 {
        return 100.0 * scale;
    }
    if slope(high.exp()) <= 0.0 {
        return 0.01 * scale;
    }
    // After 60 halvings the interval, at first ln(10^4), is smaller than the last bit.
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if slope(middle.exp()) < 0.0 { low = middle } else { high = middle }
    }
    (-(low + high) / 2.0).exp()
}

#[cfg(test)]
mod tests {
    use approx::{abs_diff_eq, assert_abs_diff_eq, assert_relative_eq};

    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn scores(pairs: &[(f64, f64)]) -> Vec<PairScores> {
        pairs.iter().map(|&(a, b)| PairScores::new(a, b)).collect()
    }

    /// Pairs whose label is drawn with P(A) = sigmoid((r_A - r_B) / t), on a scale that has drifted by 3.
    fn drawn(n: usize, t: f64, seed: u64) -> Vec<(PairScores, Side)> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n)
            .map(|_| {
                let s = PairScores::new(rng.random_range(0.0..6.0), rng.random_range(0.0..6.0));
                let p = RawScore(s.margin() / t).sigmoid().get();
                (s, if rng.random_bool(p) { Side::A } else { Side::B })
            })
            .collect()
    }

    #[test]
    fn each_anchor_by_hand() {
        let pool = scores(&[(3.0, 1.0), (5.0, 3.0)]);
        let p = |anchor: Anchor| anchor.fit(&pool, &[]).unwrap().apply(&pool)[0];
        let sigmoid = |r: f64| 1.0 / (1.0 + (-r).exp());
        let near = |p: PairProbabilities, a: f64, b: f64| {
            assert_abs_diff_eq!(p.a.get(), sigmoid(a), epsilon = 1e-15);
            assert_abs_diff_eq!(p.b.get(), sigmoid(b), epsilon = 1e-15);
        };
        near(p(Anchor::None), 3.0, 1.0);
        near(p(Anchor::PoolMean), 0.0, -2.0);
        near(p(Anchor::PerPair), 1.0, -1.0);
        let fitted = FittedAnchor { anchor: Anchor::Fitted, offset: 2.0, temperature: 0.5 };
        near(fitted.apply(&pool)[0], 2.0, -2.0);
    }

    #[test]
    fn a_drift_of_all_scores_changes_no_anchored_probability() {
        let drifted = |by: f64| scores(&[(3.0 + by, 1.0 + by), (4.0 + by, 8.0 + by)]);
        let held_out = |by: f64| -> Vec<_> {
            drawn(500, 2.0, 7).iter().map(|(s, y)| (PairScores::new(s.a.0 + by, s.b.0 + by), *y)).collect()
        };
        for anchor in [Anchor::PoolMean, Anchor::PerPair, Anchor::Fitted] {
            let p = |by| anchor.fit(&drifted(by), &held_out(by)).unwrap().apply(&drifted(by));
            for (x, y) in p(0.0).iter().zip(p(64.0)) {
                assert!(abs_diff_eq!(x.a.get(), y.a.get(), epsilon = 1e-9), "{anchor:?}");
                assert!(abs_diff_eq!(x.b.get(), y.b.get(), epsilon = 1e-9), "{anchor:?}");
            }
        }
        let none = |by| Anchor::None.fit(&drifted(by), &[]).unwrap().apply(&drifted(by));
        assert_ne!(none(0.0), none(64.0));
    }

    #[test]
    fn temperature_is_recovered() {
        for (seed, t) in [(1, 0.4), (2, 1.0), (3, 2.5)] {
            let fitted = Anchor::Fitted.fit(&[], &drawn(40_000, t, seed)).unwrap();
            assert_relative_eq!(fitted.temperature, t, max_relative = 0.04);
            assert_abs_diff_eq!(fitted.offset, 3.0, epsilon = 0.03);
        }
    }

    #[test]
    fn the_temperature_minimises_the_cross_entropy() {
        let held_out = drawn(300, 1.7, 9);
        let n = held_out.len() as f64;
        let label = (n + 1.0) / (n + 2.0);
        let cross_entropy = |t: f64| -> f64 {
            held_out
                .iter()
                .map(|(s, y)| {
                    let m = if *y == Side::A { s.margin() } else { -s.margin() };
                    let p = 1.0 / (1.0 + (-m / t).exp());
                    -label * p.ln() - (1.0 - label) * (1.0 - p).ln()
                })
                .sum()
        };
        let best = Anchor::Fitted.fit(&[], &held_out).unwrap().temperature;
        for factor in [0.9, 0.99, 0.999, 1.001, 1.01, 1.1] {
            assert!(cross_entropy(best) < cross_entropy(best * factor), "{factor}");
        }
    }

    #[test]
    fn separable_and_useless_models_have_a_temperature() {
        // All right by the same margin: sigmoid(1/T) is Platt's (n+1)/(n+2), so T = 1 / ln(n+1).
        let right = vec![(PairScores::new(1.0, 0.0), Side::A); 99];
        let t = Anchor::Fitted.fit(&[], &right).unwrap().temperature;
        assert_abs_diff_eq!(t, 1.0 / 100f64.ln(), epsilon = 1e-9);
        let wrong = vec![(PairScores::new(1.0, 0.0), Side::B); 99];
        assert_eq!(Anchor::Fitted.fit(&[], &wrong).unwrap().temperature, 100.0);
        let tied = vec![(PairScores::new(1.0, 1.0), Side::B); 9];
        assert_eq!(Anchor::Fitted.fit(&[], &tied).unwrap().temperature, 1.0);
    }

    #[test]
    fn scores_that_are_not_finite_are_skipped_and_become_nan() {
        let odd = [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (1.0, f64::NEG_INFINITY)];
        let mut pool = scores(&odd);
        pool.extend(scores(&[(3.0, 1.0)]));
        let mut held_out = drawn(100, 1.0, 4);
        let clean = Anchor::Fitted.fit(&[], &held_out).unwrap();
        held_out.extend(scores(&odd).into_iter().map(|s| (s, Side::A)));
        assert_eq!(Anchor::Fitted.fit(&[], &held_out).unwrap(), clean);
        assert_eq!(Anchor::PoolMean.fit(&pool, &[]).unwrap().offset, 2.0);
        assert_eq!(Anchor::PoolMean.fit(&pool[..3], &[]).unwrap().offset, 0.0);
        for anchor in [Anchor::None, Anchor::PoolMean, Anchor::PerPair, Anchor::Fitted] {
            let p = anchor.fit(&pool, &held_out).unwrap().apply(&pool);
            assert!(p[..3].iter().all(|p| p.a.get().is_nan() && p.b.get().is_nan()), "{anchor:?}");
            assert!(p[3].delta() > 0.0, "{anchor:?}");
        }
        let error = Anchor::Fitted.fit(&pool, &held_out[100..]).unwrap_err().to_string();
        assert!(error.starts_with("none of the 3 held-out pairs has finite scores"), "{error}");
    }

    #[test]
    fn anchors_are_settings_and_fitted_ones_are_files() {
        #[derive(Deserialize)]
        struct Config {
            anchor: Anchor,
        }
        assert_eq!(toml::from_str::<Config>("anchor = 'pool_mean'").unwrap().anchor, Anchor::PoolMean);
        let fitted = Anchor::Fitted.fit(&[], &drawn(50, 1.0, 2)).unwrap();
        let text = serde_json::to_string(&fitted).unwrap();
        assert_eq!(serde_json::from_str::<FittedAnchor>(&text).unwrap(), fitted);
    }
}
