//! Shares, their intervals, and the distributions behind these.

use serde::{Deserialize, Serialize};

use crate::StatusError;

/// Both ends of a confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A count out of a total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proportion {
    /// The number of items with the property.
    pub count: usize,
    /// The number of items.
    pub of: usize,
}

impl Proportion {
    /// The share; `None` if there are no items.
    pub fn share(&self) -> Option<f64> {
        (self.of > 0).then(|| self.count as f64 / self.of as f64)
    }

    /// Wilson's score interval at `confidence` (such as 0.95), for independent draws; `None` if there are none. For pairs that may
    /// share prompts, use [`wilson_by_cluster`](crate::wilson_by_cluster).
    ///
    /// # Errors
    /// [`StatusError::SettingOutOfRange`] unless `confidence` is strictly between 0 and 1.
    pub fn wilson(&self, confidence: f64) -> Result<Option<Interval>, StatusError> {
        let z = normal_two_sided(confidence)?;
        Ok(self.share().map(|p| wilson(p, self.of as f64, z)))
    }
}

/// Wilson's interval for a share `p` of `n` independent draws, where n need not be whole.
pub(crate) fn wilson(p: f64, n: f64, z: f64) -> Interval {
    let z2 = z * z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    Interval { low: (centre - half).max(0.0), high: (centre + half).min(1.0) }
}

/// Checks the confidence of an interval.
pub(crate) fn check_confidence(confidence: f64) -> Result<(), StatusError> {
    if confidence > 0.0 && confidence < 1.0 {
        return Ok(());
    }
    Err(StatusError::SettingOutOfRange { name: "confidence", value: confidence, range: "strictly between 0 and 1" })
}

/// The z with P(|N(0, 1)| <= z) = confidence.
pub(crate) fn normal_two_sided(confidence: f64) -> Result<f64, StatusError> {
    check_confidence(confidence)?;
    let (mut low, mut high) = (0.0, 40.0);
    for _ in 0..100 {
        let z = (low + high) / 2.0;
        if libm::erfc(z / std::f64::consts::SQRT_2) > 1.0 - confidence { low = z } else { high = z }
    }
    Ok((low + high) / 2.0)
}

/// The t with P(|T| <= t) = confidence, for Student's T with a whole number of at least 1 degrees of freedom.
pub(crate) fn student_two_sided(confidence: f64, degrees: f64) -> Result<f64, StatusError> {
    let z = normal_two_sided(confidence)?;
    if degrees > 1000.0 {
        // The expansion of Cornish and Fisher; its error is of the order of 1 / degrees^2.
        return Ok(z + (z * z * z + z) / (4.0 * degrees));
    }
    let (mut low, mut high) = (0.0, 1.0);
    while student_within(high, degrees) < confidence && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..100 {
        let t = (low + high) / 2.0;
        if student_within(t, degrees) < confidence { low = t } else { high = t }
    }
    Ok((low + high) / 2.0)
}

