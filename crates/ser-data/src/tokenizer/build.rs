//! Builds the tokenizer that transformers builds from a folder.

use serde_json::{Value, json};
use tokenizers::{AddedToken, Tokenizer};

use super::class::TokenizerClass;
use super::folder::{ExtraToken, TokenizerConfig};

/// The split of Qwen 2's pre-tokenizer.
const QWEN2_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Builds the tokenizer that transformers builds from the folder.
pub(crate) fn build(config: &TokenizerConfig) -> Result<Tokenizer, String> {
    let mut tokenizer = match rebuilt(config)? {
        Some(bytes) => Tokenizer::from_bytes(bytes),
        None => Tokenizer::from_bytes(&config.tokenizer_json),
    }
    .map_err(|error| error.to_string())?;
    tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
    tokenizer.with_padding(None);
    tokenizer.set_encode_special_tokens(config.split_special_tokens);
    add_tokens(&mut tokenizer, config)?;
    Ok(tokenizer)
}

/// tokenizer.json with the class's parts, if it replaces any and the model is a BPE.
fn rebuilt(config: &TokenizerConfig) -> Result<Option<Vec<u8>>, String> {
    let Some(parts) = class_parts(config) else { return Ok(None) };
    let mut file: Value = serde_json::from_slice(&config.tokenizer_json).map_err(|error| error.to_string())?;
    let Some(model) = file.get_mut("model") else { return Ok(None) };
    if !model.get("merges").is_some_and(Value::is_array) || !model.get("vocab").is_some_and(Value::is_object) {
        return Ok(None);
    }
    let (vocab, merges) = (model["vocab"].take(), model["merges"].take());
    for (name, part) in parts {
        file[name] = part;
    }
    let model = &mut file["model"];
    model["type"] = "BPE".into();
    model["vocab"] = vocab;
    model["merges"] = merges;
    file["added_tokens"] = Value::Array(Vec::new());
    serde_json::to_vec(&file).map(Some).map_err(|error| error.to_string())
}

/// The parts of tokenizer.json that the class replaces.
fn class_parts(config: &TokenizerConfig) -> Option<[(&'static str, Value); 4]> {
    let byte_level = |add_prefix_space: bool, use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex});
    let plain_model = json!({"fuse_unk": false, "byte_fallback": false, "continuing_subword_prefix": "",
        "end_of_word_suffix": ""});
    match config.class {
        TokenizerClass::File => None,
        TokenizerClass::Llama => {
            let prefix = config.add_prefix_space.unwrap_or(true);
            let scheme = match (prefix, config.legacy) {
                (false, _) => "never",
                (true, true) => "always",
                (true, false) => "first",
            };
            let mut decoders = vec![
                json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
                json!({"type": "ByteFallback"}),
                json!({"type": "Fuse"}),
            ];
            if prefix {
                decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
            }
            Some([
                ("normalizer", Value::Null),
                (
                    "pre_tokenizer",
                    json!({"type": "Metaspace", "replacement": "\u{2581}", "prepend_scheme": scheme, "split": false}),
                ),
                ("decoder", json!({"type": "Sequence", "decoders": decoders})),
                ("model", json!({"fuse_unk": true, "byte_fallback": true})),
            ])
        }
        TokenizerClass::Gpt2 => Some([
            ("normalizer", Value::Null),
            ("pre_tokenizer", byte_level(config.add_prefix_space.unwrap_or(false), true)),
            ("decoder", byte_level(true, true)),
            ("model", plain_model),
        ]),
        TokenizerClass::Qwen2 => {
            let split = json!({"type": "Split", "pattern": {"Regex": QWEN2_SPLIT}, "behavior": "Isolated",
                "invert": false});
            let bytes = byte_level(config.add_prefix_space.unwrap_or(false), false);
            Some([
                ("normalizer", json!({"type": "NFC"})),
                ("pre_tokenizer", json!({"type": "Sequence", "pretokenizers": [split, bytes]})),
                ("decoder", byte_level(true, true)),
                ("model", plain_model),
            ])
        }
    }
}

/// Adds the tokens of the files beside tokenizer.json. A known token takes the flags of the new one.
fn add_tokens(tokenizer: &mut Tokenizer, config: &TokenizerConfig) -> Result<(), String> {
    let known: Vec<String> = tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    let named = || config.named.iter().map(|(_, token)| token);
    let mut tokens: Vec<ExtraToken> = config.added.iter().map(|(_, token)| token.clone()).collect();
    for token in &mut tokens {
        token.special |= named().any(|other| other.content == token.content);
    }
    for token in named().chain(&config.unnamed) {
        if !known.contains(&token.content) && !tokens.iter().any(|other| other.content == token.content) {
            tokens.push(token.clone());
        }
    }
    if config.class == TokenizerClass::Qwen2 {
        tokens.extend(named().chain(&config.unnamed).map(|token| ExtraToken::special(&token.content)));
    }
    let tokens = tokens.into_iter().map(|token| {
        AddedToken::from(token.content, token.special)
            .single_word(token.single_word)
            .lstrip(token.lstrip)
            .rstrip(token.rstrip)
            .normalized(token.normalized.unwrap_or(!token.special))
    });
    tokenizer.add_tokens(tokens.collect::<Vec<_>>()).map(drop).map_err(|error| error.to_string())
}
