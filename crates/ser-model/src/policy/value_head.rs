//! The value head: one number per hidden row.

use std::path::Path;

use tch::{Device, Kind, Tensor};

use crate::ModelError;
use crate::checkpoint::{Weights, save};

const FILE: &str = "value_head.safetensors";

/// V = w · h + b, in f32.
#[derive(Debug)]
pub(super) struct ValueHead {
    /// [1, hidden]
    weight: Tensor,
    /// [1]
    bias: Tensor,
}

impl ValueHead {
    /// A zero-initialised value head. (TRL initializes it at random, so its first values are noise.)
    pub(super) fn zero(hidden: i64, device: Device) -> Result<Self, ModelError> {
        let zeros = |shape: &[i64]| Tensor::f_zeros(shape, (Kind::Float, device));
        Ok(ValueHead { weight: zeros(&[1, hidden])?, bias: zeros(&[1])? })
    }

    /// [n, hidden] -> [n].
    pub(super) fn forward(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(hidden.f_to_kind(Kind::Float)?.f_linear(&self.weight, Some(&self.bias))?.f_view([-1])?)
    }

    /// Its parameters under TRL's names.
    pub(super) fn named(&self) -> [(&'static str, &Tensor); 2] {
        [("v_head.summary.weight", &self.weight), ("v_head.summary.bias", &self.bias)]
    }

    pub(super) fn save(&self, folder: &Path) -> Result<(), ModelError> {
        save(&folder.join(FILE), &self.named().map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone())))
    }

    pub(super) fn load(&mut self, folder: &Path) -> Result<(), ModelError> {
        let weights = Weights::from_file(&folder.join(FILE))?;
        for (name, leaf) in [("weight", &mut self.weight), ("bias", &mut self.bias)] {
            let name = format!("v_head.summary.{name}");
            let loaded = weights.load(&name, &leaf.size(), Kind::Float, leaf.device())?;
            tch::no_grad(|| leaf.f_copy_(&loaded))?;
        }
        Ok(())
    }
}
