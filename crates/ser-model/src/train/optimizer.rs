//! Optimizers over f32 parameters: AdamW and Adafactor, with weight decay and gradient clipping.

use ser_libtorch::AdamWStep;
use tch::{Device, Kind, Tensor};

use super::adafactor::Moments;
use super::settings::{Optim, TrainingSettings};
use crate::ModelError;
use crate::checkpoint::Weights;

/// A trained tensor, in f32, and its name in the model.
pub(crate) struct Parameter {
    pub(crate) name: String,
    pub(crate) tensor: Tensor,
}

impl Parameter {
    pub(crate) fn new(name: impl Into<String>, tensor: &Tensor) -> Self {
        Parameter { name: name.into(), tensor: tensor.shallow_clone() }
    }

    /// Whether weight decay applies to it: not to biases and norms, by the name patterns of transformers'
    /// `Trainer.get_decay_parameter_names`.
    pub(crate) fn decays(&self) -> bool {
        let name = self.name.to_lowercase();
        let norm = |part: &str| part == "norm" || part.ends_with("_norm");
        !(["bias", "layernorm", "rmsnorm"].iter().any(|word| name.contains(word)) || name.split('.').any(norm))
    }
}

/// An optimizer and its state for a fixed list of parameters.
pub(crate) struct Optimizer {
    params: Vec<Parameter>,
    steps: u64,
    state: State,
}

enum State {
    AdamW { first: Vec<Tensor>, second: Vec<Tensor> },
    Adafactor(Vec<Moments>),
}

impl Optimizer {
    /// An optimizer without moments. It enables gradients for every parameter, and drops those that a failed step has left.
    pub(crate) fn new(params: Vec<Parameter>, optim: Optim) -> Result<Self, ModelError> {
        let params = params
            .into_iter()
            .map(|p| Ok(Parameter { tensor: p.tensor.f_set_requires_grad(true)?, name: p.name }))
            .collect::<Result<Vec<_>, ModelError>>()?;
        let zeros = || params.iter().map(|p| p.tensor.f_detach()?.f_zeros_like()).collect::<Result<Vec<_>, _>>();
        let state = match optim {
            Optim::AdamW => State::AdamW { first: zeros()?, second: zeros()? },
            Optim::Adafactor => {
                State::Adafactor(params.iter().map(|p| Moments::new(&p.tensor)).collect::<Result<_, _>>()?)
            }
        };
        let mut optimizer = Optimizer { params, steps: 0, state };
        optimizer.clear_gradients()?;
        Ok(optimizer)
    }

    /// The number of steps taken.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    #[cfg(test)]
    pub(crate) fn params(&self) -> Vec<Tensor> {
        self.params.iter().map(|p| p.tensor.shallow_clone()).collect()
    }

    /// One step along the accumulated gradients, which are cleared. Returns the gradients' norm before clipping.
    pub(crate) fn step(&mut self, settings: &TrainingSettings, learning_rate: f64) -> Result<f64, ModelError> {
        tch::no_grad(|| {
            let (grads, norm) = self.gradients(settings.max_grad_norm)?;
            self.steps += 1;
            if !norm.is_finite() {
                let what = "the gradient's norm";
                return Err(ModelError::Diverged { step: self.steps, what, value: norm, learning_rate });
            }
            // Without weight decay there is one group per device.
            let weight_decay = |param: &Parameter| if param.decays() { settings.weight_decay } else { 0.0 };
            match &mut self.state {
                State::AdamW { first, second } => {
                    let mut groups: Vec<(Device, f64)> = Vec::new();
                    let keys: Vec<(Device, f64)> =
                        self.params.iter().map(|p| (p.tensor.device(), weight_decay(p))).collect();
                    for key in &keys {
                        if !groups.contains(key) {
                            groups.push(*key);
                        }
                    }
                    let params: Vec<Tensor> = self.params.iter().map(|p| p.tensor.shallow_clone()).collect();
                    for group in groups {
                        let members = |list: &[Tensor]| -> Vec<Tensor> {
                            let of_group = list.iter().zip(&keys).filter(|(_, key)| **key == group);
                            of_group.map(|(tensor, _)| tensor.shallow_clone()).collect()
                        };
                        let step = AdamWStep {
                            learning_rate,
                            beta1: settings.adam_beta1,
                            beta2: settings.adam_beta2,
                            weight_decay: group.1,
                            epsilon: settings.adam_epsilon,
                        };
                        let (params, grads) = (members(&params), members(&grads));
                        let count = Tensor::f_full([], self.steps as f64, (Kind::Float, group.0))?;
                        let counts: Vec<Tensor> = params.iter().map(|_| count.shallow_clone()).collect();
                        ser_libtorch::fused_adamw(&params, &grads, &members(first), &members(second), &counts, step)?;
                    }
                }
                State::Adafactor(moments) => {
                    for ((param, grad), moments) in self.params.iter().zip(&grads).zip(moments) {
                        let (decay, options) = (weight_decay(param), &settings.adafactor);
                        moments.step(&param.tensor, grad, self.steps, learning_rate, decay, options)?;
                    }
                }
            }
            self.clear_gradients()?;
            Ok(norm)
        })
    }

