//! The tokens that end a generated answer.

use serde_json::{Value, json};

use super::metadata::Keys;

/// Keys that name such a token.
const KEYS: [&str; 3] = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"];

/// Tokens that end a turn: where the file names none, llama.cpp takes the first of these that is in the vocabulary.
const TURN_ENDS: [&str; 4] = ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"];

/// A `generation_config.json` with the tokens that end an answer.
pub(super) fn generation_config(keys: Keys<'_>) -> Result<Value, String> {
    let mut ids = Vec::new();
    for key in KEYS {
        ids.extend(keys.integer(key)?);
    }
    if !keys.has("tokenizer.ggml.eot_token_id") {
        let tokens = keys.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
        let found = TURN_ENDS.iter().find_map(|end| tokens.iter().position(|token| token == end));
        ids.extend(found.and_then(|id| i64::try_from(id).ok()));
    }
    let mut once = Vec::new();
    for id in ids {
        if !once.contains(&id) {
            once.push(id);
        }
    }
    Ok(json!({
        "bos_token_id": keys.integer("tokenizer.ggml.bos_token_id")?,
        "eos_token_id": once,
        "pad_token_id": keys.integer("tokenizer.ggml.padding_token_id")?,
    }))
}
