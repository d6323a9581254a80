//! The network's shape, from a Hugging Face `config.json`, and what each family changes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::rope::RopeScaling;

/// What differs from one model family to the next; everything else is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Family {
    model_type: &'static str,
    /// Biases on q, k and v whatever the configuration says.
    qkv_bias: bool,
    /// RMS norms on each head's q and k.
    qk_norm: bool,
    /// Whether `sliding_window` holds unless `use_sliding_window` says otherwise.
    sliding_window: bool,
}

const FAMILIES: [Family; 4] = [
    Family { model_type: "llama", qkv_bias: false, qk_norm: false, sliding_window: false },
    Family { model_type: "mistral", qkv_bias: false, qk_norm: false, sliding_window: true },
    Family { model_type: "qwen2", qkv_bias: true, qk_norm: false, sliding_window: false },
    Family { model_type: "qwen3", qkv_bias: false, qk_norm: true, sliding_window: false },
];
const SUPPORTED: &str = "llama, mistral, qwen2, qwen3";

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
    /// Longest text.
    pub max_positions: i64,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched.
    pub rope_scaling: RopeScaling,
    /// Whether the output embedding is the input's.
    pub tied: bool,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// A bias on the attention's output projection.
    pub o_bias: bool,
    /// Biases in the MLP.
    pub mlp_bias: bool,
    /// RMS norms on each head's q and k (Qwen 3).
    pub qk_norm: bool,
    /// A place sees this many places, itself included.
    pub sliding_window: Option<i64>,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// First token of a text.
    pub bos_token_id: Option<i64>,
    /// Last tokens of a text.
    pub eos_token_ids: Vec<i64>,
    /// Padding, which this crate never uses but writes back.
    pub pad_token_id: Option<i64>,
}

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
    num_key_value_heads: Option<i64>,
    head_dim: Option<i64>,
    hidden_act: Option<String>,
    max_position_embeddings: Option<i64>,
    rms_norm_eps: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<serde_json::Value>,
    rope_parameters: Option<serde_json::Value>,
    tie_word_embeddings: Option<bool>,
    attention_bias: Option<bool>,
    mlp_bias: Option<bool>,
    sliding_window: Option<i64>,
    use_sliding_window: Option<bool>,
    initializer_range: Option<f64>,
    bos_token_id: Option<i64>,
    eos_token_id: Option<OneOrMany>,
    pad_token_id: Option<i64>,
}

impl NetworkConfig {
    /// Reads `config.json` of a model folder.
    pub fn from_folder(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("config.json");
        let text = std::fs::read_to_string(&path).map_err(|e| ModelError::file(&path, e))?;
        Self::from_json(&text, &path)
    }

