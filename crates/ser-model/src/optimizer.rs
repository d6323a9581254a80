//! Training settings, and optimizers over f32 leaves, with gradient clipping.

use std::path::Path;

use ser_libtorch::AdamWStep;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::adafactor::{AdafactorSettings, Moments};
use crate::weights::Weights;
use crate::writer::save;
use crate::{ModelError, Scheduler};

/// The optimizers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Optim {
    /// AdamW (Loshchilov and Hutter, 2019).
    #[default]
    AdamW,
    /// Adafactor (Shazeer and Stern, 2018): one number per row and column in place of Adam's two per weight.
    Adafactor,
}

/// How weights are moved, under transformers' names. `Default` = the paper's reward model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingSettings {
    /// The optimizer.
    pub optim: Optim,
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
    /// Keeps each layer's input alone and computes the layer again on the way back: less memory, a third more time.
    pub gradient_checkpointing: bool,
    /// What Adafactor does beside.
    pub adafactor: AdafactorSettings,
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

/// An optimizer and its state for a fixed list of f32 leaves.
pub(crate) struct Optimizer {
    params: Vec<Tensor>,
    steps: u64,
    state: State,
}

enum State {
    AdamW { first: Vec<Tensor>, second: Vec<Tensor> },
    Adafactor(Vec<Moments>),
}

impl Optimizer {
    /// Starts with no moments. Every parameter is made to require its gradient.
    pub(crate) fn new(params: Vec<Tensor>, optim: Optim) -> Result<Self, ModelError> {
        let params = params.into_iter().map(|p| p.f_set_requires_grad(true)).collect::<Result<Vec<_>, _>>()?;
        let zeros = || params.iter().map(|p| p.f_detach()?.f_zeros_like()).collect::<Result<Vec<_>, _>>();
        let state = match optim {
            Optim::AdamW => State::AdamW { first: zeros()?, second: zeros()? },
            Optim::Adafactor => State::Adafactor(params.iter().map(Moments::new).collect::<Result<_, _>>()?),
        };
        Ok(Optimizer { params, steps: 0, state })
    }

    /// Steps taken.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    #[cfg(test)]
    pub(crate) fn params(&self) -> &[Tensor] {
        &self.params
    }

    /// One step along the gradients gathered in the leaves, which are then emptied. Returns the gradients' norm
    /// before clipping.
    pub(crate) fn step(&mut self, settings: &TrainingSettings, learning_rate: f64) -> Result<f64, ModelError> {
        tch::no_grad(|| {
            let (grads, norm) = self.gradients(settings.max_grad_norm)?;
            self.steps += 1;
            if !norm.is_finite() {
                return Err(ModelError::Diverged {
                    step: self.steps,
                    what: "the gradient's norm",
                    value: norm,
                    learning_rate,
                });
            }
            match &mut self.state {
                State::AdamW { first, second } => {
                    let counts = self
                        .params
                        .iter()
                        .map(|p| Tensor::f_full([], self.steps as f64, (Kind::Float, p.device())))
                        .collect::<Result<Vec<_>, _>>()?;
                    let step = AdamWStep {
                        learning_rate,
                        beta1: settings.adam_beta1,
                        beta2: settings.adam_beta2,
                        weight_decay: settings.weight_decay,
                        epsilon: settings.adam_epsilon,
                    };
                    let mut devices: Vec<tch::Device> = Vec::new();
                    for device in self.params.iter().map(Tensor::device) {
                        if !devices.contains(&device) {
                            devices.push(device);
                        }
                    }
                    for device in devices {
                        let here = |list: &[Tensor]| -> Vec<Tensor> {
                            list.iter().filter(|t| t.device() == device).map(Tensor::shallow_clone).collect()
                        };
                        let (params, grads, counts) = (here(&self.params), here(&grads), here(&counts));
                        ser_libtorch::fused_adamw(&params, &grads, &here(first), &here(second), &counts, step)?;
                    }
                }
                State::Adafactor(moments) => {
                    let weight_decay = settings.weight_decay;
                    for ((param, grad), moments) in self.params.iter().zip(&grads).zip(moments) {
                        moments.step(param, grad, self.steps, learning_rate, weight_decay, &settings.adafactor)?;
                    }
                }
            }
            for param in &mut self.params {
                param.zero_grad();
            }
            Ok(norm)
        })
    }

