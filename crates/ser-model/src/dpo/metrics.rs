//! Metrics of DPO, under TRL's names.

use serde::{Deserialize, Serialize};

use crate::train::Metrics;

/// Sums over pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DpoMetrics {
    pairs: f64,
    /// The sum of weight times loss.
    loss: f64,
    /// Sums of beta times the log-ratios of [chosen, rejected].
    rewards: [f64; 2],
    correct: f64,
    /// Sums of the log-probabilities of [chosen, rejected].
    log_probs: [f64; 2],
}

impl DpoMetrics {
    /// Metrics of pairs with the given [chosen, rejected] log-probabilities and log-ratios, where `loss` is the sum of
    /// weight times loss.
    pub(super) fn new(loss: f64, log_probs: &[[f64; 2]], ratios: &[[f64; 2]], beta: f64) -> Self {
        let sum = |all: &[[f64; 2]], side: usize| all.iter().filter_map(|pair| pair.get(side)).sum::<f64>();
        DpoMetrics {
            pairs: ratios.len() as f64,
            loss,
            rewards: [0, 1].map(|side| beta * sum(ratios, side)),
            correct: ratios.iter().map(|[chosen, rejected]| f64::from(u8::from(chosen > rejected))).sum(),
            log_probs: [0, 1].map(|side| sum(log_probs, side)),
        }
    }
}

impl Metrics for DpoMetrics {
    fn add(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.loss += other.loss;
        self.correct += other.correct;
        self.rewards.iter_mut().zip(other.rewards).for_each(|(sum, more)| *sum += more);
        self.log_probs.iter_mut().zip(other.log_probs).for_each(|(sum, more)| *sum += more);
    }

    fn means(&self) -> (f64, f64) {
        (self.loss / self.pairs, self.correct / self.pairs)
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        let (loss, accuracy) = self.means();
        let [chosen, rejected] = self.rewards.map(|sum| sum / self.pairs);
        let [logps_chosen, logps_rejected] = self.log_probs.map(|sum| sum / self.pairs);
        vec![
            ("loss", loss),
            ("rewards/chosen", chosen),
            ("rewards/rejected", rejected),
            ("rewards/accuracies", accuracy),
            ("rewards/margins", chosen - rejected),
            ("logps/chosen", logps_chosen),
            ("logps/rejected", logps_rejected),
        ]
    }
}
