//! Reading and writing `config.json`.

use std::path::Path;

use super::{NetworkConfig, RopeScaling};
use crate::ModelError;

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

/// Defaults of transformers' configuration classes; null differs from an absent field.
#[test]
fn absent_fields_have_the_defaults_of_transformers() {
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
fn windows_are_per_layer_in_families_with_such_windows() {
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
fn a_written_configuration_is_read_back() {
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

/// JSON writers in other languages write whole numbers as `8192.0`.
#[test]
fn whole_numbers_are_read_in_both_spellings() {
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

/// As `AutoConfig` of transformers 5.23, which loads a Mistral with `layer_types` as a Ministral.
#[test]
fn a_mistral_has_its_window_in_the_layers_that_layer_types_names() {
    let of = |more: &str| {
        read(&format!(r#"{{"model_type": "mistral", {BODY}, "num_key_value_heads": 2, "sliding_window": 16{more}}}"#))
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
