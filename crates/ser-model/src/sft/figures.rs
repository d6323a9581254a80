//! Loss on the tokens of answers, and what goes with it.

use ser_core::FitSummary;
use ser_data::plan_batches;
use serde::{Deserialize, Serialize};
use tch::Kind;

use crate::kernels::Foretold;
use crate::seeds::Seeds;
use crate::{CausalExample, CausalLm, ModelError};

/// Sums over the tokens that carry loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    tokens: f64,
    loss: f64,
    entropy: f64,
    correct: f64,
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Figures) {
        self.tokens += other.tokens;
        self.loss += other.loss;
        self.entropy += other.entropy;
        self.correct += other.correct;
    }

    /// Mean loss per token.
    pub(crate) fn loss(&self) -> f64 {
        self.loss / self.tokens
    }

    /// Mean loss, entropy in nats and share of tokens predicted right, under these names.
    pub(crate) fn values(&self, [loss, entropy, accuracy]: [&'static str; 3]) -> [(&'static str, f64); 3] {
        let mean = |sum: f64| sum / self.tokens;
        [(loss, mean(self.loss)), (entropy, mean(self.entropy)), (accuracy, mean(self.correct))]
    }
}

/// How far a training has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress {
    pub(crate) step: u64,
    pub(crate) num_tokens: u64,
    /// Of the epoch that runs, or of the last one.
    epoch: Figures,
}

impl Progress {
    /// After a step.
    pub(crate) fn add(&mut self, figures: &Figures, num_tokens: u64, steps_per_epoch: u64) {
        if self.step.is_multiple_of(steps_per_epoch) {
            self.epoch = Figures::default();
        }
        self.step += 1;
        self.num_tokens += num_tokens;
        self.epoch.add(figures);
    }

    pub(crate) fn summary(&self) -> FitSummary {
        let Figures { tokens, loss, correct, .. } = self.epoch;
        FitSummary { steps: self.step, loss: loss / tokens, accuracy: correct / tokens }
    }
}

impl CausalLm {
    /// Texts in portions that one forward takes, in their order.
    pub(crate) fn portions<'t>(&self, texts: &[&'t CausalExample]) -> Vec<Vec<&'t CausalExample>> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
        let plan = plan_batches(&lengths, self.settings.token_budget);
        plan.iter().map(|part| part.iter().filter_map(|&i| texts.get(i).copied()).collect()).collect()
    }

    /// Loss on the tokens of texts that carry it; with `weight`, that times the loss's sum goes backward.
    pub(crate) fn answer_figures(
        &self,
        texts: &[&CausalExample],
        weight: Option<f64>,
        dropout: Option<&Seeds>,
    ) -> Result<Figures, ModelError> {
        let texts: Vec<_> = texts.iter().map(|text| (text.tokens.as_slice(), text.places())).collect();
        let rows = self.answer_rows(texts, dropout)?;
        let logits = self.network.logits(&rows.hidden)?;
        let foretold = Foretold::new(&logits, &rows.targets)?;
        let loss = foretold.log_probs.f_sum(Kind::Float)?.f_neg()?;
        if let Some(weight) = weight {
            loss.f_mul_scalar(weight)?.f_backward()?;
        }
        tch::no_grad(|| {
            let right = logits.f_argmax(-1, false)?.f_eq_tensor(&rows.targets)?.f_sum(Kind::Int64)?;
            Ok(Figures {
                tokens: rows.targets.numel() as f64,
                loss: loss.f_double_value(&[])?,
                entropy: foretold.entropies()?.f_sum(Kind::Double)?.f_double_value(&[])?,
                correct: right.f_double_value(&[])?,
            })
        })
    }
}
