//! Tokenizer classes of transformers 5. Most load tokenizer.json unchanged; some rebuild normalizer, pre-tokenizer and
//! decoder and use only vocabulary, merges and post-processor of the file.

use serde_json::{Map, Value};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TokenizerClass {
    /// tokenizer.json unchanged.
    #[default]
    File,
    Llama,
    Gpt2,
    Qwen2,
}

impl TokenizerClass {
    /// The class that `AutoTokenizer` chooses: by `tokenizer_class` of either file, corrected by the model's type.
    pub(crate) fn of(tokenizer: &Map<String, Value>, model: &Map<String, Value>, tokenizer_json: &[u8]) -> Self {
        let text = |file: &Map<String, Value>, name| file.get(name).and_then(Value::as_str).map(str::to_string);
        let declared = text(tokenizer, "tokenizer_class").or_else(|| text(model, "tokenizer_class"));
        let declared = declared.as_deref().map(|class| class.strip_suffix("Fast").unwrap_or(class));
        let model_type = text(model, "model_type").unwrap_or_default();
        // The class that transformers registers for the model's type; Llama has no class.
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

    /// Special tokens of the class that apply if tokenizer_config.json does not name them.
    pub(crate) fn default_tokens(self) -> &'static [(&'static str, &'static str)] {
        const END: &str = "<|endoftext|>";
        match self {
            TokenizerClass::File => &[],
            TokenizerClass::Llama => &[("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")],
            TokenizerClass::Gpt2 => &[("bos_token", END), ("eos_token", END), ("unk_token", END)],
            TokenizerClass::Qwen2 => &[("eos_token", END), ("unk_token", END), ("pad_token", END)],
        }
    }
}
