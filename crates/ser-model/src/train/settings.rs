//! The settings of a training.

use ser_core::Saving;
use serde::{Deserialize, Serialize};

use super::adafactor::AdafactorSettings;
use super::schedule::Scheduler;
use crate::ModelError;

/// The optimizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optim {
    /// AdamW (Loshchilov and Hutter, 2019).
    #[default]
    AdamW,
    /// Adafactor (Shazeer and Stern, 2018): one number per row and column instead of Adam's two per weight.
    Adafactor,
}

/// Optimizer, schedule, batches and checkpoints of a training, under transformers' names. `Default` = the paper's reward
/// model.
///
/// An optimizer step takes `batch_size * gradient_accumulation` examples. Its gradient is one mean over all of them
/// (in SFT over all their tokens that carry loss), whatever the batches and forward passes are. The last step of an epoch
/// may have fewer examples; its mean is over those.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingSettings {
    /// The optimizer.
    pub optim: Optim,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay, not applied to biases and norms (as in transformers' Trainer).
    pub weight_decay: f64,
    /// Decay of Adam's first moment.
    pub adam_beta1: f64,
    /// Decay of Adam's second moment.
    pub adam_beta2: f64,
    /// Adam's epsilon.
    pub adam_epsilon: f64,
    /// How the learning rate changes over the training.
    pub scheduler: Scheduler,
    /// Steps at the start in which the learning rate rises linearly.
    pub warmup_steps: u64,
    /// Passes over the data.
    pub epochs: u32,
    /// Examples (pairs or texts) in a batch.
    pub batch_size: usize,
    /// Batches per optimizer step.
    pub gradient_accumulation: usize,
    /// Gradients with a larger norm are scaled down to this norm; `None` for no clipping.
    pub max_grad_norm: Option<f64>,
    /// Gradient checkpointing: the forward pass stores only the input of each layer, and the backward pass computes the layer
    /// again. It needs less memory and about a third more time. The gradients are the same.
    pub gradient_checkpointing: bool,
    /// Options of Adafactor.
    pub adafactor: AdafactorSettings,
    /// Write a checkpoint every so many optimizer steps. A stopped or killed training resumes from the last one.
    pub save_steps: u64,
    /// The largest number of checkpoints kept; the oldest is removed first. All are removed once the result is saved.
    pub save_total_limit: usize,
}

impl Default for TrainingSettings {
    fn default() -> Self {
        TrainingSettings {
            optim: Optim::default(),
            learning_rate: 2e-5,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            scheduler: Scheduler::Linear,
            warmup_steps: 0,
            epochs: 2,
            batch_size: 4,
            gradient_accumulation: 1,
            max_grad_norm: Some(1.0),
            gradient_checkpointing: false,
            adafactor: AdafactorSettings::default(),
            save_steps: Saving::default().save_steps,
            save_total_limit: Saving::default().save_total_limit,
        }
    }
}

impl TrainingSettings {
    /// Checks the values.
    pub fn check(&self) -> Result<(), ModelError> {
        let bad = |name, value: String, expected| Err(ModelError::Setting { name, value, expected });
        if !(self.learning_rate.is_finite() && self.learning_rate >= 0.0) {
            return bad("training.learning_rate", self.learning_rate.to_string(), "it must be at least 0");
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0) {
            return bad("training.weight_decay", self.weight_decay.to_string(), "it must be at least 0");
        }
        for (name, beta) in [("training.adam_beta1", self.adam_beta1), ("training.adam_beta2", self.adam_beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return bad(name, beta.to_string(), "it must be from 0 up to, not including, 1");
            }
        }
        if !(self.adam_epsilon.is_finite() && self.adam_epsilon > 0.0) {
            return bad("training.adam_epsilon", self.adam_epsilon.to_string(), "it must be over 0");
        }
        if self.max_grad_norm.is_some_and(|n| !(n.is_finite() && n > 0.0)) {
            return bad("training.max_grad_norm", format!("{:?}", self.max_grad_norm), "it must be over 0");
        }
        for (name, count) in [
            ("training.epochs", self.epochs as usize),
            ("training.batch_size", self.batch_size),
            ("training.gradient_accumulation", self.gradient_accumulation),
            ("training.save_steps", usize::from(self.save_steps > 0)),
            ("training.save_total_limit", self.save_total_limit),
        ] {
            if count == 0 {
                return bad(name, count.to_string(), "it must be at least 1");
            }
        }
        Ok(())
    }

    /// Examples of an optimizer step.
    pub(crate) fn examples_per_step(&self) -> usize {
        self.batch_size.saturating_mul(self.gradient_accumulation)
    }

    /// Optimizer steps of an epoch over `examples`.
    pub(crate) fn steps_per_epoch(&self, examples: usize) -> u64 {
        examples.div_ceil(self.examples_per_step()) as u64
    }

    /// The interval of checkpoints and the number kept.
    pub(crate) fn saving(&self) -> Saving {
        Saving { save_steps: self.save_steps, save_total_limit: self.save_total_limit }
    }
}
