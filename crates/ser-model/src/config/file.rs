//! Reading a `config.json`.

use std::path::Path;

use serde::Deserialize;

use super::NetworkConfig;
use crate::ModelError;
use crate::family::{AttentionBias, FAMILIES, Family, SUPPORTED, WINDOW, Window};
use crate::rope::RopeScaling;

/// More layers than any decoder has: a damaged file may not ask for a list of a billion.
const MAX_LAYERS: i64 = 10_000;

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(i64),
    Many(Vec<i64>),
}

/// The file's fields, in both the old layout (`rope_theta`, `rope_scaling`) and the new (`rope_parameters`).
#[derive(Deserialize)]
struct File {
    model_type: Option<String>,
    vocab_size: Option<i64>,
    hidden_size: Option<i64>,
    intermediate_size: Option<i64>,
    num_hidden_layers: Option<i64>,
    num_attention_heads: Option<i64>,
    #[serde(default, deserialize_with = "given")]
    num_key_value_heads: Option<Option<i64>>,
    #[serde(default, deserialize_with = "given")]
    head_dim: Option<Option<i64>>,
    hidden_act: Option<String>,
    max_position_embeddings: Option<i64>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<serde_json::Value>,
    rope_parameters: Option<serde_json::Value>,
    partial_rotary_factor: Option<f64>,
    original_max_position_embeddings: Option<i64>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    #[serde(default, deserialize_with = "given")]
    sliding_window: Option<Option<i64>>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<i64>,
    layer_types: Option<Vec<String>>,
    initializer_range: Option<f64>,
    bos_token_id: Option<i64>,
    eos_token_id: Option<OneOrMany>,
    pad_token_id: Option<i64>,
}

/// A field that is `null` is given: `Some(None)`. In transformers that is not the same as one that is not there.
fn given<'de, D: serde::Deserializer<'de>>(field: D) -> Result<Option<Option<i64>>, D::Error> {
    Option::<i64>::deserialize(field).map(Some)
}

/// The network that the text of a `config.json` describes; `path` is named in errors.
pub(super) fn read(text: &str, path: &Path) -> Result<NetworkConfig, ModelError> {
    let file: File = serde_json::from_str(text).map_err(|e| ModelError::json(path, e))?;
    let reader = Reader { path };
    let model_type = file.model_type.as_deref().unwrap_or_default();
    let Some(family) = FAMILIES.iter().find(|f| f.model_type == model_type) else {
        return Err(reader.unsupported("model_type", model_type, SUPPORTED));
    };
    let act = file.hidden_act.as_deref().unwrap_or("silu");
    if !matches!(act, "silu" | "swish") {
        return Err(reader.unsupported("hidden_act", act, "silu"));
    }
    let hidden_size = reader.size("hidden_size", file.hidden_size)?;
    let heads = reader.size("num_attention_heads", file.num_attention_heads)?;
    // Not there: the family's default. Null: as the other sizes have it.
    let or_default = |field: Option<Option<i64>>, default: Option<i64>| field.unwrap_or(default);
    let kv_heads = or_default(file.num_key_value_heads, family.kv_heads).unwrap_or(heads);
    let kv_heads = reader.size("num_key_value_heads", Some(kv_heads))?;
    let head_dim = or_default(file.head_dim, family.head_dim).unwrap_or(hidden_size / heads);
    let head_dim = reader.size("head_dim", Some(head_dim))?;
    if heads % kv_heads != 0 {
        return Err(
            reader.config(format!("num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}"))
        );
    }
    if head_dim % 2 != 0 {
        return Err(reader.config(format!("head_dim {head_dim} is odd; rotary embeddings turn pairs")));
    }
    let max_positions = file.max_position_embeddings.unwrap_or(family.max_positions);
    let max_positions = reader.size("max_position_embeddings", Some(max_positions))?;
    let (rope_theta, rope_scaling) = rope(&file, max_positions, &reader)?;
    let layers = reader.size("num_hidden_layers", file.num_hidden_layers)?;
    if layers > MAX_LAYERS {
        return Err(reader.config(format!("num_hidden_layers is {layers}; it may be at most {MAX_LAYERS}")));
    }
    let (sliding_window, windowed_layers) = windows(&file, family, layers, &reader)?;
    let all_biases = family.attention_bias == AttentionBias::Setting && file.attention_bias == Some(true);
    let rms_norm_eps = file.rms_norm_eps.unwrap_or(1e-6);
    if !(rms_norm_eps.is_finite() && rms_norm_eps >= 0.0) {
        return Err(reader.config(format!("rms_norm_eps is {rms_norm_eps}")));
    }
    Ok(NetworkConfig {
        model_type: family.model_type,
        vocab_size: reader.size("vocab_size", file.vocab_size)?,
        hidden_size,
        intermediate_size: reader.size("intermediate_size", file.intermediate_size)?,
        layers,
        heads,
        kv_heads,
        head_dim,
        max_positions,
        rms_norm_eps,
        rope_theta,
        rope_scaling,
        tied: file.tie_word_embeddings.unwrap_or(false),
        qkv_bias: all_biases || family.attention_bias == AttentionBias::Qkv,
        o_bias: all_biases,
        mlp_bias: family.mlp_bias && file.mlp_bias == Some(true),
        qk_norm: family.qk_norm,
        sliding_window,
        windowed_layers,
        initializer_range: file.initializer_range.unwrap_or(0.02),
        bos_token_id: file.bos_token_id,
        eos_token_ids: match file.eos_token_id {
            None => Vec::new(),
            Some(OneOrMany::One(id)) => vec![id],
            Some(OneOrMany::Many(ids)) => ids,
        },
        pad_token_id: file.pad_token_id,
    })
}