    /// Takes a loss scale out of the gathered gradients, if there is one, and tells it how that went: whether there is a
    /// step to be made.
    pub(crate) fn unscaled(&mut self, scale: Option<&mut LossScale>) -> Result<bool, ModelError> {
        let Some(scale) = scale else { return Ok(true) };
        let finite = self.unscale(scale.scale())?;
        scale.heard(finite);
        Ok(finite)
    }

    /// Divides the gathered gradients by a loss scale. If one of them is not finite, empties them and says so: the step is
    /// to be left out, and the scale to be lowered.
    fn unscale(&mut self, scale: f64) -> Result<bool, ModelError> {
        tch::no_grad(|| {
            let mut finite = true;
            for param in &self.params {
                let mut grad = param.f_grad()?;
                if grad.defined() {
                    let _ = grad.f_mul_scalar_(1.0 / scale)?;
                    finite &= grad.f_isfinite()?.f_all()?.f_int64_value(&[])? == 1;
                }
            }
            if !finite {
                self.params.iter_mut().for_each(Tensor::zero_grad);
            }
            Ok(finite)
        })
    }

    /// The leaves' gradients, scaled down to `limit`, and their norm before that.
    fn gradients(&self, limit: Option<f64>) -> Result<(Vec<Tensor>, f64), ModelError> {
        let mut grads = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let grad = param.f_grad()?;
            grads.push(if grad.defined() { grad } else { param.f_zeros_like()? });
        }
        let first = self.params.first().map_or(tch::Device::Cpu, Tensor::device);
        let norms = grads.iter().map(|g| g.f_norm()?.f_to_device(first)).collect::<Result<Vec<_>, _>>()?;
        let norm = Tensor::f_stack(&norms, 0)?.f_norm()?.f_double_value(&[])?;
        if let Some(limit) = limit.filter(|&limit| norm > limit) {
            for grad in &mut grads {
                // PyTorch's clip_grad_norm_ has this 1e-6 too.
                let _ = grad.f_mul_scalar_(limit / (norm + 1e-6))?;
            }
        }
        Ok((grads, norm))
    }

    /// Writes the state, so that a training goes on from it as if it had not stopped.
    #[allow(dead_code)] // Rewards are trained in one go; this is for trainings that stop midway.
    pub(crate) fn save(&self, path: &Path) -> Result<(), ModelError> {
        let mut tensors = self.state();
        // Two halves, each exact in f32.
        let steps = [(self.steps >> 16) as f32, (self.steps & 0xffff) as f32];
        tensors.push(("steps".into(), Tensor::f_from_slice(&steps)?));
        save(path, &tensors)
    }

    /// Takes over a state that [`save`](Self::save) wrote for the same leaves and the same kind of optimizer.
    #[allow(dead_code)] // Rewards are trained in one go; this is for trainings that stop midway.
    pub(crate) fn load(&mut self, path: &Path) -> Result<(), ModelError> {
        let saved = Weights::from_file(path)?;
        for (name, tensor) in self.state() {
            let loaded = saved.load(&name, &tensor.size(), Kind::Float, tensor.device())?;
            tch::no_grad(|| tensor.shallow_clone().f_copy_(&loaded))?;
        }
        let steps = saved.load("steps", &[2], Kind::Float, tch::Device::Cpu)?;
        self.steps = ((steps.f_double_value(&[0])? as u64) << 16) + steps.f_double_value(&[1])? as u64;
        Ok(())
    }

    /// The state's tensors, under names of PyTorch with the parameter's place.
    #[allow(dead_code)]
    fn state(&self) -> Vec<(String, Tensor)> {
        let named = |i: usize, name: &str, tensor: &Tensor| (format!("{i}.{name}"), tensor.shallow_clone());
        match &self.state {
            State::AdamW { first, second } => {
                let first = first.iter().enumerate().map(|(i, t)| named(i, "exp_avg", t));
                first.chain(second.iter().enumerate().map(|(i, t)| named(i, "exp_avg_sq", t))).collect()
            }
            State::Adafactor(moments) => moments
                .iter()
                .enumerate()
                .flat_map(|(i, moments)| moments.tensors().into_iter().map(move |(name, t)| named(i, name, t)))
                .collect(),
        }
    }
}

