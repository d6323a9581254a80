//! Reading a `config.json`.
//!
//! Checked against transformers 5.23: every field that changes the computation of Llama, Mistral, Qwen 2 or Qwen 3 is
//! applied or refused. The exception is `attention_dropout`, which affects training only and is not applied here.

use std::path::{Path, PathBuf};

use super::family::{AttentionBias, FAMILIES, Family, SUPPORTED, WINDOW, Window};
use super::network_config::{LlamaShape, NetworkConfig};
use super::rope_scaling::{RopeScaling, rope};
use crate::ModelError;
use crate::checkpoint::{Fields, ModelFiles};

/// A limit above the depth of any decoder, so that a damaged file cannot request a huge allocation.
const MAX_LAYERS: i64 = 10_000;

impl NetworkConfig {
    /// Reads `config.json` of a model folder, or the settings of a GGUF file (feature `gguf`).
    pub fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        let files = ModelFiles::open(folder)?;
        Self::from_json(&files.required("config.json")?, &files.path_of("config.json"))
    }

    /// Reads the text of a `config.json`; errors name `path`.
    pub fn from_json(text: &str, path: &Path) -> Result<Self, ModelError> {
        read(text, path)
    }

    /// A small Llama, to be trained from random weights.
    pub fn llama(vocab_size: i64, shape: &LlamaShape) -> Result<Self, ModelError> {
        let file = serde_json::json!({
            "model_type": "llama", "vocab_size": vocab_size, "hidden_size": shape.hidden_size,
            "intermediate_size": shape.intermediate_size, "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
            "max_position_embeddings": shape.max_positions, "tie_word_embeddings": true,
        });
        Self::from_json(&file.to_string(), &PathBuf::from("base model settings"))
    }
}

/// The network that the text of a `config.json` describes; errors name `path`.
fn read(text: &str, path: &Path) -> Result<NetworkConfig, ModelError> {
    let reader = Reader { fields: Fields::parse(text, path)?, path };
    let fields = &reader.fields;
    let model_type = fields.text("model_type")?.unwrap_or_default();
    let Some(family) = FAMILIES.iter().find(|f| f.model_type == model_type) else {
        return Err(reader.unsupported("model_type", model_type, SUPPORTED));
    };
    reader.refuse_unsupported_fields(family)?;
    let hidden_size = reader.size("hidden_size", fields.integer("hidden_size")?)?;
    let heads = reader.size("num_attention_heads", fields.integer("num_attention_heads")?)?;
    // An absent field has the family's default; null is derived from the other fields.
    let or_default = |name: &str, default: Option<i64>| -> Result<Option<i64>, ModelError> {
        Ok(fields.nullable_integer(name)?.unwrap_or(default))
    };
    let kv_heads = or_default("num_key_value_heads", family.kv_heads)?.unwrap_or(heads);
    let kv_heads = reader.size("num_key_value_heads", Some(kv_heads))?;
    let head_dim = or_default("head_dim", family.head_dim)?.unwrap_or(hidden_size / heads);
    let head_dim = reader.size("head_dim", Some(head_dim))?;
    if heads % kv_heads != 0 {
        return Err(
            fields.problem(format!("num_attention_heads {heads} is not a multiple of num_key_value_heads {kv_heads}"))
        );
    }
    if head_dim % 2 != 0 {
        return Err(fields.problem(format!("head_dim {head_dim} is odd; rotary embeddings need an even one")));
    }
    let max_positions = fields.integer("max_position_embeddings")?.unwrap_or(family.max_positions);
    let max_positions = reader.size("max_position_embeddings", Some(max_positions))?;
    let (rope_theta, rope_scaling) = rope(fields, path, max_positions)?;
    if let RopeScaling::PerFrequency { factors } = &rope_scaling
        && factors.len() as i64 != head_dim / 2
    {
        let problem = format!("{} rotary factors are given for heads of size {head_dim}", factors.len());
        return Err(fields.problem(problem));
    }
    let layers = reader.size("num_hidden_layers", fields.integer("num_hidden_layers")?)?;
    if layers > MAX_LAYERS {
        return Err(fields.problem(format!("num_hidden_layers is {layers}; it may be at most {MAX_LAYERS}")));
    }
    let (sliding_window, windowed_layers) = windows(&reader, family, layers)?;
    let attention_bias = fields.flag("attention_bias")? == Some(true);
    let all_biases = family.attention_bias == AttentionBias::Setting && attention_bias;
    let rms_norm_eps = fields.number("rms_norm_eps")?.unwrap_or(1e-6);
    if rms_norm_eps < 0.0 {
        return Err(fields.wrong("rms_norm_eps", "at least 0"));
    }
    Ok(NetworkConfig {
        model_type: family.model_type,
        vocab_size: reader.size("vocab_size", fields.integer("vocab_size")?)?,
        hidden_size,
        intermediate_size: reader.size("intermediate_size", fields.integer("intermediate_size")?)?,
        layers,
        heads,
        kv_heads,
        head_dim,
        max_positions,
        rms_norm_eps,
        rope_theta,
        rope_scaling,
        tied: fields.flag("tie_word_embeddings")?.unwrap_or(false),
        qkv_bias: all_biases || family.attention_bias == AttentionBias::Qkv,
        o_bias: all_biases,
        mlp_bias: fields.flag("mlp_bias")? == Some(true),
        qk_norm: family.qk_norm,
        sliding_window,
        windowed_layers,
        initializer_range: fields.number("initializer_range")?.unwrap_or(0.02),
        bos_token_id: fields.integer("bos_token_id")?,
        eos_token_ids: fields.integers("eos_token_id")?,
        pad_token_id: fields.integer("pad_token_id")?,
    })
}

