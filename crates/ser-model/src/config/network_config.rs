//! The network's shape, from a Hugging Face `config.json`.

use serde::{Deserialize, Serialize};

use super::family::{FAMILIES, Family, Window};
use super::rope_scaling::RopeScaling;

/// The shape of a decoder network, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkConfig {
    /// `llama`, `mistral`, `qwen2` or `qwen3`.
    pub model_type: &'static str,
    /// Rows of the embedding.
    pub vocab_size: i64,
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width inside the gated MLP.
    pub intermediate_size: i64,
    /// Number of layers.
    pub layers: i64,
    /// Query heads.
    pub heads: i64,
    /// Key and value heads; divides `heads`.
    pub kv_heads: i64,
    /// Width of a head.
    pub head_dim: i64,
    /// Longest text in tokens.
    pub max_positions: i64,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// The scaling of the rotary frequencies.
    pub rope_scaling: RopeScaling,
    /// Whether the output embedding is tied to the input embedding.
    pub tied: bool,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// A bias on the attention's output projection.
    pub o_bias: bool,
    /// Biases in the MLP.
    pub mlp_bias: bool,
    /// RMS norms on each head's q and k (Qwen 3).
    pub qk_norm: bool,
    /// Sliding-window size in tokens, for the layers that have a window.
    pub sliding_window: Option<i64>,
    /// Whether each layer has the window.
    pub windowed_layers: Vec<bool>,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// First token of a text.
    pub bos_token_id: Option<i64>,
    /// Last tokens of a text.
    pub eos_token_ids: Vec<i64>,
    /// The padding token. This crate does not use it, but writes it back.
    pub pad_token_id: Option<i64>,
}

impl NetworkConfig {
    /// The sliding window of a layer; `None` without one.
    pub fn window(&self, layer: usize) -> Option<i64> {
        self.sliding_window.filter(|_| self.windowed_layers.get(layer) == Some(&true))
    }

    /// The longest text in tokens: more than `max_positions` under dynamic rotary scaling.
    pub fn longest_text(&self) -> i64 {
        match self.rope_scaling {
            RopeScaling::Dynamic { factor, .. } => (self.max_positions as f64 * factor.max(1.0)) as i64,
            _ => self.max_positions,
        }
    }

    /// The name of the family's class in transformers, with an ending such as `ForCausalLM`.
    pub(crate) fn architecture(&self, ending: &str) -> String {
        format!("{}{ending}", self.family().map_or("Llama", |f| f.class))
    }

    fn family(&self) -> Option<&'static Family> {
        FAMILIES.iter().find(|f| f.model_type == self.model_type)
    }

    /// The configuration as a `config.json` that transformers loads.
    pub fn to_json(&self) -> serde_json::Value {
        let eos = match self.eos_token_ids.as_slice() {
            [] => serde_json::Value::Null,
            [id] => (*id).into(),
            ids => ids.into(),
        };
        let by_layer = match self.family().map(|family| family.window) {
            Some(Window::ByLayer) => true,
            // transformers loads a Mistral with layer_types as another class.
            Some(Window::Always) => self.sliding_window.is_some() && self.windowed_layers.contains(&false),
            Some(Window::Never) | None => false,
        };
        let layer_types = by_layer.then(|| {
            let name = |&windowed: &bool| if windowed { "sliding_attention" } else { "full_attention" };
            self.windowed_layers.iter().map(name).collect::<Vec<_>>()
        });
        let mut file = serde_json::json!({
            "architectures": [self.architecture("ForCausalLM")], "model_type": self.model_type, "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size, "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.head_dim, "hidden_act": "silu",
            "max_position_embeddings": self.max_positions, "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta, "rope_scaling": self.rope_scaling.to_json(),
            "tie_word_embeddings": self.tied, "attention_bias": self.o_bias,
            "mlp_bias": self.mlp_bias, "sliding_window": self.sliding_window,
            "use_sliding_window": self.sliding_window.is_some(), "initializer_range": self.initializer_range,
            "bos_token_id": self.bos_token_id, "eos_token_id": eos, "pad_token_id": self.pad_token_id,
            "dtype": "float32",
        });
        if let (Some(types), Some(fields)) = (layer_types, file.as_object_mut()) {
            fields.insert("layer_types".to_owned(), types.into());
        }
        file
    }
}

/// Sizes of a small Llama, to be trained from random weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LlamaShape {
    /// Width of the residual stream.
    pub hidden_size: i64,
    /// Width inside the MLP.
    pub intermediate_size: i64,
    /// Number of layers.
    pub layers: i64,
    /// Query heads.
    pub heads: i64,
    /// Key and value heads.
    pub kv_heads: i64,
    /// Longest text in tokens.
    pub max_positions: i64,
}

impl Default for LlamaShape {
    fn default() -> Self {
        LlamaShape { hidden_size: 128, intermediate_size: 352, layers: 4, heads: 4, kv_heads: 2, max_positions: 512 }
    }
}