/// A factor on the loss that keeps the gradients of f16 networks off zero (Micikevicius et al., 2018): halved at every
/// overflow, doubled after many steps without one.
pub(crate) struct LossScale {
    scale: f64,
    sound: u32,
}

impl LossScale {
    const START: f64 = 1024.0;
    const PATIENCE: u32 = 1000;

    /// For f16 only; bf16 reaches as far as f32.
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        (kind == Kind::Half).then_some(LossScale { scale: Self::START, sound: 0 })
    }

    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// Hears whether a step's gradients were finite.
    pub(crate) fn heard(&mut self, finite: bool) {
        if !finite {
            self.scale = (self.scale / 2.0).max(1.0);
            self.sound = 0;
        } else {
            self.sound += 1;
            if self.sound == Self::PATIENCE {
                self.scale *= 2.0;
                self.sound = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflowing_steps_are_left_out_and_lower_the_scale() {
        let mut optimizer = Optimizer::new(vec![leaf()], Optim::AdamW).unwrap();
        let mut scale = LossScale::of(Kind::Half).unwrap();
        let before = optimizer.params()[0].detach_copy();
        (optimizer.params()[0].sum(Kind::Float) * f64::INFINITY).backward();
        let finite = optimizer.unscale(scale.scale()).unwrap();
        scale.heard(finite);
        assert!(!finite && scale.scale() == 512.0);
        assert_eq!(optimizer.params()[0].grad().abs().max().double_value(&[]), 0.0);
        (optimizer.params()[0].sum(Kind::Float) * scale.scale()).backward();
        assert!(optimizer.unscale(scale.scale()).unwrap());
        assert_eq!(optimizer.params()[0].grad().max().double_value(&[]), 1.0);
        assert_eq!(optimizer.params()[0].detach(), before);
        (0..LossScale::PATIENCE).for_each(|_| scale.heard(true));
        assert_eq!(scale.scale(), 1024.0);
        assert!(LossScale::of(Kind::BFloat16).is_none());
    }

    fn leaf() -> Tensor {
        Tensor::from_slice(&[0.5f32, -1.0, 2.0, 0.25, 3.0, -0.125]).view([2, 3])
    }

    fn step(optimizer: &mut Optimizer, settings: &TrainingSettings, i: i64) {
        let leaf = optimizer.params()[0].shallow_clone();
        ((&leaf + i) * &leaf).sum(Kind::Float).backward();
        optimizer.step(settings, 0.1).unwrap();
    }

    #[test]
    fn a_saved_state_goes_on_as_if_nothing_had_happened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("optimizer.safetensors");
        let settings = TrainingSettings { weight_decay: 0.1, ..Default::default() };
        for optim in [Optim::AdamW, Optim::Adafactor] {
            let mut whole = Optimizer::new(vec![leaf()], optim).unwrap();
            (0..3).for_each(|i| step(&mut whole, &settings, i));
            whole.save(&path).unwrap();
            let copy = tch::no_grad(|| whole.params()[0].detach_copy());
            let mut resumed = Optimizer::new(vec![copy], optim).unwrap();
            resumed.load(&path).unwrap();
            for optimizer in [&mut whole, &mut resumed] {
                (3..6).for_each(|i| step(optimizer, &settings, i));
            }
            assert_eq!(whole.params()[0], resumed.params()[0]);
            assert_eq!(resumed.steps, 6);
        }
        let mut other = Optimizer::new(vec![leaf()], Optim::AdamW).unwrap();
        let error = other.load(&path).unwrap_err().to_string();
        assert!(error.contains("optimizer.safetensors: tensor 0.exp_avg is missing"), "{error}");
    }
}
