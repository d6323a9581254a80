//! Linear maps and their low-rank adapters (LoRA; Hu et al., 2022).

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::ModelError;
use crate::seeds::Seeds;

/// An adapter's settings, under PEFT's names. `Default` = the paper: rank 8, alpha 32, dropout 0.1, on q and v.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSettings {
    /// Rank r of the update.
    pub rank: i64,
    /// The update is scaled by alpha / r.
    pub alpha: f64,
    /// Dropout on the adapter's input while training.
    pub dropout: f64,
    /// The projections that get an adapter, by the end of their names.
    pub target_modules: Vec<String>,
}

impl Default for LoraSettings {
    fn default() -> Self {
        LoraSettings { rank: 8, alpha: 32.0, dropout: 0.1, target_modules: vec!["q_proj".into(), "v_proj".into()] }
    }
}

/// The projections of a layer, by PEFT's short names.
pub(crate) const PROJECTIONS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

impl LoraSettings {
    /// Refuses settings that mean nothing.
    pub fn check(&self) -> Result<(), ModelError> {
        let bad = |name, value: String, expected| Err(ModelError::Setting { name, value, expected });
        if self.rank < 1 {
            return bad("lora.rank", self.rank.to_string(), "it must be at least 1");
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return bad("lora.alpha", self.alpha.to_string(), "it must be over 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return bad("lora.dropout", self.dropout.to_string(), "it must be from 0 up to, not including, 1");
        }
        if self.target_modules.is_empty() {
            return bad("lora.target_modules", "empty".into(), "name at least one projection, such as q_proj");
        }
        for module in &self.target_modules {
            if !PROJECTIONS.contains(&module.as_str()) {
                return bad(
                    "lora.target_modules",
                    format!("{module:?}"),
                    "it may name q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
                );
            }
        }
        Ok(())
    }

    /// Whether the projection at `path` within a layer, such as `self_attn.q_proj`, gets an adapter.
    pub(crate) fn covers(&self, path: &str) -> bool {
        let name = path.rsplit('.').next().unwrap_or(path);
        self.target_modules.iter().any(|m| m == name)
    }
}

/// A low-rank update: y += scale * (dropout(x) A^T) B^T. A and B are f32 masters whatever the network computes in.
#[derive(Debug)]
pub(crate) struct Lora {
    pub(crate) a: Tensor,
    pub(crate) b: Tensor,
    pub(crate) scale: f64,
    pub(crate) dropout: f64,
}

/// What holds for one way through the network.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pass<'a> {
    /// The place of the adapter that computes; none for the base model alone.
    pub(crate) adapter: Option<usize>,
    /// Seeds of the dropouts, while training.
    pub(crate) dropout: Option<&'a Seeds>,
}

/// y = x W^T + bias, with the update of the adapter that computes.
#[derive(Debug)]
pub(crate) struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
    /// One place per adapter of the network, in order; empty where that adapter leaves this map alone.
    pub(crate) loras: Vec<Option<Lora>>,
}

impl Linear {
    /// `x`: [rows, in] -> [rows, out].
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass<'_>) -> Result<Tensor, ModelError> {
        let y = x.f_linear(&self.weight, self.bias.as_ref())?;
        let Some(lora) = pass.adapter.and_then(|place| self.lora(place)) else { return Ok(y) };
        let kind = x.kind();
        let dropped = match pass.dropout {
            Some(seeds) if lora.dropout > 0.0 => Some(ser_libtorch::dropout(x, lora.dropout, seeds.draw())?),
            _ => None,
        };
        let input = dropped.as_ref().unwrap_or(x);
        let low = input.f_matmul(&lora.a.f_to_kind(kind)?.f_transpose(0, 1)?)?;
        // tch's addmm takes no factor; scaling the narrow operand costs next to nothing.
        let low = low.f_mul_scalar(lora.scale)?;
        Ok(y.f_addmm(&low, &lora.b.f_to_kind(kind)?.f_transpose(0, 1)?)?)
    }

    /// The update at an adapter's place.
    pub(crate) fn lora(&self, place: usize) -> Option<&Lora> {
        self.loras.get(place)?.as_ref()
    }

    /// A fresh update: A uniform in +-1/sqrt(in) (PEFT's default, Kaiming with a = sqrt 5), B zero.
    pub(crate) fn fresh_lora(&self, settings: &LoraSettings, seeds: &Seeds) -> Result<Lora, ModelError> {
        let (out, input) = self.weight.size2()?;
        let device = self.weight.device();
        let bound = 1.0 / (input as f64).sqrt();
        // Drawn on the CPU: the same adapter whatever the device.
        let cpu = (Kind::Float, tch::Device::Cpu);
        let mut a = Tensor::f_empty([settings.rank, input], cpu)?;
        ser_libtorch::fill_uniform(&mut a, -bound, bound, seeds.draw())?;
        let b = Tensor::f_zeros([out, settings.rank], (Kind::Float, device))?;
        let scale = settings.alpha / settings.rank as f64;
        Ok(Lora { a: a.f_to_device(device)?, b, scale, dropout: settings.dropout })
    }
}
