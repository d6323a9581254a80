//! Rotary position embeddings (Su et al., 2021) in Hugging Face's layout: the two halves of a head are turned.

use tch::{Device, Kind, Tensor};

use crate::ModelError;

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
    /// By text length, from the length trained on; within that length, as [`RopeScaling::None`].
    Dynamic {
        /// Growth per length trained on.
        factor: f64,
        /// The length trained on.
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
}

impl RopeScaling {
    /// From the `rope_scaling` or `rope_parameters` object; the error names field and value.
    pub(crate) fn from_json(value: &serde_json::Value, max_positions: i64) -> Result<Self, (&'static str, String)> {
        let kind = value.get("rope_type").or_else(|| value.get("type")).and_then(|t| t.as_str()).unwrap_or("default");
        let number = |name: &'static str| match value.get(name).and_then(|v| v.as_f64()) {
            Some(x) if x.is_finite() && x > 0.0 => Ok(x),
            _ => Err((name, value.get(name).cloned().unwrap_or_default().to_string())),
        };
        let original = value
            .get("original_max_position_embeddings")
            .and_then(|v| v.as_i64())
            .filter(|&n| n > 0)
            .unwrap_or(max_positions);
        match kind {
            "default" => Ok(RopeScaling::None),
            "linear" => Ok(RopeScaling::Linear { factor: number("factor")? }),
            "dynamic" => Ok(RopeScaling::Dynamic { factor: number("factor")?, original }),
            "llama3" => Ok(RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original,
            }),
            other => Err(("rope_type", other.to_owned())),
        }
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            RopeScaling::None => serde_json::Value::Null,
            RopeScaling::Linear { factor } => serde_json::json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Dynamic { factor, original } => serde_json::json!({
                "rope_type": "dynamic", "factor": factor, "original_max_position_embeddings": original}),
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => serde_json::json!({
                "rope_type": "llama3", "factor": factor, "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor, "original_max_position_embeddings": original}),
        }
    }

    /// The angle per position of each of `dim / 2` turning planes, for texts of at most `length` tokens.
    fn frequencies(&self, theta: f64, dim: i64, length: i64) -> Vec<f64> {
        let plain = |theta: f64| (0..dim / 2).map(move |i| theta.powf(-2.0 * i as f64 / dim as f64));
        match *self {
            RopeScaling::None => plain(theta).collect(),
            RopeScaling::Linear { factor } => plain(theta).map(|f| f / factor).collect(),
            RopeScaling::Dynamic { factor, original } => {
                let length = length.max(original) as f64 / original as f64;
                let grown = theta * (factor * length - (factor - 1.0)).powf(dim as f64 / (dim as f64 - 2.0));
                plain(grown).collect()
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => plain(theta)
                .map(|f| {
                    let waves = original as f64 * f / std::f64::consts::TAU;
                    let smooth = ((waves - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0.0, 1.0);
                    (1.0 - smooth) * f / factor + smooth * f
                })
                .collect(),
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
    pub(crate) fn new(
        scaling: &RopeScaling,
        theta: f64,
        dim: i64,
        positions: &[i64],
        kind: Kind,
        device: Device,
    ) -> Result<Self, ModelError> {
        let length = positions.iter().max().map_or(0, |p| p + 1);
        let frequencies: Vec<f32> = scaling.frequencies(theta, dim, length).into_iter().map(|f| f as f32).collect();
        let frequencies = Tensor::f_from_slice(&frequencies)?;
        let positions = Tensor::f_from_slice(positions)?.f_to_kind(Kind::Float)?;
        // As in transformers: angles in f32, then cast.
        let angles = positions.f_unsqueeze(1)?.f_mul(&frequencies.f_unsqueeze(0)?)?;
        let place =
            |x: Tensor| -> Result<Tensor, ModelError> { Ok(x.f_unsqueeze(1)?.f_to_kind(kind)?.f_to_device(device)?) };
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
        let half = x.size3()?.2 / 2;
        let mut swapped = Tensor::f_cat(&[x.f_narrow(2, half, half)?, x.f_narrow(2, 0, half)?], 2)?;
        Ok(x.f_mul(&self.cos)?.f_add(&swapped.f_mul_(&self.sin)?)?)
    }
}