/// P(|T| <= t), by the finite series for whole degrees of freedom (Abramowitz and Stegun 26.7.3 and 26.7.4).
fn student_within(t: f64, degrees: f64) -> f64 {
    let angle = (t / degrees.sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let odd = degrees as u64 % 2 == 1;
    // Terms 1, 1/2 cos^2, 1*3/(2*4) cos^4, ... if even; cos, 2/3 cos^3, 2*4/(3*5) cos^5, ... if odd; up to cos^(degrees - 2).
    let (mut term, mut power) = if odd { (cosine, 1.0) } else { (1.0, 0.0) };
    let mut sum = 0.0;
    while power <= degrees - 2.0 {
        sum += term;
        term *= (power + 1.0) / (power + 2.0) * cosine * cosine;
        power += 2.0;
    }
    if odd { std::f64::consts::FRAC_2_PI * (angle + sine * sum) } else { sine * sum }
}

/// P(X <= k) for X ~ Binomial(n, p), 0 < p < 1.
pub(crate) fn cumulative(k: usize, n: usize, p: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    // The terms of the tail without the mode decrease from the first on; the other tail is one minus it.
    if (k as f64) < (n as f64) * p {
        tail(k, n, p)
    } else {
        // P(X >= k + 1) is P(n - X <= n - k - 1), with n - X ~ Binomial(n, 1 - p).
        1.0 - tail(n - k - 1, n, 1.0 - p)
    }
}

/// P(X <= k) summed from k downwards; for k below the mean.
fn tail(k: usize, n: usize, p: f64) -> f64 {
    let (nf, kf) = (n as f64, k as f64);
    let log_choose = libm::lgamma(nf + 1.0) - libm::lgamma(kf + 1.0) - libm::lgamma(nf - kf + 1.0);
    let first = (log_choose + kf * p.ln() + (nf - kf) * (-p).ln_1p()).exp();
    let (mut term, mut sum) = (1.0, 1.0);
    for i in (1..=k).rev() {
        let i = i as f64;
        term *= i / (nf - i + 1.0) * ((1.0 - p) / p);
        sum += term;
        if term < sum * 1e-17 {
            break;
        }
    }
    (first * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use approx::{abs_diff_eq, assert_abs_diff_eq, relative_eq};

    use super::*;

    #[test]
    fn cumulative_equals_the_sum_by_hand() {
        for n in 1..=30usize {
            for p in [0.05, 0.3, 0.5, 0.9] {
                let mut choose = 1.0;
                let mut sum = 0.0;
                for k in 0..=n {
                    sum += choose * f64::powi(p, k as i32) * f64::powi(1.0 - p, (n - k) as i32);
                    choose = choose * (n - k) as f64 / (k + 1) as f64;
                    assert!(abs_diff_eq!(cumulative(k, n, p), sum, epsilon = 1e-13), "{k} of {n} at {p}");
                }
            }
        }
    }

    #[test]
    fn cumulative_equals_scipy() {
        // Printed by tests/golden/binomial.py.
        for line in include_str!("../tests/golden/binomial.csv").lines().skip(1) {
            let v: Vec<f64> = line.split(',').map(|x| x.parse().unwrap()).collect();
            let ours = cumulative(v[0] as usize, v[1] as usize, v[2]);
            assert!(relative_eq!(ours, v[3], epsilon = 1e-300, max_relative = 1e-8), "{line}: {ours}");
        }
    }

    #[test]
    fn students_quantiles_are_those_of_the_tables() {
        // scipy.stats.t.ppf(0.975, degrees), at 0.95 for the last.
        for (degrees, confidence, expected) in [
            (1.0, 0.95, 12.706_204_736_174_698),
            (2.0, 0.95, 4.302_652_729_749_462),
            (5.0, 0.95, 2.570_581_835_636_197),
            (10.0, 0.95, 2.228_138_851_986_274),
            (99.0, 0.95, 1.984_216_951_508_657),
            (1000.0, 0.95, 1.962_339_080_817_748),
            (5000.0, 0.95, 1.960_438_611_398_1),
            (7.0, 0.90, 1.894_578_605_061_305),
        ] {
            let t = student_two_sided(confidence, degrees).unwrap();
            assert!(abs_diff_eq!(t, expected, epsilon = 1e-6), "{degrees}: {t}");
        }
    }

    #[test]
    fn wilson_by_hand() {
        // 8 of 10 at 95 %: the textbook (0.4901625, 0.9433178).
        let i = Proportion { count: 8, of: 10 }.wilson(0.95).unwrap().unwrap();
        assert_abs_diff_eq!(i.low, 0.490_162_5, epsilon = 1e-6);
        assert_abs_diff_eq!(i.high, 0.943_317_8, epsilon = 1e-6);
        let all = Proportion { count: 10, of: 10 }.wilson(0.95).unwrap().unwrap();
        assert_abs_diff_eq!(all.high, 1.0, epsilon = 1e-15);
        assert_abs_diff_eq!(all.low, 0.722_467_2, epsilon = 1e-6);
        assert_eq!(Proportion::default().wilson(0.95).unwrap(), None);
        assert_abs_diff_eq!(normal_two_sided(0.95).unwrap(), 1.959_963_984_540_054, epsilon = 1e-12);
        for bad in [0.0, 1.0, f64::NAN] {
            assert!(Proportion::default().wilson(bad).is_err());
        }
    }
}
