//! The network's shape, from a Hugging Face `config.json`.

mod file;
mod rope_scaling;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::family::{FAMILIES, Family, Window};
use crate::rope::RopeScaling;

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
    /// A place sees this many places, itself included, in the layers that have a window.
    pub sliding_window: Option<i64>,
    /// Whether each layer has the window.
    pub windowed_layers: Vec<bool>,
    /// Standard deviation of fresh weights.
    pub initializer_range: f64,
    /// First token of a text.
    pub bos_token_id: Option<i64>,
    /// Last tokens of a text.
    pub eos_token_ids: Vec<i64>,
    /// Padding, which this crate never uses but writes back.
    pub pad_token_id: Option<i64>,
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
        file::read(text, path)
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

    /// The window of a layer.
    pub fn window(&self, layer: usize) -> Option<i64> {
        self.sliding_window.filter(|_| self.windowed_layers.get(layer) == Some(&true))
    }

    /// The longest text it takes in tokens: more than `max_positions` where frequencies grow with the text.
    pub fn longest_text(&self) -> i64 {
        match self.rope_scaling {
            RopeScaling::Dynamic { factor, .. } => (self.max_positions as f64 * factor.max(1.0)) as i64,
            _ => self.max_positions,
        }
    }

    /// The name of the family's class in transformers with this ending, such as `ForCausalLM`.
    pub(crate) fn architecture(&self, ending: &str) -> String {
        format!("{}{ending}", self.family().map_or("Llama", |f| f.class))
    }

    fn family(&self) -> Option<&'static Family> {
        FAMILIES.iter().find(|f| f.model_type == self.model_type)
    }

    /// The same as a `config.json` that transformers loads.
    pub fn to_json(&self) -> serde_json::Value {
        let eos = match self.eos_token_ids.as_slice() {
            [] => serde_json::Value::Null,
            [id] => (*id).into(),
            ids => ids.into(),
        };
        let by_layer = match self.family().map(|family| family.window) {
            Some(Window::ByLayer) => true,
            // transformers loads a Mistral with the names as another class.
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
        let of = |family: &str| {
            read(&format!(r#"{{"model_type": "{family}", {BODY}, "num_key_value_heads": 2, "sliding_window": 16}}"#))
                .unwrap()
        };
        assert!(of("qwen2").qkv_bias && !of("qwen2").o_bias && of("qwen3").qk_norm);
        assert_eq!((of("mistral").window(0), of("mistral").window(1)), (Some(16), Some(16)));
        assert_eq!((of("qwen2").sliding_window, of("llama").sliding_window), (None, None));
    }

    /// Defaults of transformers' configuration classes; null is not the same as nothing.
    #[test]
    fn fields_that_are_not_there_mean_what_transformers_says() {
        let body = BODY.replace("\"num_attention_heads\": 4", "\"num_attention_heads\": 32");
        let of = |family: &str, more: &str| read(&format!(r#"{{"model_type": "{family}", {body}{more}}}"#)).unwrap();
        let mistral = of("mistral", r#", "head_dim": 8"#);
        assert_eq!((mistral.kv_heads, mistral.sliding_window, mistral.max_positions), (8, Some(4096), 131_072));
        let mistral = of("mistral", r#", "head_dim": 8, "num_key_value_heads": null, "sliding_window": null"#);
        assert_eq!((mistral.kv_heads, mistral.sliding_window), (32, None));
        assert_eq!((of("qwen3", "").head_dim, of("qwen3", "").qkv_bias), (128, false));
        let biased = of("qwen3", r#", "attention_bias": true"#);
        assert!(biased.qkv_bias && biased.o_bias);
    }

    #[test]
    fn windows_go_by_layer_where_the_family_has_them_so() {
        let of = |more: &str| {
            read(&format!(r#"{{"model_type": "qwen2", {BODY}, "num_key_value_heads": 2, "sliding_window": 16{more}}}"#))
        };
        let on = r#", "use_sliding_window": true, "max_window_layers": 1"#;
        let config = of(on).unwrap();
        assert_eq!((config.window(0), config.window(1)), (None, Some(16)));
        let config = of(&format!(r#"{on}, "layer_types": ["sliding_attention", "full_attention"]"#)).unwrap();
        assert_eq!((config.window(0), config.window(1), config.window(2)), (Some(16), None, None));
        let error = of(&format!(r#"{on}, "layer_types": ["sliding_attention"]"#)).unwrap_err().to_string();
        assert!(error.contains("layer_types names 1 layers of 2"), "{error}");
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for family in ["llama", "mistral", "qwen2", "qwen3"] {
            let bias = if family == "mistral" { "" } else { r#""attention_bias": true,"# };
            let types = match family {
                "mistral" => r#""layer_types": ["full_attention", "sliding_attention"],"#,
                _ => "",
            };
            let config = read(&format!(
                r#"{{"model_type": "{family}", {BODY}, "num_key_value_heads": 2, "sliding_window": 16, {bias} {types}
                "use_sliding_window": true, "max_window_layers": 1, "eos_token_id": [1, 2],
                "rope_scaling": {{"rope_type": "linear", "factor": 2.0}}}}"#
            ))
            .unwrap();
            assert_eq!(config.windowed_layers, [false, family != "llama"]);
            assert_eq!(read(&config.to_json().to_string()).unwrap(), config);
        }
    }

    /// JSON writers in other languages spell whole numbers `8192.0`; what they mean does not change.
    #[test]
    fn every_number_counts_in_either_spelling() {
        let text = format!(
            r#"{{"model_type": "qwen2", {BODY}, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16,
            "use_sliding_window": true, "max_window_layers": 1, "max_position_embeddings": 512, "bos_token_id": 3,
            "eos_token_id": [1, 2], "pad_token_id": 4, "rope_theta": 10000, "rms_norm_eps": 1, "initializer_range": 1,
            "rope_scaling": {{"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 64}}}}"#
        );
        let digits = fancy_regex::Regex::new(r"(: |\[|, )(\d+)\b").unwrap();
        let floats = digits.replace_all(&text, "$1$2.0").into_owned();
        assert!(floats.contains("\"original_max_position_embeddings\": 64.0") && floats.contains("[1.0, 2.0]"));
        let config = read(&text).unwrap();
        assert_eq!(read(&floats).unwrap(), config);
        assert!(matches!(config.rope_scaling, RopeScaling::Yarn { original: 64, .. }));
        assert_eq!(
            read(&text.replace("\"hidden_size\": 32,", "\"hidden_size\": 1, \"hidden_size\": 32,")).unwrap(),
            config
        );
    }

    /// As `AutoConfig` of transformers 5.23, which takes a Mistral with `layer_types` for a Ministral.
    #[test]
    fn a_mistral_has_its_window_in_the_layers_that_layer_types_names() {
        let of = |more: &str| {
            read(&format!(
                r#"{{"model_type": "mistral", {BODY}, "num_key_value_heads": 2, "sliding_window": 16{more}}}"#
            ))
        };
        assert_eq!(of("").unwrap().windowed_layers, [true, true]);
        let config = of(r#", "layer_types": ["full_attention", "sliding_attention"]"#).unwrap();
        assert_eq!((config.window(0), config.window(1)), (None, Some(16)));
        let error = of(r#", "layer_types": ["full_attention", "chunked_attention"]"#).unwrap_err().to_string();
        assert!(error.contains("chunked_attention"), "{error}");
    }

    #[test]
    fn bad_configurations_are_named() {
        let llama = |field: &str| format!(r#"{{"model_type": "llama", {BODY}, {field}}}"#);
        for (text, word) in [
            (r#"{"model_type": "gpt2"}"#.to_owned(), "\"gpt2\""),
            (format!(r#"{{"model_type": "llama", {BODY}, "num_key_value_heads": 3}}"#), "num_key_value_heads 3"),
            (format!(r#"{{"model_type": "llama", {BODY}, "head_dim": 7}}"#), "head_dim 7"),
            (
                format!(r#"{{"model_type": "llama", {BODY}}}"#).replace("_layers\": 2", "_layers\": 1000000"),
                "num_hidden_layers is 1000000; it may be at most",
            ),
            (format!(r#"{{"model_type": "llama", {BODY}, "partial_rotary_factor": 0.5}}"#), "partial_rotary_factor"),
            (r#"{"model_type": "llama", "hidden_size": 0}"#.to_owned(), "hidden_size is 0"),
            (format!(r#"{{"model_type": "llama", {BODY}, "hidden_act": "gelu"}}"#), "gelu"),
            (format!(r#"{{"model_type": "llama", {BODY}, "rope_scaling": {{"type": "su"}}}}"#), "\"su\""),
            ("{".to_owned(), "line 1"),
            (llama(r#""rope_scaling": "linear""#), "rope_scaling is \"linear\"; it must be an object"),
            (llama(r#""rope_scaling": {"type": null, "factor": 2.0}"#), "rope_scaling.type is null"),
            (llama(r#""rope_parameters": {"rope_type": null}"#), "rope_parameters.rope_type is null"),
            (
                llama(r#""rope_scaling": {"type": "yarn", "original_max_position_embeddings": "64"}"#),
                "rope_scaling.original_max_position_embeddings is \"64\"",
            ),
            (llama(r#""rope_scaling": {"type": "yarn", "factor": 2, "attention_factor": "1"}"#), "attention_factor"),
            (llama(r#""rope_scaling": {"type": "yarn", "factor": 2, "truncate": "no"}"#), "rope_scaling.truncate"),
            (llama(r#""rope_parameters": {"rope_theta": "1e6"}"#), "rope_parameters.rope_theta is \"1e6\""),
            (llama(r#""hidden_size": 32.5"#), "hidden_size is 32.5; it must be a whole number"),
            (llama(r#""layer_types": ["sliding_attention", "full_attention"]"#), "no sliding window is set"),
            (llama(r#""layer_types": "full_attention""#), "layer_types is \"full_attention\""),
            (llama(r#""quantization_config": {"bits": 4}"#), "quantization_config"),
            (llama(r#""is_causal": false"#), "is_causal"),
            (llama(r#""tie_word_embeddings": "yes""#), "tie_word_embeddings is \"yes\""),
            (llama(r#""rms_norm_eps": NaN"#), "rms_norm_eps is \"NaN\""),
            (llama(r#""attention_bias": true"#).replace("llama", "mistral"), "attention_bias"),
            (llama(r#""mlp_bias": true"#).replace("llama", "qwen3"), "mlp_bias"),
        ] {
            let error = read(&text).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("config.json"), "{error}");
        }
    }
}
