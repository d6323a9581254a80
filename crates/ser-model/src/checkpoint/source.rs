//! Sources of a network's tensors: a checkpoint, or random initialization.

use std::collections::BTreeSet;
use std::path::Path;

use tch::{Device, Kind, Tensor};

use super::layer_map::LayerMap;
use super::weights::Weights;
use crate::ModelError;
use crate::seeds::Seeds;

/// A source of a network's tensors.
pub(crate) trait TensorSource {
    /// The tensor of that name and shape.
    fn tensor(&mut self, name: &str, shape: &[i64]) -> Result<Tensor, ModelError>;
}

/// The prefix of a checkpoint's tensor names: `model.`, or empty if the decoder was saved without its head.
pub(crate) fn weight_prefix(weights: &Weights) -> &'static str {
    if weights.has("embed_tokens.weight") { "" } else { "model." }
}

/// The tensors of a checkpoint, whose names may start with `model.`.
pub(crate) struct Checkpoint<'a> {
    weights: &'a Weights,
    prefix: &'static str,
    kind: Kind,
    map: LayerMap,
    used: BTreeSet<String>,
}

impl<'a> Checkpoint<'a> {
    pub(crate) fn new(weights: &'a Weights, kind: Kind, map: LayerMap) -> Self {
        Checkpoint { weights, prefix: weight_prefix(weights), kind, map, used: BTreeSet::new() }
    }

    /// Refuses a checkpoint with decoder tensors that the network did not take. Its config.json then describes another
    /// network, for example one without biases. Heads, and the tables of rotary frequencies in old checkpoints, are
    /// ignored.
    pub(crate) fn finish(self, folder: &Path) -> Result<(), ModelError> {
        let of_decoder = |name: &&str| {
            let name = name.strip_prefix(self.prefix).unwrap_or("");
            ["layers.", "embed_tokens.", "norm."].iter().any(|part| name.starts_with(part))
                && !name.ends_with("rotary_emb.inv_freq")
        };
        match self.weights.names().filter(of_decoder).filter(|name| !self.used.contains(*name)).min() {
            None => Ok(()),
            Some(name) => Err(ModelError::UnusedTensor { path: folder.to_owned(), name: name.to_owned() }),
        }
    }
}

impl TensorSource for Checkpoint<'_> {
    fn tensor(&mut self, name: &str, shape: &[i64]) -> Result<Tensor, ModelError> {
        let full = if name == "lm_head.weight" { name.to_owned() } else { format!("{}{name}", self.prefix) };
        let tensor = self.weights.load(&full, shape, self.kind, self.map.device_of(name))?;
        self.used.insert(full);
        Ok(tensor)
    }
}

/// Random initialization as in transformers: norms 1, biases 0, everything else normally distributed.
pub(crate) struct Fresh {
    pub(crate) std: f64,
    pub(crate) seeds: Seeds,
    pub(crate) device: Device,
}

impl TensorSource for Fresh {
    fn tensor(&mut self, name: &str, shape: &[i64]) -> Result<Tensor, ModelError> {
        let cpu = (Kind::Float, Device::Cpu);
        let tensor = if name.ends_with("norm.weight") {
            Tensor::f_ones(shape, cpu)?
        } else if name.ends_with(".bias") {
            Tensor::f_zeros(shape, cpu)?
        } else {
            let mut tensor = Tensor::f_empty(shape, cpu)?;
            ser_libtorch::fill_normal(&mut tensor, 0.0, self.std, self.seeds.draw())?;
            tensor
        };
        Ok(tensor.f_to_device(self.device)?)
    }
}

/// The initial value of an adapter's tensor.
pub(crate) enum Initial<'a> {
    /// Uniformly distributed between minus and plus this bound.
    Uniform(f64),
    /// Zeros.
    Zero,
    /// A copy of this tensor.
    Copy(&'a Tensor),
}

/// A source of an adapter's tensors, in f32.
pub(crate) trait AdapterSource {
    /// The tensor of that name (without PEFT's `base_model.model.`) and shape. A fresh adapter starts with `initial`.
    fn tensor(&mut self, name: &str, shape: &[i64], initial: Initial<'_>) -> Result<Tensor, ModelError>;
}

/// A fresh adapter.
pub(crate) struct FreshAdapter<'a> {
    pub(crate) seeds: &'a Seeds,
    pub(crate) device: Device,
}

impl AdapterSource for FreshAdapter<'_> {
    fn tensor(&mut self, _: &str, shape: &[i64], initial: Initial<'_>) -> Result<Tensor, ModelError> {
        match initial {
            // Drawn on the CPU, so that the adapter does not depend on the device.
            Initial::Uniform(bound) => {
                let mut tensor = Tensor::f_empty(shape, (Kind::Float, Device::Cpu))?;
                ser_libtorch::fill_uniform(&mut tensor, -bound, bound, self.seeds.draw())?;
                Ok(tensor.f_to_device(self.device)?)
            }
            Initial::Zero => Ok(Tensor::f_zeros(shape, (Kind::Float, self.device))?),
            Initial::Copy(own) => Ok(own.f_to_kind(Kind::Float)?.f_detach_copy()?),
        }
    }
}
