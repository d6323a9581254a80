//! Tokenizer classes of transformers 5. Most load tokenizer.json as it stands; some build normalizer, pre-tokenizer and
//! decoder anew and take only vocabulary, merges and post-processor from it.

use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, Tokenizer};

use super::folder::{ExtraToken, TokenizerConfig};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TokenizerClass {
    /// tokenizer.json as it stands.
    #[default]
    File,
    Llama,
    Gpt2,
    Qwen2,
}

/// The split of Qwen 2's pre-tokenizer.
const QWEN2_SPLIT: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl TokenizerClass {
    /// The class that `AutoTokenizer` chooses: by `tokenizer_class` of either file, corrected by the model's type.
    pub(crate) fn of(tokenizer: &Map<String, Value>, model: &Map<String, Value>, tokenizer_json: &[u8]) -> Self {
        let text = |file: &Map<String, Value>, name| file.get(name).and_then(Value::as_str).map(str::to_string);
        let declared = text(tokenizer, "tokenizer_class").or_else(|| text(model, "tokenizer_class"));
        let declared = declared.as_deref().map(|class| class.strip_suffix("Fast").unwrap_or(class));
        let model_type = text(model, "model_type").unwrap_or_default();
        // What transformers registers for the model's type; Llama has no class of its own.
        let registered = match model_type.as_str() {
            "mistral" => Some(TokenizerClass::File),
            "qwen2" | "qwen3" => Some(TokenizerClass::Qwen2),
            "gpt2" => Some(TokenizerClass::Gpt2),
            _ => None,
        };
        let class = match (declared, registered) {
            (_, Some(TokenizerClass::File)) => TokenizerClass::File,
            // Declared classes of Qwen 2 folders are known to be wrong.
            (_, Some(TokenizerClass::Qwen2)) if model_type == "qwen2" => TokenizerClass::Qwen2,
            (Some("LlamaTokenizer"), _) => TokenizerClass::Llama,
            (Some("GPT2Tokenizer"), _) => TokenizerClass::Gpt2,
            (Some("Qwen2Tokenizer"), _) => TokenizerClass::Qwen2,
            (Some(_), _) => TokenizerClass::File,
            (None, registered) => registered.unwrap_or_default(),
        };
        // Llama 3's files declare Llama 2's class.
        let byte_level = || tokenizer_json.windows(11).any(|window| window == b"\"ByteLevel\"");
        if class == TokenizerClass::Llama && byte_level() { TokenizerClass::File } else { class }
    }

    /// Special tokens that the class has where tokenizer_config.json does not name them.
    pub(crate) fn default_tokens(self) -> &'static [(&'static str, &'static str)] {
        const END: &str = "<|endoftext|>";
        match self {
            TokenizerClass::File => &[],
            TokenizerClass::Llama => &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")],
            TokenizerClass::Gpt2 => &[("bos_token", END), ("eos_token", END), ("unk_token", END)],
            TokenizerClass::Qwen2 => &[("eos_token", END), ("unk_token", END), ("pad_token", END)],
        }
    }

    /// The parts of tokenizer.json that the class replaces.
    fn parts(self, config: &TokenizerConfig) -> Option<[(&'static str, Value); 4]> {
        let byte_level = |add_prefix_space: bool, use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex});
        let plain_model = json!({"fuse_unk": false, "byte_fallback": false, "continuing_subword_prefix": "",
            "end_of_word_suffix": ""});
        match self {
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
}

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
    let Some(parts) = config.class.parts(config) else { return Ok(None) };
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

/// Adds the tokens that the files beside tokenizer.json name. One that is known already takes the flags of the new one.
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
