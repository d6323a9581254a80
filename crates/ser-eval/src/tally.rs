//! Outcomes counted per cluster.

use std::collections::BTreeMap;

use rand_chacha::ChaCha8Rng;
use rand_distr::{Binomial, Distribution};
use ser_core::{ClusterIndex, Clusters};

use crate::EvalError;

/// The values of integer outcomes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// The value of outcome 1.
    unit: f64,
    /// The smallest possible value.
    pub(crate) least: f64,
    /// The largest possible value.
    pub(crate) greatest: f64,
}

impl Scale {
    /// 0 or 1.
    pub(crate) const SHARE: Scale = Scale { unit: 1.0, least: 0.0, greatest: 1.0 };
    /// -1, 0 or 1.
    pub(crate) const DIFFERENCE: Scale = Scale { unit: 1.0, least: -1.0, greatest: 1.0 };
    /// The number of parts of 1 in [`SHARE_IN_PARTS`](Self::SHARE_IN_PARTS), a multiple of all numbers to 10.
    pub(crate) const PARTS: i64 = 2520;
    /// 0 to `PARTS` parts of 1.
    pub(crate) const SHARE_IN_PARTS: Scale = Scale { unit: 1.0 / Self::PARTS as f64, least: 0.0, greatest: 1.0 };
    /// 0, 1 or 2 halves.
    pub(crate) const HALVES: Scale = Scale { unit: 0.5, least: 0.0, greatest: 1.0 };

    /// The mean of outcomes with this sum.
    pub(crate) fn mean(&self, sum: i64, pairs: u64) -> f64 {
        self.unit * sum as f64 / pairs as f64
    }
}

/// Clusters grouped by kind: their number of pairs and their sum of outcomes.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    kinds: BTreeMap<(u64, i64), u64>,
    pub(crate) clusters: u64,
    pub(crate) pairs: u64,
    pub(crate) sum: i64,
}

impl Tally {
    /// Counts outcomes, one per pair.
    pub(crate) fn new(outcomes: &[i64], clusters: Clusters<'_>) -> Result<Self, EvalError> {
        let index = cluster_index(outcomes.len(), clusters)?;
        let mut sums = vec![(0u64, 0i64); index.count];
        for (&cluster, outcome) in index.of_pair.iter().zip(outcomes) {
            if let Some((size, sum)) = sums.get_mut(cluster) {
                *size += 1;
                *sum += outcome;
            }
        }
        let mut kinds = BTreeMap::new();
        for kind in sums {
            *kinds.entry(kind).or_insert(0) += 1;
        }
        Ok(Tally { kinds, clusters: index.count as u64, pairs: outcomes.len() as u64, sum: outcomes.iter().sum() })
    }

    /// Independent trials, `successes` of them with outcome 1 and the others with 0.
    pub(crate) fn of_trials(successes: u64, trials: u64) -> Self {
        let kinds = [((1, 0), trials.saturating_sub(successes)), ((1, 1), successes)];
        let kinds = kinds.into_iter().filter(|(_, count)| *count > 0).collect();
        Tally { kinds, clusters: trials, pairs: trials, sum: successes as i64 }
    }

    /// Whether all clusters have the same mean outcome.
    pub(crate) fn alike(&self) -> bool {
        let mean = |sum: i64, pairs: u64| i128::from(sum) * i128::from(pairs);
        self.kinds.keys().all(|&(size, sum)| mean(sum, self.pairs) == mean(self.sum, size))
    }

    /// Draws one cluster less than there are, with replacement: the sum of their outcomes and the number of their
    /// pairs.
    pub(crate) fn resample(&self, rng: &mut ChaCha8Rng) -> (i64, u64) {
        // A multinomial as binomials: each kind gets its share of the remaining draws.
        let (mut to_draw, mut clusters) = (self.clusters.saturating_sub(1), self.clusters);
        let (mut total, mut pairs) = (0, 0);
        for (&(size, sum), &count) in &self.kinds {
            let drawn = binomial(to_draw, count as f64 / clusters.max(1) as f64, rng);
            to_draw -= drawn;
            clusters -= count;
            total += sum * drawn as i64;
            pairs += size * drawn;
        }
        (total, pairs)
    }
}

/// Draws from a binomial; `p` is a ratio of counts, so the distribution always exists.
fn binomial(n: u64, p: f64, rng: &mut ChaCha8Rng) -> u64 {
    Binomial::new(n, p.clamp(0.0, 1.0)).map_or(0, |b| b.sample(rng))
}

/// The cluster index of this number of pairs.
pub(crate) fn cluster_index(pairs: usize, clusters: Clusters<'_>) -> Result<ClusterIndex, EvalError> {
    match clusters.ids() {
        Some(ids) if ids != pairs => Err(EvalError::LengthMismatch {
            left_name: "the outcomes",
            left: pairs,
            right_name: "the cluster ids",
            right: ids,
        }),
        _ => Ok(clusters.index(0..pairs)),
    }
}
