//! Intervals from resampling.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution};
use serde::{Deserialize, Serialize};

use crate::EvalError;

/// The fewest resamples whose percentiles mean something.
const LEAST_RESAMPLES: u32 = 100;

/// A measured figure with the ends of its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// The interval's lower end.
    pub low: f64,
    /// The interval's upper end.
    pub high: f64,
    /// Pairs it was measured on.
    pub pairs: u64,
}

/// The percentile bootstrap, seeded: the same settings and outcomes give the same interval.
///
/// Outcomes here are right or wrong, so a resample of n of them is fully described by its counts, which are
/// binomial (multinomial for a paired difference). The counts are drawn directly: the distribution is the
/// bootstrap's own, and the cost does not grow with n.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bootstrap {
    /// Resamples drawn, at least 100.
    pub resamples: u32,
    /// Share of the resamples inside the interval.
    pub confidence: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap { resamples: 2000, confidence: 0.95, seed: 0 }
    }
}

impl Bootstrap {
    /// Whether the settings make sense.
    pub fn check(&self) -> Result<(), EvalError> {
        if self.resamples < LEAST_RESAMPLES {
            return Err(EvalError::TooFewResamples { resamples: self.resamples, least: LEAST_RESAMPLES });
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(EvalError::BadConfidence { confidence: self.confidence });
        }
        Ok(())
    }

    /// The share of successes, with its interval.
    ///
    /// Where all outcomes are alike no resample differs and the percentiles coincide; the interval's free end is
    /// then Clopper and Pearson's, which has a closed form there.
    pub fn proportion(&self, successes: u64, trials: u64) -> Result<Estimate, EvalError> {
        self.check()?;
        if trials == 0 {
            return Err(EvalError::Empty { what: "a proportion" });
        }
        if successes > trials {
            return Err(EvalError::MoreSuccessesThanTrials { successes, trials });
        }
        let n = trials as f64;
        let value = successes as f64 / n;
        let free_end = self.tail().powf(1.0 / n);
        let (low, high) = match successes {
            0 => (0.0, 1.0 - free_end),
            s if s == trials => (free_end, 1.0),
            _ => {
                let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
                self.percentiles((0..self.resamples).map(|_| binomial(trials, value, &mut rng) as f64 / n).collect())
            }
        };
        Ok(Estimate { value, low, high, pairs: trials })
    }

    /// The share of `true`, with its interval.
    pub fn accuracy(&self, correct: &[bool]) -> Result<Estimate, EvalError> {
        self.proportion(count(correct.iter().copied()), correct.len() as u64)
    }

    /// The accuracy of a model minus a baseline's on the same pairs, with its interval (paired bootstrap: whole
    /// pairs are resampled, so what both models find easy or hard cancels).
    pub fn difference(&self, model: &[bool], baseline: &[bool]) -> Result<Estimate, EvalError> {
        self.check()?;
        if model.len() != baseline.len() {
            return Err(EvalError::LengthMismatch {
                left_name: "the model's outcomes",
                left: model.len(),
                right_name: "the baseline's outcomes",
                right: baseline.len(),
            });
        }
        let trials = model.len() as u64;
        if trials == 0 {
            return Err(EvalError::Empty { what: "a difference of accuracies" });
        }
        let n = trials as f64;
        let wins = count(model.iter().zip(baseline).map(|(&m, &b)| m && !b));
        let losses = count(model.iter().zip(baseline).map(|(&m, &b)| !m && b));
        // A multinomial as two binomials: wins of all, then losses of what is not a win.
        let win_rate = wins as f64 / n;
        let loss_rate = if wins == trials { 0.0 } else { losses as f64 / (trials - wins) as f64 };
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let draws = (0..self.resamples).map(|_| {
            let won = binomial(trials, win_rate, &mut rng);
            let lost = binomial(trials - won, loss_rate, &mut rng);
            (won as f64 - lost as f64) / n
        });
        let (low, high) = self.percentiles(draws.collect());
        Ok(Estimate { value: (wins as f64 - losses as f64) / n, low, high, pairs: trials })
    }

    /// The share of the resamples beyond either end of the interval.
    pub(crate) fn tail(&self) -> f64 {
        (1.0 - self.confidence) / 2.0
    }

    /// The ends of the central share `confidence` of the draws, interpolated linearly between neighbours.
    pub(crate) fn percentiles(&self, mut draws: Vec<f64>) -> (f64, f64) {
        draws.sort_by(f64::total_cmp);
        (quantile(&draws, self.tail()), quantile(&draws, 1.0 - self.tail()))
    }
}

fn count(outcomes: impl Iterator<Item = bool>) -> u64 {
    outcomes.map(u64::from).sum()
}

/// A binomial draw; `p` is a ratio of counts, so the distribution always exists.
pub(crate) fn binomial(n: u64, p: f64, rng: &mut ChaCha8Rng) -> u64 {
    Binomial::new(n, p.clamp(0.0, 1.0)).map_or(0, |b| b.sample(rng))
}

/// The quantile `q` of sorted values (type 7 of Hyndman and Fan, NumPy's default); 0 of none.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * sorted.len().saturating_sub(1) as f64;
    let below = sorted.get(place.floor() as usize).copied().unwrap_or(0.0);
    let above = sorted.get(place.ceil() as usize).copied().unwrap_or(below);
    below + (above - below) * place.fract()
}
