//! Metrics of a training on pairs, under TRL's names.

use serde::{Deserialize, Serialize};

use crate::train::Metrics;

/// Sums over pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct PairMetrics {
    pairs: f64,
    /// Of weight times loss.
    loss: f64,
    correct: f64,
    margin: f64,
    reward: f64,
    /// The lowest and the highest score.
    range: Option<(f64, f64)>,
}

impl PairMetrics {
    /// Of pairs with [preferred, other] scores and the sum `loss` of weight times loss.
    pub(super) fn of(loss: f64, scores: &[[f64; 2]]) -> Self {
        let mut metrics = PairMetrics { loss, pairs: scores.len() as f64, ..Self::default() };
        for &[preferred, other] in scores {
            metrics.correct += f64::from(u8::from(preferred > other));
            metrics.margin += preferred - other;
            metrics.reward += preferred + other;
            let (low, high) = metrics.range.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
            metrics.range = Some((low.min(preferred).min(other), high.max(preferred).max(other)));
        }
        metrics
    }

    /// Mean loss and accuracy over pairs.
    pub(super) fn means(&self) -> (f64, f64) {
        (self.loss / self.pairs, self.correct / self.pairs)
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

    fn loss(&self) -> f64 {
        self.means().0
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
