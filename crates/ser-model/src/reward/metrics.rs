//! Metrics of a training on pairs, under TRL's names.

use serde::{Deserialize, Serialize};

use crate::train::Metrics;

/// Sums over pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairMetrics {
    pairs: f64,
    /// The sum of weight times loss.
    loss: f64,
    correct: f64,
    margin: f64,
    reward: f64,
    /// The lowest and the highest score; `None` without pairs.
    range: Option<(f64, f64)>,
}

impl PairMetrics {
    /// Metrics of pairs with the [preferred, other] scores `scores`, where `loss` is the sum of weight times loss.
    pub(super) fn new(loss: f64, scores: impl Iterator<Item = [f64; 2]>) -> Self {
        let mut metrics = PairMetrics { loss, ..Self::default() };
        for [preferred, other] in scores {
            metrics.pairs += 1.0;
            metrics.correct += f64::from(u8::from(preferred > other));
            metrics.margin += preferred - other;
            metrics.reward += preferred + other;
            let (low, high) = metrics.range.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
            metrics.range = Some((low.min(preferred).min(other), high.max(preferred).max(other)));
        }
        metrics
    }
}

impl Metrics for PairMetrics {
    fn add(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.loss += other.loss;
        self.correct += other.correct;
        self.margin += other.margin;
        self.reward += other.reward;
        self.range = match (self.range, other.range) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, None) | (None, one) => one,
        };
    }

    fn means(&self) -> (f64, f64) {
        (self.loss / self.pairs, self.correct / self.pairs)
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        let (loss, accuracy) = self.means();
        let (min, max) = self.range.unwrap_or((f64::NAN, f64::NAN));
        vec![
            ("loss", loss),
            ("accuracy", accuracy),
            ("margin", self.margin / self.pairs),
            ("min_reward", min),
            ("mean_reward", self.reward / (2.0 * self.pairs)),
            ("max_reward", max),
        ]
    }
}
