//! Loss, entropy and accuracy on the tokens that carry loss.

use ser_data::plan_batches;
use serde::{Deserialize, Serialize};
use tch::Kind;

use super::example::CausalExample;
use crate::ModelError;
use crate::language_model::{CausalLm, ForwardOptions};
use crate::network::TokenLogProbs;
use crate::train::Metrics;

/// Sums over the tokens that carry loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenMetrics {
    tokens: f64,
    loss: f64,
    entropy: f64,
    correct: f64,
}

impl TokenMetrics {
    /// Mean loss, entropy in nats and accuracy, under these names.
    pub(crate) fn named(&self, [loss, entropy, accuracy]: [&'static str; 3]) -> [(&'static str, f64); 3] {
        let mean = |sum: f64| sum / self.tokens;
        [(loss, mean(self.loss)), (entropy, mean(self.entropy)), (accuracy, mean(self.correct))]
    }
}

impl From<[f64; 4]> for TokenMetrics {
    fn from([tokens, loss, entropy, correct]: [f64; 4]) -> Self {
        TokenMetrics { tokens, loss, entropy, correct }
    }
}

impl From<TokenMetrics> for [f64; 4] {
    fn from(metrics: TokenMetrics) -> Self {
        [metrics.tokens, metrics.loss, metrics.entropy, metrics.correct]
    }
}

impl Metrics for TokenMetrics {
    fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.loss += other.loss;
        self.entropy += other.entropy;
        self.correct += other.correct;
    }

    /// Means per token.
    fn means(&self) -> (f64, f64) {
        (self.loss / self.tokens, self.correct / self.tokens)
    }

    fn values(&self) -> Vec<(&'static str, f64)> {
        self.named(["loss", "entropy", "mean_token_accuracy"]).to_vec()
    }
}

impl CausalLm {
    /// Splits texts into batches of one forward pass each, in order.
    pub(crate) fn token_batches<'t>(&self, texts: &[&'t CausalExample]) -> Vec<Vec<&'t CausalExample>> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
        let plan = plan_batches(&lengths, self.settings.token_budget);
        plan.iter().map(|part| part.iter().filter_map(|&i| texts.get(i).copied()).collect()).collect()
    }

    /// Metrics of the tokens that carry loss. With `weight`, the sum of their losses times `weight` is back-propagated.
    pub(crate) fn token_metrics(
        &self,
        texts: &[&CausalExample],
        weight: Option<f64>,
        options: ForwardOptions<'_>,
    ) -> Result<TokenMetrics, ModelError> {
        let texts: Vec<_> = texts.iter().map(|text| (text.tokens.as_slice(), text.loss_positions())).collect();
        let rows = self.answer_rows(texts, options)?;
        let logits = self.network.logits(&rows.hidden)?;
        let predictions = TokenLogProbs::new(&logits, &rows.targets)?;
        let loss = predictions.log_probs.f_sum(Kind::Float)?.f_neg()?;
        if let Some(weight) = weight {
            loss.f_mul_scalar(weight)?.f_backward()?;
        }
        let metrics = tch::no_grad(|| -> Result<TokenMetrics, ModelError> {
            let right = logits.f_argmax(-1, false)?.f_eq_tensor(&rows.targets)?.f_sum(Kind::Int64)?;
            Ok(TokenMetrics {
                tokens: rows.targets.numel() as f64,
                loss: loss.f_double_value(&[])?,
                entropy: predictions.entropies()?.f_sum(Kind::Double)?.f_double_value(&[])?,
                correct: right.f_double_value(&[])?,
            })
        })?;
        if weight.is_some() {
            rows.finish()?;
        }
        Ok(metrics)
    }
}