/// Base of the rotary frequencies, and how they are stretched.
fn rope(file: &File, max_positions: i64, reader: &Reader<'_>) -> Result<(f64, RopeScaling), ModelError> {
    // The old layout has theta beside an object for the scaling, the new one both in one object.
    let object = |v: &serde_json::Value| v.as_object().is_some_and(|o| !o.is_empty());
    let mut rope = file.rope_scaling.clone().filter(object).or(file.rope_parameters.clone()).unwrap_or_default();
    if let (Some(original), Some(rope)) = (file.original_max_position_embeddings, rope.as_object_mut()) {
        rope.insert("original_max_position_embeddings".into(), original.into());
    }
    let theta = rope.get("rope_theta").and_then(|t| t.as_f64()).or(file.rope_theta).unwrap_or(10_000.0);
    if !(theta.is_finite() && theta > 1.0) {
        return Err(reader.config(format!("rope_theta {theta} is not over 1")));
    }
    let partial = rope.get("partial_rotary_factor").and_then(|f| f.as_f64()).or(file.partial_rotary_factor);
    if let Some(factor) = partial.filter(|&f| f != 1.0) {
        return Err(reader.unsupported("partial_rotary_factor", &factor.to_string(), "1"));
    }
    let scaling = RopeScaling::from_json(&rope, max_positions).map_err(|(what, value)| {
        reader.unsupported(what, &value, "default, linear, dynamic, llama3, yarn, with positive factors")
    })?;
    Ok((theta, scaling))
}

/// The sliding window, and which layers have it.
fn windows(
    file: &File,
    family: &Family,
    layers: i64,
    reader: &Reader<'_>,
) -> Result<(Option<i64>, Vec<bool>), ModelError> {
    let sliding_window = match family.window {
        Window::Never => None,
        Window::Always => file.sliding_window.unwrap_or(Some(WINDOW)),
        Window::ByLayer if file.use_sliding_window == Some(true) => file.sliding_window.unwrap_or(Some(WINDOW)),
        Window::ByLayer => None,
    };
    if sliding_window.is_some_and(|w| w <= 0) {
        return Err(reader.config("sliding_window is not over 0".into()));
    }
    let windowed_layers = match (sliding_window, family.window) {
        (None, _) | (_, Window::Never) => vec![false; layers as usize],
        (_, Window::Always) => vec![true; layers as usize],
        (_, Window::ByLayer) => match &file.layer_types {
            None => (0..layers).map(|i| i >= file.max_window_layers.unwrap_or(28)).collect(),
            Some(types) if types.len() as i64 == layers => types
                .iter()
                .map(|name| match name.as_str() {
                    "full_attention" => Ok(false),
                    "sliding_attention" => Ok(true),
                    other => Err(reader.unsupported("layer_types", other, "full_attention, sliding_attention")),
                })
                .collect::<Result<_, _>>()?,
            Some(types) => {
                return Err(reader.config(format!("layer_types names {} layers of {layers}", types.len())));
            }
        },
    };
    Ok((sliding_window, windowed_layers))
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    /// A size that must be there and lie in a sane range, so that products of two cannot overflow.
    fn size(&self, name: &str, value: Option<i64>) -> Result<i64, ModelError> {
        match value {
            None => Err(self.config(format!("field {name} is missing"))),
            Some(n) if (1..=1 << 30).contains(&n) => Ok(n),
            Some(n) => Err(self.config(format!("{name} is {n}; it must be from 1 to 2^30"))),
        }
    }

    fn config(&self, problem: String) -> ModelError {
        ModelError::Config { path: self.path.to_owned(), problem }
    }

    fn unsupported(&self, what: &'static str, value: &str, supported: &'static str) -> ModelError {
        ModelError::Unsupported { path: self.path.to_owned(), what, value: value.to_owned(), supported }
    }
}
