//! Bootstrap confidence intervals.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use ser_core::Clusters;
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::tally::{Scale, Tally};

/// Minimum number of resamples for meaningful percentiles.
const LEAST_RESAMPLES: u32 = 100;

/// A measured value with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
    /// Number of pairs.
    pub pairs: u64,
    /// Number of prompts of these pairs, the independent units of the interval; none if each pair has its own prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clusters: Option<u64>,
}

impl Estimate {
    /// Below this number of independent units, a sample is small: the standard error of an accuracy may exceed 5
    /// points.
    pub const SMALL_SAMPLE: u64 = 100;

    /// The number of independent units: prompts if pairs share them, otherwise pairs.
    pub fn independent_units(&self) -> u64 {
        self.clusters.unwrap_or(self.pairs)
    }

    /// Returns true if there are fewer than [`SMALL_SAMPLE`](Self::SMALL_SAMPLE) independent units.
    pub fn is_small_sample(&self) -> bool {
        self.independent_units() < Self::SMALL_SAMPLE
    }
}

/// Seeded percentile bootstrap over clusters: equal settings and outcomes give equal intervals.
///
/// Pairs of one prompt are not independent, so whole clusters are resampled (`ser_core::Clusters`): from `G` clusters
/// each resample draws `G - 1` with replacement, and its value is the sum of outcomes over the number of pairs. Drawing
/// `G - 1` makes the variance unbiased (Rao and Wu, 1988, J. Am. Stat. Assoc. 83). The interval is approximate:
/// it needs a few dozen clusters (see [`Estimate::is_small_sample`]).
///
/// A cluster enters through its size and its sum of outcomes, so a resample is given by the count of clusters of each
/// kind, which is multinomial. These counts are drawn directly; the cost does not depend on the number of pairs.
///
/// If all clusters have the same mean, all resamples are equal. An outcome that does not occur in `G` clusters may
/// still have a share of up to u = 1 - tail^(1/G) (Clopper and Pearson's bound). The interval is then widened as if
/// that share had the smallest and the largest possible outcome.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bootstrap {
    /// Number of resamples, at least 100.
    pub resamples: u32,
    /// Confidence level: share of the resamples inside the interval.
    pub confidence: f64,
    /// Seed of the resampling.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap { resamples: 2000, confidence: 0.95, seed: 0 }
    }
}

impl Bootstrap {
    /// Checks the settings.
    pub fn check(&self) -> Result<(), EvalError> {
        if self.resamples < LEAST_RESAMPLES {
            return Err(EvalError::TooFewResamples { resamples: self.resamples, least: LEAST_RESAMPLES });
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            return Err(EvalError::BadConfidence { confidence: self.confidence });
        }
        Ok(())
    }

    /// The share of successes in independent trials, with its interval. For pairs that may share prompts, use
    /// [`accuracy`](Self::accuracy).
    pub fn proportion(&self, successes: u64, trials: u64) -> Result<Estimate, EvalError> {
        if successes > trials {
            return Err(EvalError::MoreSuccessesThanTrials { successes, trials });
        }
        self.estimate(&Tally::of_trials(successes, trials), Scale::SHARE, "a proportion")
    }

    /// The share of `true`, with its interval. `correct` has one entry per pair.
    ///
    /// # Errors
    /// [`EvalError::LengthMismatch`] if `clusters` has a different number of pairs, [`EvalError::Empty`], and the
    /// errors of [`check`](Self::check).
    pub fn accuracy(&self, correct: &[bool], clusters: Clusters<'_>) -> Result<Estimate, EvalError> {
        let outcomes: Vec<i64> = correct.iter().map(|&right| i64::from(right)).collect();
        self.estimate(&Tally::new(&outcomes, clusters)?, Scale::SHARE, "a proportion")
    }

    /// A model's accuracy minus a baseline's on the same pairs, with its interval. The bootstrap is paired: both
    /// outcomes of a pair are resampled together, so the difficulty of the pairs cancels.
    ///
    /// # Errors
    /// Those of [`accuracy`](Self::accuracy).
    pub fn difference(&self, model: &[bool], baseline: &[bool], clusters: Clusters<'_>) -> Result<Estimate, EvalError> {
        if model.len() != baseline.len() {
            return Err(EvalError::LengthMismatch {
                left_name: "the model's outcomes",
                left: model.len(),
                right_name: "the baseline's outcomes",
                right: baseline.len(),
            });
        }
        let outcomes: Vec<i64> = model.iter().zip(baseline).map(|(&m, &b)| i64::from(m) - i64::from(b)).collect();
        self.estimate(&Tally::new(&outcomes, clusters)?, Scale::DIFFERENCE, "a difference of accuracies")
    }

    /// The mean outcome over pairs, with its interval over clusters.
    pub(crate) fn estimate(&self, tally: &Tally, scale: Scale, what: &'static str) -> Result<Estimate, EvalError> {
        self.check()?;
        if tally.pairs == 0 {
            return Err(EvalError::Empty { what });
        }
        let value = scale.mean(tally.sum, tally.pairs);
        let (low, high) = if tally.alike() {
            self.ends_where_all_are_alike(value, tally.clusters, scale)
        } else {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            let draws = (0..self.resamples).map(|_| {
                let (sum, pairs) = tally.resample(&mut rng);
                scale.mean(sum, pairs)
            });
            self.percentiles(draws.collect())
        };
        let clusters = (tally.clusters < tally.pairs).then_some(tally.clusters);
        Ok(Estimate { value, low: low.min(value), high: high.max(value), pairs: tally.pairs, clusters })
    }

    /// The interval of a value that is equal in all of `clusters` clusters.
    pub(crate) fn ends_where_all_are_alike(&self, value: f64, clusters: u64, scale: Scale) -> (f64, f64) {
        let seen = self.tail().powf(1.0 / clusters.max(1) as f64);
        let end = |outcome: f64| (value * seen + outcome * (1.0 - seen)).clamp(scale.least, scale.greatest);
        (end(scale.least), end(scale.greatest))
    }

    /// The share of the resamples beyond each end of the interval.
    fn tail(&self) -> f64 {
        (1.0 - self.confidence) / 2.0
    }

    /// The ends of the central share `confidence` of the draws, by linear interpolation.
    pub(crate) fn percentiles(&self, mut draws: Vec<f64>) -> (f64, f64) {
        draws.sort_by(f64::total_cmp);
        (quantile(&draws, self.tail()), quantile(&draws, 1.0 - self.tail()))
    }
}

/// The quantile `q` of sorted values (type 7 of Hyndman and Fan, NumPy's default); 0 for an empty slice.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let index = q * sorted.len().saturating_sub(1) as f64;
    let below = sorted.get(index.floor() as usize).copied().unwrap_or(0.0);
    let above = sorted.get(index.ceil() as usize).copied().unwrap_or(below);
    below + (above - below) * index.fract()
}