    /// Reads the text of a `config.json`; `path` is named in errors.
    pub fn from_json(text: &str, path: &Path) -> Result<Self, ModelError> {
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
        let kv_heads = reader.size("num_key_value_heads", file.num_key_value_heads.or(Some(heads)))?;
        let head_dim = reader.size("head_dim", file.head_dim.or(Some(hidden_size / heads)))?;
        if heads % kv_heads != 0 {
            return Err(
                reader.config(format!("num_attention_heads {heads} is no multiple of num_key_value_heads {kv_heads}"))
            );
        }
        if head_dim % 2 != 0 {
            return Err(reader.config(format!("head_dim {head_dim} is odd; rotary embeddings turn pairs")));
        }
        let max_positions = reader.size("max_position_embeddings", file.max_position_embeddings.or(Some(2048)))?;
        // The new layout puts theta and scaling into one object; either may be missing in old files.
        let rope = file.rope_parameters.or(file.rope_scaling).unwrap_or_default();
        let rope_theta = rope.get("rope_theta").and_then(|t| t.as_f64()).or(file.rope_theta).unwrap_or(10_000.0);
        if !(rope_theta.is_finite() && rope_theta > 1.0) {
            return Err(reader.config(format!("rope_theta {rope_theta} is not over 1")));
        }
        let rope_scaling = RopeScaling::from_json(&rope, max_positions)
            .map_err(|(what, value)| reader.unsupported(what, &value, "default, linear, dynamic, llama3"))?;
        let windowed = file.use_sliding_window.unwrap_or(family.sliding_window);
        let sliding_window = file.sliding_window.filter(|_| windowed);
        if sliding_window.is_some_and(|w| w <= 0) {
            return Err(reader.config("sliding_window is not over 0".into()));
        }
        let attention_bias = file.attention_bias.unwrap_or(false);
        let rms_norm_eps = file.rms_norm_eps.unwrap_or(1e-6);
        if !(rms_norm_eps.is_finite() && rms_norm_eps >= 0.0) {
            return Err(reader.config(format!("rms_norm_eps is {rms_norm_eps}")));
        }
        Ok(NetworkConfig {
            model_type: family.model_type,
            vocab_size: reader.size("vocab_size", file.vocab_size)?,
            hidden_size,
            intermediate_size: reader.size("intermediate_size", file.intermediate_size)?,
            layers: reader.size("num_hidden_layers", file.num_hidden_layers)?,
            heads,
            kv_heads,
            head_dim,
            max_positions,
            rms_norm_eps,
            rope_theta,
            rope_scaling,
            tied: file.tie_word_embeddings.unwrap_or(false),
            qkv_bias: family.qkv_bias || attention_bias,
            o_bias: attention_bias && !family.qkv_bias,
            mlp_bias: file.mlp_bias.unwrap_or(false),
            qk_norm: family.qk_norm,
            sliding_window,
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

    /// A small Llama to be trained from nothing.
    pub fn llama(vocab_size: i64, shape: &LlamaShape) -> Result<Self, ModelError> {
        let file = serde_json::json!({
            "model_type": "llama", "vocab_size": vocab_size, "hidden_size": shape.hidden_size,
            "intermediate_size": shape.intermediate_size, "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads,
            "max_position_embeddings": shape.max_positions, "tie_word_embeddings": true,
        });
        Self::from_json(&file.to_string(), &PathBuf::from("base model settings"))
    }

    /// The same as a `config.json` that transformers loads.
    pub fn to_json(&self) -> serde_json::Value {
        let architecture = match self.model_type {
            "mistral" => "MistralForCausalLM",
            "qwen2" => "Qwen2ForCausalLM",
            "qwen3" => "Qwen3ForCausalLM",
            _ => "LlamaForCausalLM",
        };
        let eos = match self.eos_token_ids.as_slice() {
            [] => serde_json::Value::Null,
            [id] => (*id).into(),
            ids => ids.into(),
        };
        serde_json::json!({
            "architectures": [architecture], "model_type": self.model_type, "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size, "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads, "head_dim": self.head_dim, "hidden_act": "silu",
            "max_position_embeddings": self.max_positions, "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta, "rope_scaling": self.rope_scaling.to_json(),
            "tie_word_embeddings": self.tied, "attention_bias": self.qkv_bias && self.o_bias,
            "mlp_bias": self.mlp_bias, "sliding_window": self.sliding_window,
            "use_sliding_window": self.sliding_window.is_some(), "initializer_range": self.initializer_range,
            "bos_token_id": self.bos_token_id, "eos_token_id": eos, "pad_token_id": self.pad_token_id,
            "torch_dtype": "float32",
        })
    }
}

/// Sizes of a small Llama to be trained from nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NetworkConfig, ModelError> {
        NetworkConfig::from_json(text, Path::new("config.json"))
    }

    const BODY: &str = r#""vocab_size": 96, "hidden_size": 32, "intermediate_size": 80, "num_hidden_layers": 2,
        "num_attention_heads": 4"#;

    #[test]
    fn both_rope_layouts_are_read() {
        let old = read(&format!(r#"{{"model_type": "llama", {BODY}, "rope_theta": 500000.0}}"#)).unwrap();
        let new = read(&format!(
            r#"{{"model_type": "llama", {BODY}, "rope_parameters": {{"rope_type": "default", "rope_theta": 500000.0}}}}"#
        ))
        .unwrap();
        assert_eq!(old, new);
        assert_eq!((old.rope_theta, old.kv_heads, old.head_dim), (500_000.0, 4, 8));
    }

    #[test]
    fn families_differ_where_the_table_says() {
        let of =
            |family: &str| read(&format!(r#"{{"model_type": "{family}", {BODY}, "sliding_window": 16}}"#)).unwrap();
        assert!(of("qwen2").qkv_bias && !of("qwen2").o_bias && of("qwen3").qk_norm);
        assert_eq!(of("mistral").sliding_window, Some(16));
        assert_eq!(of("qwen2").sliding_window, None);
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for family in ["llama", "mistral", "qwen2", "qwen3"] {
            let config = read(&format!(
                r#"{{"model_type": "{family}", {BODY}, "sliding_window": 16, "eos_token_id": [1, 2],
                "rope_scaling": {{"rope_type": "linear", "factor": 2.0}}}}"#
            ))
            .unwrap();
            assert_eq!(read(&config.to_json().to_string()).unwrap(), config);
        }
    }

    #[test]
    fn bad_configurations_are_named() {
        for (text, word) in [
            (r#"{"model_type": "gpt2"}"#.to_owned(), "\"gpt2\""),
            (format!(r#"{{"model_type": "llama", {BODY}, "num_key_value_heads": 3}}"#), "num_key_value_heads 3"),
            (format!(r#"{{"model_type": "llama", {BODY}, "head_dim": 7}}"#), "head_dim 7"),
            (r#"{"model_type": "llama", "hidden_size": 0}"#.to_owned(), "hidden_size is 0"),
            (format!(r#"{{"model_type": "llama", {BODY}, "hidden_act": "gelu"}}"#), "gelu"),
            (format!(r#"{{"model_type": "llama", {BODY}, "rope_scaling": {{"type": "su"}}}}"#), "\"su\""),
            ("{".to_owned(), "line 1"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("config.json"), "{error}");
        }
    }
}