/// The sliding window, and whether each layer has it.
fn windows(reader: &Reader<'_>, family: &Family, layers: i64) -> Result<(Option<i64>, Vec<bool>), ModelError> {
    let fields = &reader.fields;
    let width = fields.nullable_integer("sliding_window")?;
    let by_type = layer_types(reader, layers)?;
    let used = fields.flag("use_sliding_window")?;
    let sliding_window = match family.window {
        Window::Never => None,
        Window::Always => width.unwrap_or(Some(WINDOW)),
        Window::ByLayer if used == Some(true) => width.unwrap_or(Some(WINDOW)),
        Window::ByLayer => None,
    };
    if sliding_window.is_some_and(|w| w <= 0) {
        return Err(fields.wrong("sliding_window", "over 0"));
    }
    let first = match fields.integer("max_window_layers")? {
        Some(first) if first < 0 => return Err(fields.wrong("max_window_layers", "at least 0")),
        first => first.unwrap_or(28),
    };
    let windowed_layers = match (by_type, sliding_window) {
        (Some(types), None) if types.contains(&true) => {
            return Err(fields.problem(format!(
                "layer_types names sliding_attention, but no sliding window is set for model_type {:?}",
                family.model_type
            )));
        }
        (_, None) => vec![false; layers as usize],
        // transformers loads a Mistral with layer_types as the class Ministral, which has a window per layer.
        (Some(types), Some(_)) => types,
        (None, Some(_)) if family.window == Window::ByLayer => (0..layers).map(|i| i >= first).collect(),
        (None, Some(_)) => vec![true; layers as usize],
    };
    Ok((sliding_window, windowed_layers))
}

/// Whether each layer has sliding attention; `None` without `layer_types`.
fn layer_types(reader: &Reader<'_>, layers: i64) -> Result<Option<Vec<bool>>, ModelError> {
    if reader.fields.get("layer_types").is_none_or(serde_json::Value::is_null) {
        return Ok(None);
    }
    let types: Vec<String> = reader
        .fields
        .parsed("layer_types", "a list of full_attention and sliding_attention, one for each layer")?
        .unwrap_or_default();
    if types.len() as i64 != layers {
        return Err(reader.fields.problem(format!("layer_types names {} layers of {layers}", types.len())));
    }
    let slides = |name: &String| match name.as_str() {
        "full_attention" | "attention" => Ok(false),
        "sliding_attention" => Ok(true),
        other => Err(reader.unsupported("layer_types", other, "full_attention, sliding_attention")),
    };
    types.iter().map(slides).collect::<Result<_, _>>().map(Some)
}

struct Reader<'a> {
    fields: Fields,
    path: &'a Path,
}

impl Reader<'_> {
    /// Refuses fields that ask for computations that this crate does not support.
    fn refuse_unsupported_fields(&self, family: &Family) -> Result<(), ModelError> {
        let fields = &self.fields;
        let act = fields.text("hidden_act")?.unwrap_or("silu");
        if !matches!(act, "silu" | "swish") {
            return Err(self.unsupported("hidden_act", act, "silu"));
        }
        if fields.get("quantization_config").is_some_and(|value| !value.is_null()) {
            return Err(self.unsupported("quantization_config", "set", "weights that are not quantized"));
        }
        if fields.flag("is_causal")? == Some(false) {
            return Err(self.unsupported("is_causal", "false", "causal attention"));
        }
        // These families have no such biases; transformers ignores the field.
        if fields.flag("mlp_bias")? == Some(true) && !family.mlp_bias {
            return Err(self.unsupported("mlp_bias", "true", "false for this model_type"));
        }
        if fields.flag("attention_bias")? == Some(true) && family.attention_bias == AttentionBias::Never {
            return Err(self.unsupported("attention_bias", "true", "false for this model_type"));
        }
        Ok(())
    }

    /// A required size, limited so that the product of two cannot overflow.
    fn size(&self, name: &str, value: Option<i64>) -> Result<i64, ModelError> {
        match value {
            None => Err(self.fields.problem(format!("field {name} is missing"))),
            Some(n) if (1..=1 << 30).contains(&n) => Ok(n),
            Some(n) => Err(self.fields.problem(format!("{name} is {n}; it must be from 1 to 2^30"))),
        }
    }

    fn unsupported(&self, what: &'static str, value: &str, supported: &'static str) -> ModelError {
        let value = value.chars().take(60).collect();
        ModelError::Unsupported { path: self.path.to_owned(), what, value, supported }
    }
}
