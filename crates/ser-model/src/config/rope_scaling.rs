//! Rotary settings of a `config.json`, in the old layout (`rope_theta`, `rope_scaling`) and the new
//! (`rope_parameters`).

use std::path::Path;

use crate::ModelError;
use crate::checkpoint::Fields;

/// The scaling of rotary frequencies for longer texts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// No scaling.
    None,
    /// All frequencies by one factor.
    Linear {
        /// The divisor of positions.
        factor: f64,
    },
    /// Depends on the length of the text beyond `max_position_embeddings`; up to that length, as [`RopeScaling::None`].
    Dynamic {
        /// Growth of the base per multiple of the original length.
        factor: f64,
        /// `max_position_embeddings`.
        original: i64,
    },
    /// Llama 3.1: low frequencies are divided by a factor, high ones are kept, and those between are interpolated.
    Llama3 {
        /// The divisor of the low frequencies.
        factor: f64,
        /// Wavelengths over original / low_freq_factor are scaled.
        low_freq_factor: f64,
        /// Wavelengths under original / high_freq_factor are kept.
        high_freq_factor: f64,
        /// The length of the model's training.
        original: i64,
    },
    /// YaRN (Peng et al., 2023): as Llama 3.1's, with another interpolation and a factor on the attention.
    Yarn {
        /// The divisor of the low frequencies.
        factor: f64,
        /// The length of the model's training.
        original: i64,
        /// The factor on cosine and sine.
        attention_factor: f64,
        /// Planes with more rotations than this over the trained length are kept.
        beta_fast: f64,
        /// Planes with fewer rotations than this are scaled.
        beta_slow: f64,
        /// Whether the bounds of the interpolation are rounded to whole planes.
        truncate: bool,
    },
    /// Each frequency is divided by a factor of its own, whatever the length: `longrope` of transformers with the same
    /// short and long factors, and `rope_freqs.weight` of GGUF files.
    PerFrequency {
        /// One for each pair of numbers of a head.
        factors: Vec<f64>,
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
            RopeScaling::PerFrequency { factors } => serde_json::json!({"rope_type": "longrope", "factor": 1.0,
                "attention_factor": 1.0, "short_factor": factors, "long_factor": factors}),
        }
    }

    /// The length up to which all texts share the same frequencies; `None` if all texts do.
    pub(crate) fn grows_beyond(&self) -> Option<i64> {
        match *self {
            RopeScaling::Dynamic { original, .. } => Some(original),
            _ => None,
        }
    }
}

/// Base and scaling of the rotary frequencies.
pub(super) fn rope(fields: &Fields, path: &Path, max_positions: i64) -> Result<(f64, RopeScaling), ModelError> {
    // As in transformers, a rope_scaling that is not empty takes precedence over rope_parameters.
    let scaling = fields.object("rope_scaling")?.filter(|rope| !rope.is_empty());
    let rope = match scaling {
        Some(rope) => Some(rope),
        None => fields.object("rope_parameters")?,
    };
    let number = |name: &str| -> Result<Option<f64>, ModelError> {
        match rope.as_ref().map(|rope| rope.number(name)).transpose()?.flatten() {
            Some(value) => Ok(Some(value)),
            None => fields.number(name),
        }
    };
    let theta = number("rope_theta")?.unwrap_or(10_000.0);
    if theta <= 1.0 {
        return Err(fields.problem(format!("rope_theta is {theta}; it must be over 1")));
    }
    if let Some(factor) = number("partial_rotary_factor")?.filter(|&f| f != 1.0) {
        let (what, value) = ("partial_rotary_factor", factor.to_string());
        return Err(ModelError::Unsupported { path: path.to_owned(), what, value, supported: "1" });
    }
    // A length beside the object takes precedence over the one inside it.
    let beside = fields.get("original_max_position_embeddings").filter(|value| !value.is_null());
    match rope {
        None => Ok((theta, RopeScaling::None)),
        Some(mut rope) => {
            if let Some(value) = beside {
                rope.insert("original_max_position_embeddings", value.clone());
            }
            Ok((theta, scaling_of(&rope, path, max_positions)?))
        }
    }
}

/// The scaling that a `rope_scaling` or `rope_parameters` object describes.
fn scaling_of(rope: &Fields, path: &Path, max_positions: i64) -> Result<RopeScaling, ModelError> {
    let unsupported = |what, value: String| ModelError::Unsupported {
        path: path.to_owned(),
        what,
        value,
        supported: "default, linear, dynamic, llama3, yarn, longrope with one list of factors; with positive factors",
    };
    if let Some(name) = rope.objects().next() {
        return Err(unsupported("rope_parameters", format!("of {name} alone")));
    }
    let kind = match ["rope_type", "type"].into_iter().find(|name| rope.get(name).is_some()) {
        // transformers fails on a null type.
        Some(name) => rope.text(name)?.ok_or_else(|| rope.wrong(name, "the name of a scaling, or absent"))?,
        None => "default",
    };
    let optional = |name: &str| -> Result<Option<f64>, ModelError> {
        match rope.number(name)? {
            // As in transformers, null and 0 mean the default.
            None | Some(0.0) => Ok(None),
            Some(x) if x > 0.0 => Ok(Some(x)),
            Some(_) => Err(rope.wrong(name, "over 0")),
        }
    };
    let number = |name: &str| optional(name)?.ok_or_else(|| rope.wrong(name, "a number over 0"));
    let original = match rope.integer("original_max_position_embeddings")? {
        Some(length) if length < 1 => return Err(rope.wrong("original_max_position_embeddings", "at least 1")),
        length => length.unwrap_or(max_positions),
    };
    match kind {
        "default" => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor: number("factor")? }),
        // transformers ignores an original length here.
        "dynamic" => Ok(RopeScaling::Dynamic { factor: number("factor")?, original: max_positions }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: number("factor")?,
            low_freq_factor: number("low_freq_factor")?,
            high_freq_factor: number("high_freq_factor")?,
            original,
        }),
        "yarn" => {
            let factor = optional("factor")?.unwrap_or(max_positions as f64 / original as f64);
            let scale = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
            let inferred = match (optional("mscale")?, optional("mscale_all_dim")?) {
                (Some(one), Some(all)) => scale(one) / scale(all),
                _ => scale(1.0),
            };
            Ok(RopeScaling::Yarn {
                factor,
                original,
                attention_factor: optional("attention_factor")?.unwrap_or(inferred),
                beta_fast: optional("beta_fast")?.unwrap_or(32.0),
                beta_slow: optional("beta_slow")?.unwrap_or(1.0),
                truncate: rope.flag("truncate")?.unwrap_or(true),
            })
        }
        "longrope" => {
            let factors = |name: &str| -> Result<Vec<f64>, ModelError> {
                let expected = "a list of numbers over 0";
                let factors: Option<Vec<f64>> = rope.parsed(name, expected)?;
                let positive = |factors: &Vec<f64>| factors.iter().all(|f| f.is_finite() && *f > 0.0);
                factors.filter(positive).ok_or_else(|| rope.wrong(name, expected))
            };
            let (short, long) = (factors("short_factor")?, factors("long_factor")?);
            if short != long || optional("attention_factor")? != Some(1.0) {
                let value = "longrope with factors by length, or with an attention_factor other than 1";
                return Err(unsupported("rope_type", value.to_owned()));
            }
            Ok(RopeScaling::PerFrequency { factors: short })
        }
        other => Err(unsupported("rope_type", other.chars().take(60).collect())),
    }
}
