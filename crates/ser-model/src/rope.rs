//! Rotary position embeddings (Su et al., 2021) in Hugging Face's layout: the two halves of a head are turned.

use tch::{Device, Kind, Tensor};

use crate::kernels::rotate;
use crate::{ModelError, NetworkConfig};

/// How rotary frequencies are stretched for longer texts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// All by one factor.
    Linear {
        /// Positions are divided by it.
        factor: f64,
    },
    /// By text length, from `max_position_embeddings` on; within that length, as [`RopeScaling::None`].
    Dynamic {
        /// Growth per length trained on.
        factor: f64,
        /// `max_position_embeddings`.
        original: i64,
    },
    /// Llama 3.1: low frequencies by a factor, high ones not, a ramp between.
    Llama3 {
        /// Divides the low frequencies.
        factor: f64,
        /// Waves longer than original / low_freq_factor are stretched.
        low_freq_factor: f64,
        /// Waves shorter than original / high_freq_factor are kept.
        high_freq_factor: f64,
        /// The length trained on.
        original: i64,
    },
    /// YaRN (Peng et al., 2023): high frequencies kept, low ones divided, a ramp between; attention tempered.
    Yarn {
        /// Divides the low frequencies.
        factor: f64,
        /// The length trained on.
        original: i64,
        /// Multiplies cosine and sine.
        attention_factor: f64,
        /// Planes that turn more often than this over the trained length are kept.
        beta_fast: f64,
        /// Planes that turn less often than this are divided.
        beta_slow: f64,
        /// Whether the ramp goes from whole plane to whole plane.
        truncate: bool,
    },
}

impl RopeScaling {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            RopeScaling::None => serde_json::Value::Null,
            RopeScaling::Linear { factor } => serde_json::json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Dynamic { factor, original } => serde_json::json!({
                "rope_type": "dynamic", "factor": factor, "original_max_position_embeddings": original}),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => serde_json::json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original}),
            RopeScaling::Yarn { factor, original, attention_factor, beta_fast, beta_slow, truncate } => {
                serde_json::json!({"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original,
                    "attention_factor": attention_factor, "beta_fast": beta_fast, "beta_slow": beta_slow,
                    "truncate": truncate})
            }
        }
    }

    /// The length up to which texts turn by the same frequencies; a longer text has its own. None: all are the same.
    pub(crate) fn grows_beyond(&self) -> Option<i64> {
        match *self {
            RopeScaling::Dynamic { original, .. } => Some(original),
            _ => None,
        }
    }

    /// The angle per position of each of `dim / 2` turning planes, for a text of `length` tokens. Every operation is
    /// done in f32 and in transformers' order: at position 4,000 the last bit of a frequency shows.
    fn frequencies(&self, theta: f64, dim: i64, length: i64) -> Result<Vec<f32>, ModelError> {
        let powers = |theta: f64| -> Result<Vec<f32>, ModelError> {
            let exponents =
                Tensor::f_arange_start_step(0, dim, 2, (Kind::Int64, Device::Cpu))?.f_to_kind(Kind::Float)?;
            Ok(Vec::try_from(&Tensor::f_pow_scalar(theta, &exponents.f_div_scalar(dim)?)?)?)
        };
        let plain =
            |theta: f64| -> Result<Vec<f32>, ModelError> { Ok(powers(theta)?.into_iter().map(|p| 1.0 / p).collect()) };
        match *self {
            RopeScaling::None => plain(theta),
            RopeScaling::Linear { factor } => Ok(plain(theta)?.into_iter().map(|f| f / factor as f32).collect()),
            RopeScaling::Dynamic { factor, original } => {
                let length = length.max(original) as f64 / original as f64;
                plain(theta * (factor * length - (factor - 1.0)).powf(dim as f64 / (dim as f64 - 2.0)))
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                let (low, span) = (low_freq_factor as f32, (high_freq_factor - low_freq_factor) as f32);
                let original = original as f64;
                let turn = |f: f32| {
                    let wave = std::f64::consts::TAU as f32 / f;
                    if wave > (original / low_freq_factor) as f32 {
                        f / factor as f32
                    } else if wave < (original / high_freq_factor) as f32 {
                        f
                    } else {
                        let smooth = (original as f32 / wave - low) / span;
                        (1.0 - smooth) * f / factor as f32 + smooth * f
                    }
                };
                Ok(plain(theta)?.into_iter().map(turn).collect())
            }
            RopeScaling::Yarn { factor, original, beta_fast, beta_slow, truncate, .. } => {
                // The plane that turns so often over the trained length.
                let plane = |turns: f64| {
                    dim as f64 * (original as f64 / (turns * std::f64::consts::TAU)).ln() / (2.0 * theta.ln())
                };
                let (mut low, mut high) = (plane(beta_fast), plane(beta_slow));
                if truncate {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dim as f64 - 1.0));
                if low == high {
                    high += 0.001;
                }
                let turn = |(i, power): (usize, f32)| {
                    let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    let keep = 1.0 - ramp;
                    1.0 / (factor as f32 * power) * (1.0 - keep) + 1.0 / power * keep
                };
                Ok(powers(theta)?.into_iter().enumerate().map(turn).collect())
            }
        }
    }

    /// What cosine and sine are multiplied by.
    fn amplitude(&self) -> f64 {
        match *self {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }
}

