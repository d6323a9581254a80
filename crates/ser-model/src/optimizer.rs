//! AdamW over named parameters, with gradient clipping.

use ser_libtorch::AdamWStep;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::{ModelError, Scheduler};

/// How weights are moved, under transformers' names. `Default` = the paper's reward model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingSettings {
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Decay of Adam's first moment.
    pub adam_beta1: f64,
    /// Decay of Adam's second moment.
    pub adam_beta2: f64,
    /// Adam's epsilon.
    pub adam_epsilon: f64,
    /// The learning rate's course.
    pub scheduler: Scheduler,
    /// Steps of linear rise at the start.
    pub warmup_steps: u64,
    /// Times through the data.
    pub epochs: u32,
    /// Examples (pairs or texts) in a batch.
    pub batch_size: usize,
    /// Batches per optimizer step.
    pub gradient_accumulation: usize,
    /// Gradients are scaled down to this norm; none if not given.
    pub max_grad_norm: Option<f64>,
}

impl Default for TrainingSettings {
    fn default() -> Self {
        TrainingSettings {
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
        }
    }
}

impl TrainingSettings {
    /// Refuses settings that mean nothing.
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
        ] {
            if count == 0 {
                return bad(name, count.to_string(), "it must be at least 1");
            }
        }
        Ok(())
    }

    /// Batches of an epoch over `examples`, and optimizer steps over all epochs.
    pub(crate) fn steps(&self, examples: usize) -> (usize, u64) {
        let batches = examples.div_ceil(self.batch_size);
        (batches, batches.div_ceil(self.gradient_accumulation) as u64 * u64::from(self.epochs))
    }
}

/// AdamW and its state for a fixed list of f32 leaves.
pub(crate) struct AdamW {
    params: Vec<Tensor>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
    counts: Vec<Tensor>,
    steps: u64,
}

impl AdamW {
    /// Starts with no moments. Every parameter is made to require its gradient.
    pub(crate) fn new(params: Vec<Tensor>) -> Result<Self, ModelError> {
        let zeros = |list: &[Tensor]| list.iter().map(|p| p.f_zeros_like()).collect::<Result<Vec<_>, _>>();
        let params = params.into_iter().map(|p| p.f_set_requires_grad(true)).collect::<Result<Vec<_>, _>>()?;
        let (first, second) = tch::no_grad(|| Ok::<_, tch::TchError>((zeros(&params)?, zeros(&params)?)))?;
        let counts =
            params.iter().map(|p| Tensor::f_zeros([], (Kind::Float, p.device()))).collect::<Result<Vec<_>, _>>()?;
        Ok(AdamW { params, first, second, counts, steps: 0 })
    }

    pub(crate) fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// One step along the gradients gathered in the leaves, which are then emptied. Returns the gradients' norm
    /// before clipping.
    pub(crate) fn step(&mut self, settings: &TrainingSettings, learning_rate: f64) -> Result<f64, ModelError> {
        tch::no_grad(|| {
            let mut grads = Vec::with_capacity(self.params.len());
            for param in &self.params {
                let grad = param.f_grad()?;
                grads.push(if grad.defined() { grad } else { param.f_zeros_like()? });
            }
            let norms = grads.iter().map(|g| g.f_norm()).collect::<Result<Vec<_>, _>>()?;
            let norm = Tensor::f_stack(&norms, 0)?.f_norm()?.f_double_value(&[])?;
            self.steps += 1;
            if !norm.is_finite() {
                return Err(ModelError::Diverged {
                    step: self.steps,
                    what: "the gradient's norm",
                    value: norm,
                    learning_rate,
                });
            }
            if let Some(limit) = settings.max_grad_norm.filter(|&limit| norm > limit) {
                for grad in &mut grads {
                    // PyTorch's clip_grad_norm_ has this 1e-6 too.
                    let _ = grad.f_mul_scalar_(limit / (norm + 1e-6))?;
                }
            }
            for count in &mut self.counts {
                let _ = count.f_add_scalar_(1.0)?;
            }
            ser_libtorch::fused_adamw(
                &self.params,
                &grads,
                &self.first,
                &self.second,
                &self.counts,
                AdamWStep {
                    learning_rate,
                    beta1: settings.adam_beta1,
                    beta2: settings.adam_beta2,
                    weight_decay: settings.weight_decay,
                    epsilon: settings.adam_epsilon,
                },
            )?;
            for param in &mut self.params {
                param.zero_grad();
            }
            Ok(norm)
        })
    }
}
