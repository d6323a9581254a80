//! Rotary position embeddings (Su et al., 2021) in Hugging Face's layout, which rotates the two halves of a head.

use std::cell::RefCell;

use tch::{Device, Kind, Tensor};

use super::kernels::rotate;
use crate::ModelError;
use crate::config::{NetworkConfig, RopeScaling};

/// Cosine and sine of each row's position: [rows, 1, dim]. Both halves have the same values, and the first half of the
/// sine is negated, so that the rotation is `x * cos + swap(x) * sin`.
#[derive(Debug)]
pub(crate) struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

/// The first size of the cache of rotations.
const FIRST_POSITIONS: u64 = 512;

/// The rotations of the first positions of a text, computed once per device.
#[derive(Debug, Default)]
pub(crate) struct RotationCache {
    tables: RefCell<Vec<(Device, Rotation)>>,
}

impl RotationCache {
    /// The rotation of rows at `positions` in texts of `lengths` tokens.
    pub(crate) fn rows(
        &self,
        config: &NetworkConfig,
        positions: &[i64],
        lengths: &[i64],
        kind: Kind,
        device: Device,
    ) -> Result<Rotation, ModelError> {
        let beyond = config.rope_scaling.grows_beyond();
        if beyond.is_some_and(|original| lengths.iter().any(|&length| length > original)) {
            // The frequencies depend on the lengths.
            return Rotation::new(config, positions, lengths, kind, device);
        }
        let needed = positions.iter().max().map_or(0, |&last| last + 1);
        let index = ser_libtorch::upload(positions, device)?;
        let mut tables = self.tables.borrow_mut();
        if let Some((_, table)) = tables.iter().find(|(of, table)| *of == device && table.len() >= needed) {
            return table.select(&index);
        }
        let all: Vec<i64> = (0..(needed as u64).next_power_of_two().max(FIRST_POSITIONS) as i64).collect();
        let table = Rotation::new(config, &all, &[], kind, device)?;
        let rows = table.select(&index);
        tables.retain(|(of, _)| *of != device);
        tables.push((device, table));
        rows
    }
}

impl Rotation {
    /// The number of its rows.
    fn len(&self) -> i64 {
        self.cos.size().first().copied().unwrap_or(0)
    }

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
                // Rows are ordered by text, so this makes one tensor per text.
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
        // As in transformers: computed in f32, then cast.
        let amplitude = scaling.amplitude();
        let table = |x: Tensor| -> Result<Tensor, ModelError> {
            let x = if amplitude == 1.0 { x } else { x.f_mul_scalar(amplitude)? };
            Ok(x.f_unsqueeze(1)?.f_to_kind(kind)?.f_to_device(device)?)
        };
        let (cos, sin) = (angles.f_cos()?, angles.f_sin()?);
        Ok(Rotation {
            cos: table(Tensor::f_cat(&[&cos, &cos], 1)?)?,
            sin: table(Tensor::f_cat(&[&sin.f_neg()?, &sin], 1)?)?,
        })
    }

    /// The rows at `index`.
    pub(crate) fn select(&self, index: &Tensor) -> Result<Self, ModelError> {
        Ok(Rotation { cos: self.cos.f_index_select(0, index)?, sin: self.sin.f_index_select(0, index)? })
    }

    /// Rotates `x` [rows, heads, dim].
    pub(crate) fn apply(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        rotate(x, &self.cos, &self.sin)
    }
}

impl RopeScaling {
    /// The angle per position of each of the `dim / 2` rotation planes, for a text of `length` tokens. Every operation is
    /// done in f32 and in transformers' order, because at position 4,000 the last bit of a frequency changes the result.
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
            RopeScaling::PerFrequency { ref factors } => {
                Ok(powers(theta)?.into_iter().zip(factors).map(|(p, &factor)| 1.0 / (factor as f32 * p)).collect())
            }
            RopeScaling::Linear { factor } => Ok(plain(theta)?.into_iter().map(|f| f / factor as f32).collect()),
            RopeScaling::Dynamic { factor, original } => {
                let length = length.max(original) as f64 / original as f64;
                plain(theta * (factor * length - (factor - 1.0)).powf(dim as f64 / (dim as f64 - 2.0)))
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                let (low, span) = (low_freq_factor as f32, (high_freq_factor - low_freq_factor) as f32);
                let original = original as f64;
                let scale = |f: f32| {
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
                Ok(plain(theta)?.into_iter().map(scale).collect())
            }
            RopeScaling::Yarn { factor, original, beta_fast, beta_slow, truncate, .. } => {
                // The index of the plane that makes `turns` rotations over the trained length.
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
                let scale = |(i, power): (usize, f32)| {
                    let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    let keep = 1.0 - ramp;
                    1.0 / (factor as f32 * power) * (1.0 - keep) + 1.0 / power * keep
                };
                Ok(powers(theta)?.into_iter().enumerate().map(scale).collect())
            }
        }
    }

    /// The factor on cosine and sine.
    fn amplitude(&self) -> f64 {
        match *self {
            RopeScaling::Yarn { attention_factor, .. } => attention_factor,
            _ => 1.0,
        }
    }
}