    /// Divides the accumulated gradients by a loss scale. If one of them is not finite, clears them and returns false, and
    /// no step must be taken.
    pub(crate) fn unscale(&mut self, scale: f64) -> Result<bool, ModelError> {
        tch::no_grad(|| {
            let mut finite = true;
            for param in &self.params {
                let mut grad = param.tensor.f_grad()?;
                if grad.defined() {
                    let _ = grad.f_mul_scalar_(1.0 / scale)?;
                    finite &= grad.f_isfinite()?.f_all()?.f_int64_value(&[])? == 1;
                }
            }
            if !finite {
                self.clear_gradients()?;
            }
            Ok(finite)
        })
    }

    /// Clears the accumulated gradients.
    pub(crate) fn clear_gradients(&mut self) -> Result<(), ModelError> {
        let mut tensors: Vec<Tensor> = self.params.iter().map(|p| p.tensor.shallow_clone()).collect();
        Ok(ser_libtorch::clear_gradients(&mut tensors)?)
    }

    /// The accumulated gradients, scaled down to the norm `limit`, and their norm before that.
    fn gradients(&self, limit: Option<f64>) -> Result<(Vec<Tensor>, f64), ModelError> {
        let mut grads = Vec::with_capacity(self.params.len());
        for param in &self.params {
            let grad = param.tensor.f_grad()?;
            grads.push(if grad.defined() { grad } else { param.tensor.f_zeros_like()? });
        }
        let norm = ser_libtorch::gradients_norm(&grads)?;
        if let Some(limit) = limit.filter(|&limit| norm > limit) {
            // PyTorch's clip_grad_norm_ has this 1e-6 too.
            ser_libtorch::scale(&mut grads, limit / (norm + 1e-6))?;
        }
        Ok((grads, norm))
    }

    /// The state as named tensors. A training that restores it continues with the same bits.
    pub(crate) fn state(&self) -> Result<Vec<(String, Tensor)>, ModelError> {
        let mut tensors = self.moments();
        // Two halves, each exact in f32.
        let steps = [(self.steps >> 16) as f32, (self.steps & 0xffff) as f32];
        tensors.push(("steps".into(), Tensor::f_from_slice(&steps)?));
        Ok(tensors)
    }

    /// Restores a [`state`](Self::state) of the same parameters and the same kind of optimizer.
    pub(crate) fn restore(&mut self, saved: &Weights) -> Result<(), ModelError> {
        for (name, tensor) in self.moments() {
            let loaded = saved.load(&name, &tensor.size(), Kind::Float, tensor.device())?;
            tch::no_grad(|| tensor.shallow_clone().f_copy_(&loaded))?;
        }
        let steps = saved.load("steps", &[2], Kind::Float, Device::Cpu)?;
        self.steps = ((steps.f_double_value(&[0])? as u64) << 16) + steps.f_double_value(&[1])? as u64;
        self.clear_gradients()
    }

    /// The moments under PyTorch's names, prefixed by the index of the parameter.
    fn moments(&self) -> Vec<(String, Tensor)> {
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

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    /// The names that `Trainer.get_decay_parameter_names` of transformers includes and excludes.
    #[test]
    fn biases_and_norms_do_not_decay() {
        let decays = |name: &str| Parameter::new(name, &Tensor::from(0.0f32)).decays();
        for name in [
            "model.embed_tokens.weight",
            "lm_head.weight",
            "model.layers.0.self_attn.q_proj.weight",
            "model.layers.0.self_attn.q_proj.lora_A.weight",
            "model.layers.0.mlp.down_proj.lora_B.weight",
            "score.weight",
            "v_head.summary.weight",
        ] {
            assert!(decays(name), "{name}");
        }
        for name in [
            "model.norm.weight",
            "model.layers.0.input_layernorm.weight",
            "model.layers.0.post_attention_layernorm.weight",
            "model.layers.0.self_attn.q_norm.weight",
            "model.layers.0.self_attn.q_proj.bias",
            "model.layers.0.self_attn.q_proj.base_layer.bias",
            "model.layers.0.self_attn.q_proj.lora_B.bias",
            "v_head.summary.bias",
        ] {
            assert!(!decays(name), "{name}");
        }
    }

    /// With zero gradients only weight decay changes a parameter, by the factor 1 - learning rate * decay.
    #[test]
    fn weight_decay_leaves_out_norms() {
        for optim in [Optim::AdamW, Optim::Adafactor] {
            let tensors = || [Tensor::from_slice(&[2.0f32, -4.0]), Tensor::from_slice(&[2.0f32, -4.0])];
            let [weight, norm] = tensors();
            let params = vec![Parameter::new("layer.weight", &weight), Parameter::new("norm.weight", &norm)];
            let mut optimizer = Optimizer::new(params, optim).unwrap();
            let settings = TrainingSettings { weight_decay: 0.5, optim, ..TrainingSettings::default() };
            optimizer.step(&settings, 0.1).unwrap();
            let values = |t: &Tensor| Vec::<f32>::try_from(t.detach()).unwrap();
            for (got, want) in values(&weight).iter().zip([1.9f32, -3.8]) {
                assert_abs_diff_eq!(*got, want, epsilon = 1e-6);
            }
            assert_eq!(values(&norm), [2.0, -4.0], "{optim:?}");
        }
    }
}