/// Cosine and sine of every row's position: [rows, 1, dim], both halves alike, the sine's first half negated so that
/// turning is `x * cos + swap(x) * sin`.
#[derive(Debug)]
pub(crate) struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rotation {
    /// For rows at `positions` in texts of `lengths` tokens.
    pub(crate) fn new(
        config: &NetworkConfig,
        positions: &[i64],
        lengths: &[i64],
        kind: Kind,
        device: Device,
    ) -> Result<Self, ModelError> {
        let (scaling, theta, dim) = (&config.rope_scaling, config.rope_theta, config.head_dim);
        let angles = |positions: &[i64], length: i64| -> Result<Tensor, ModelError> {
            let frequencies = Tensor::f_from_slice(&scaling.frequencies(theta, dim, length)?)?;
            let positions = Tensor::f_from_slice(positions)?.f_to_kind(Kind::Float)?;
            Ok(positions.f_unsqueeze(1)?.f_mul(&frequencies.f_unsqueeze(0)?)?)
        };
        let angles = match scaling.grows_beyond() {
            Some(original) if lengths.iter().any(|&length| length > original) => {
                // Rows lie text by text, so this makes one tensor per text.
                let mut parts = Vec::new();
                let mut rest = positions;
                for text in lengths.chunk_by(|a, b| a == b) {
                    let (here, after) = rest.split_at_checked(text.len()).unwrap_or((rest, &[]));
                    parts.push(angles(here, text.first().copied().unwrap_or(original))?);
                    rest = after;
                }
                Tensor::f_cat(&parts, 0)?
            }
            _ => angles(positions, 0)?,
        };
        // As in transformers: all in f32, then cast.
        let amplitude = scaling.amplitude();
        let place = |x: Tensor| -> Result<Tensor, ModelError> {
            let x = if amplitude == 1.0 { x } else { x.f_mul_scalar(amplitude)? };
            Ok(x.f_unsqueeze(1)?.f_to_kind(kind)?.f_to_device(device)?)
        };
        let (cos, sin) = (angles.f_cos()?, angles.f_sin()?);
        Ok(Rotation {
            cos: place(Tensor::f_cat(&[&cos, &cos], 1)?)?,
            sin: place(Tensor::f_cat(&[&sin.f_neg()?, &sin], 1)?)?,
        })
    }

    /// Rows `index` alone.
    pub(crate) fn select(&self, index: &Tensor) -> Result<Self, ModelError> {
        Ok(Rotation { cos: self.cos.f_index_select(0, index)?, sin: self.sin.f_index_select(0, index)? })
    }

    /// Turns `x` [rows, heads, dim].
    pub(crate) fn turn(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        rotate(x, &self.cos, &self.sin)
    }
}
