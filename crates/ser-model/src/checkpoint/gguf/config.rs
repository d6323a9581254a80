//! The network's settings: from GGUF's keys to the fields of a `config.json`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::TensorEntry;
use super::architecture::Architecture;
use super::metadata::Keys;
use super::rope::rope_scaling;

/// Keys that change what a network computes, with the value at which they do not.
const NEUTRAL: [(&str, f64); 11] = [
    ("attention.clamp_kqv", 0.0),
    ("attention.max_alibi_bias", 0.0),
    ("attention.scale", 0.0),
    ("attn_logit_softcapping", 0.0),
    ("embedding_scale", 1.0),
    ("expert_count", 0.0),
    ("final_logit_softcapping", 0.0),
    ("logit_scale", 1.0),
    ("nextn_predict_layers", 0.0),
    ("residual_scale", 1.0),
    ("attention.temperature_length", 0.0),
];

/// Heads of queries, and of keys and values.
pub(super) fn heads(keys: Keys<'_>, architecture: Architecture) -> Result<(i64, i64), String> {
    let key = architecture.key("attention.head_count");
    let heads = keys.required(&key)?;
    let kv_key = architecture.key("attention.head_count_kv");
    let kv_heads = keys.integer(&kv_key)?.unwrap_or(heads);
    for (key, heads) in [(key, heads), (kv_key, kv_heads)] {
        if heads == 0 {
            return Err(format!("metadata key {key} is 0; it must be at least 1"));
        }
    }
    Ok((heads, kv_heads))
}

/// The file's network as a `config.json`, which the reader of those then checks.
pub(super) fn config(keys: Keys<'_>, tensors: &BTreeMap<String, TensorEntry>) -> Result<Value, String> {
    let architecture = Architecture::of(keys)?;
    let key = |rest: &str| architecture.key(rest);
    for (name, neutral) in NEUTRAL {
        if let Some(value) = keys.number(&key(name))?.filter(|&value| value != neutral) {
            return Err(format!("{} {value} is not supported", key(name)));
        }
    }
    if keys.flag(&key("attention.causal"))? == Some(false) {
        return Err(format!("{} false is not supported", key("attention.causal")));
    }
    let (heads, kv_heads) = heads(keys, architecture)?;
    let hidden = keys.required(&key("embedding_length"))?;
    let head_dim = head_dim(keys, architecture, tensors, hidden, heads)?;
    let layers = keys.required(&key("block_count"))?;
    let context = keys.required(&key("context_length"))?;
    let rows = |name: &str| tensors.get(name).and_then(|entry| entry.shape.first().copied());
    let Some(vocab) = rows("token_embd.weight") else { return Err("tensor token_embd.weight is missing".to_owned()) };
    let window = Window::of(keys, architecture, layers, context)?;
    let model_type = match (architecture, &window) {
        // A llama with a window is a Mistral.
        (Architecture::Llama, Some(_)) => "mistral",
        (architecture, _) => architecture.name(),
    };
    let class = match model_type {
        "mistral" => "MistralForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        _ => "LlamaForCausalLM",
    };
    let (theta, scaling) = rope_scaling(keys, architecture, tensors, head_dim)?;
    let has = |name: &str| tensors.contains_key(name);
    let mut config = json!({
        "architectures": [class], "model_type": model_type, "hidden_act": "silu", "vocab_size": vocab,
        "hidden_size": hidden, "intermediate_size": keys.required(&key("feed_forward_length"))?,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "head_dim": head_dim, "max_position_embeddings": context,
        "rms_norm_eps": required_number(keys, &key("attention.layer_norm_rms_epsilon"))?,
        "rope_theta": theta, "rope_scaling": scaling,
        "tie_word_embeddings": !has("output.weight"),
        "sliding_window": window.as_ref().map(|window| window.width), "use_sliding_window": window.is_some(),
        "bos_token_id": keys.integer("tokenizer.ggml.bos_token_id")?,
        "eos_token_id": keys.integer("tokenizer.ggml.eos_token_id")?,
        "pad_token_id": keys.integer("tokenizer.ggml.padding_token_id")?,
        "dtype": "float32",
    });
    if let Some(fields) = config.as_object_mut() {
        if architecture != Architecture::Qwen2 && model_type != "mistral" {
            fields.insert("attention_bias".to_owned(), has("blk.0.attn_q.bias").into());
        }
        if model_type == "llama" {
            fields.insert("mlp_bias".to_owned(), has("blk.0.ffn_gate.bias").into());
        }
        if let Some(types) = window.and_then(|window| window.layer_types) {
            fields.insert("layer_types".to_owned(), types.into());
        }
    }
    Ok(config)
}

fn required_number(keys: Keys<'_>, key: &str) -> Result<f64, String> {
    keys.number(key)?.ok_or_else(|| format!("metadata key {key} is missing; it must be a number"))
}

/// The size of a head: named by the file, or that of the query weights.
fn head_dim(
    keys: Keys<'_>,
    architecture: Architecture,
    tensors: &BTreeMap<String, TensorEntry>,
    hidden: i64,
    heads: i64,
) -> Result<i64, String> {
    let integer = |rest: &str| keys.integer(&architecture.key(rest));
    let rows = tensors.get("blk.0.attn_q.weight").and_then(|entry| entry.shape.first().copied());
    let head_dim = match integer("attention.key_length")? {
        Some(size) => size,
        None => rows.filter(|rows| rows % heads == 0).unwrap_or(hidden) / heads,
    };
    for rest in ["attention.value_length", "rope.dimension_count"] {
        if let Some(other) = integer(rest)?.filter(|&other| other != head_dim) {
            let key = architecture.key(rest);
            return Err(format!("{key} {other} is not supported: it must be the size of a head, {head_dim}"));
        }
    }
    Ok(head_dim)
}

/// Sliding windows.
struct Window {
    width: i64,
    /// As `config.json` names them, where the file has a pattern.
    layer_types: Option<Vec<&'static str>>,
}

impl Window {
    fn of(keys: Keys<'_>, architecture: Architecture, layers: i64, context: i64) -> Result<Option<Self>, String> {
        let key = architecture.key("attention.sliding_window");
        // A window as wide as the longest text changes nothing.
        let Some(width) = keys.integer(&key)?.filter(|&width| width > 0 && width < context) else { return Ok(None) };
        let pattern_key = architecture.key("attention.sliding_window_pattern");
        if !keys.has(&pattern_key) {
            if architecture != Architecture::Llama {
                return Err(format!("{key} is {width}, but {pattern_key}, which says for which layers, is missing"));
            }
            return Ok(Some(Window { width, layer_types: None }));
        }
        let pattern = keys.numbers(&pattern_key)?.unwrap_or_default();
        if i64::try_from(pattern.len()) != Ok(layers) {
            return Err(format!("{pattern_key} has {} entries for {layers} layers", pattern.len()));
        }
        let name = |&slides: &f64| if slides == 0.0 { "full_attention" } else { "sliding_attention" };
        Ok(Some(Window { width, layer_types: Some(pattern.iter().map(name).collect()) }))
    }
}
