//! Quantiles of a scored pool, to compare with thresholds.

use std::fmt;

use ser_core::PairProbabilities;
use serde::{Deserialize, Serialize};

/// Quantiles of numbers, interpolated linearly between neighbours (NumPy's default).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// The smallest number.
    pub min: f64,
    /// The 5 % quantile.
    pub p05: f64,
    /// The 25 % quantile.
    pub p25: f64,
    /// The 50 % quantile.
    pub median: f64,
    /// The 75 % quantile.
    pub p75: f64,
    /// The 95 % quantile.
    pub p95: f64,
    /// The largest number.
    pub max: f64,
}

/// Quantiles of the probabilities of a pool's pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolQuantiles {
    /// Pairs with finite probabilities; the quantiles are over these.
    pub pairs: usize,
    /// Pairs with probabilities that are not finite.
    pub not_finite: usize,
    /// Quantiles of Delta = |p_A - p_B| (Eq. 2), to compare with tau_delta.
    pub delta: Quantiles,
    /// Quantiles of the p of the higher-scored answer, to compare with tau_high.
    pub p_high: Quantiles,
    /// Quantiles of the p of the lower-scored answer, to compare with tau_low.
    pub p_low: Quantiles,
}

impl Quantiles {
    /// Quantiles of finite numbers in any order; `None` without numbers.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_unstable_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |q: f64| {
            let position = q * last as f64;
            let below = *values.get(position.floor() as usize)?;
            let above = values.get(position.ceil() as usize).copied().unwrap_or(below);
            Some(below + (above - below) * position.fract())
        };
        Some(Quantiles {
            min: at(0.0)?,
            p05: at(0.05)?,
            p25: at(0.25)?,
            median: at(0.5)?,
            p75: at(0.75)?,
            p95: at(0.95)?,
            max: at(1.0)?,
        })
    }

    /// The quantiles with their names, in ascending order: `min`, `p05`, `p25`, `median`, `p75`, `p95`, `max`.
    pub fn named(&self) -> [(&'static str, f64); 7] {
        let Quantiles { min, p05, p25, median, p75, p95, max } = *self;
        [("min", min), ("p05", p05), ("p25", p25), ("median", median), ("p75", p75), ("p95", p95), ("max", max)]
    }
}

impl fmt::Display for Quantiles {
    /// `0.012 (5 %), 0.034 (median), 0.081 (95 %), 0.093 (greatest)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantiles { p05, median, p95, max, .. } = self;
        write!(f, "{p05:.4} (5 %), {median:.4} (median), {p95:.4} (95 %), {max:.4} (greatest)")
    }
}

impl PoolQuantiles {
    /// Quantiles of a scored pool; `None` if no pair has finite probabilities.
    pub fn new(pool: &[PairProbabilities]) -> Option<Self> {
        let finite = || pool.iter().filter(|pair| pair.delta().is_finite());
        let of = |number: fn(&PairProbabilities) -> f64| Quantiles::of(finite().map(number).collect());
        let pairs = finite().count();
        Some(PoolQuantiles {
            pairs,
            not_finite: pool.len() - pairs,
            delta: of(|pair| pair.delta())?,
            p_high: of(|pair| pair.a.get().max(pair.b.get()))?,
            p_low: of(|pair| pair.a.get().min(pair.b.get()))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use approx::{abs_diff_eq, assert_abs_diff_eq};

    use super::*;

    #[test]
    fn quantiles_by_hand() {
        let pool: Vec<_> = (0..=20)
            .map(|i| PairProbabilities::unchecked(0.5, 0.5 - f64::from(i) / 40.0))
            .chain([PairProbabilities::unchecked(f64::NAN, 0.1)])
            .collect();
        let quantiles = PoolQuantiles::new(&pool).unwrap();
        assert_eq!((quantiles.pairs, quantiles.not_finite), (21, 1));
        let expected = [0.0, 0.025, 0.125, 0.25, 0.375, 0.475, 0.5];
        for ((name, value), expected) in quantiles.delta.named().into_iter().zip(expected) {
            assert!(abs_diff_eq!(value, expected, epsilon = 1e-12), "{name}: {value}");
        }
        assert_eq!((quantiles.p_high.min, quantiles.p_high.max, quantiles.p_low.min), (0.5, 0.5, 0.0));
        assert_eq!(quantiles.delta.to_string(), "0.0250 (5 %), 0.2500 (median), 0.4750 (95 %), 0.5000 (greatest)");
        // Between two numbers: 0.1 + 0.05 (0.3 - 0.1).
        let two = Quantiles::of(vec![0.3, 0.1]).unwrap();
        assert_abs_diff_eq!(two.p05, 0.11, epsilon = 1e-12);
        assert_abs_diff_eq!(two.median, 0.2, epsilon = 1e-12);
        assert_eq!(PoolQuantiles::new(&pool[21..]), None);
    }
}
