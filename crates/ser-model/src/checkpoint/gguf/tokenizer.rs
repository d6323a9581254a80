//! The tokenizer: from GGUF's lists of tokens, merges and scores to a `tokenizer.json` and a `tokenizer_config.json`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::architecture::Architecture;
use super::metadata::Keys;
use super::pre_tokenizer::{Rule, rule};

/// Most tokens; the largest vocabularies have about 260,000.
const TOKEN_LIMIT: usize = 1 << 20;
/// The longest token in bytes. Those of real vocabularies end at about 1,000.
const TOKEN_BYTES: usize = 4096;
/// Most merges that are looked for.
const MERGE_LIMIT: usize = 1 << 22;
/// The longest token that merges are looked for in, where the file lists none.
const SCORED_TOKEN_BYTES: usize = 1024;

/// The type of a token, as in `tokenizer.ggml.token_type`.
mod kind {
    pub(super) const NORMAL: f64 = 1.0;
    pub(super) const UNKNOWN: f64 = 2.0;
    pub(super) const CONTROL: f64 = 3.0;
    pub(super) const USER_DEFINED: f64 = 4.0;
}

/// The named special tokens, by the keys of their ids.
const NAMED: [(&str, &str); 6] = [
    ("bos_token", "tokenizer.ggml.bos_token_id"),
    ("eos_token", "tokenizer.ggml.eos_token_id"),
    ("unk_token", "tokenizer.ggml.unknown_token_id"),
    ("pad_token", "tokenizer.ggml.padding_token_id"),
    ("sep_token", "tokenizer.ggml.seperator_token_id"),
    ("mask_token", "tokenizer.ggml.mask_token_id"),
];

/// Ids of a SentencePiece vocabulary where the file names none.
const SENTENCEPIECE_IDS: [(&str, usize); 3] =
    [("tokenizer.ggml.unknown_token_id", 0), ("tokenizer.ggml.bos_token_id", 1), ("tokenizer.ggml.eos_token_id", 2)];

/// The vocabulary as the file lists it.
struct Vocabulary<'a> {
    keys: Keys<'a>,
    /// Whether it is one of SentencePiece.
    sentencepiece: bool,
    tokens: Vec<&'a str>,
    /// By token, its id: the last one of several.
    ids: HashMap<&'a str, usize>,
}

/// `tokenizer.json` and `tokenizer_config.json` as texts, by their names.
pub(super) fn files(keys: Keys<'_>) -> Result<Vec<(&'static str, String)>, String> {
    let sentencepiece = match keys.text("tokenizer.ggml.model")? {
        Some("gpt2") => false,
        Some("llama") => true,
        Some(other) => {
            let shown: String = other.chars().take(60).collect();
            return Err(format!("tokenizer.ggml.model {shown:?} is not supported; supported: gpt2, llama"));
        }
        None => return Err("metadata key tokenizer.ggml.model is missing: the file has no tokenizer".to_owned()),
    };
    let vocabulary = Vocabulary::read(keys, sentencepiece)?;
    let (rules, add_bos) = if sentencepiece { vocabulary.sentencepiece()? } else { vocabulary.byte_level()? };
    let mut file = json!({"version": "1.0", "truncation": null, "padding": null});
    if let (Value::Object(file), Value::Object(rules)) = (&mut file, rules) {
        file.extend(rules);
        file.insert("added_tokens".to_owned(), vocabulary.added_tokens()?.into());
        file.insert("post_processor".to_owned(), vocabulary.post_processor(add_bos)?);
    }
    let mut config = Map::new();
    config.insert("tokenizer_class".to_owned(), "PreTrainedTokenizerFast".into());
    config.insert("clean_up_tokenization_spaces".to_owned(), false.into());
    for (name, key) in NAMED {
        if let Some(token) = vocabulary.named(key)? {
            config.insert(name.to_owned(), token.into());
        }
    }
    if let Some(template) = keys.text("tokenizer.chat_template")? {
        config.insert("chat_template".to_owned(), template.into());
    }
    Ok(vec![("tokenizer.json", file.to_string()), ("tokenizer_config.json", Value::Object(config).to_string())])
}

impl<'a> Vocabulary<'a> {
    fn read(keys: Keys<'a>, sentencepiece: bool) -> Result<Self, String> {
        const KEY: &str = "tokenizer.ggml.tokens";
        if let Some(count) = keys.count(KEY).filter(|&count| count > TOKEN_LIMIT) {
            return Err(format!("it has {count} tokens; at most {TOKEN_LIMIT} are read"));
        }
        let tokens = keys.texts(KEY)?.unwrap_or_default();
        if tokens.is_empty() {
            return Err(format!("metadata key {KEY} is missing or empty: the file has no tokenizer"));
        }
        if let Some((id, token)) = tokens.iter().enumerate().find(|(_, token)| token.len() > TOKEN_BYTES) {
            return Err(format!("token {id} has {} bytes; at most {TOKEN_BYTES} are read", token.len()));
        }
        let ids = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
        Ok(Vocabulary { keys, sentencepiece, tokens, ids })
    }

    /// The id that a key names, or the one that llama.cpp takes for SentencePiece vocabularies.
    fn id(&self, key: &str) -> Result<Option<usize>, String> {
        let Some(id) = self.keys.integer(key)? else {
            let defaults = if self.sentencepiece { SENTENCEPIECE_IDS } else { [("", 0); 3] };
            return Ok(defaults.iter().find(|(name, id)| *name == key && *id < self.tokens.len()).map(|(_, id)| *id));
        };
        match usize::try_from(id).ok().filter(|&id| id < self.tokens.len()) {
            Some(id) => Ok(Some(id)),
            None => Err(format!("metadata key {key} is {id}, but there are {} tokens", self.tokens.len())),
        }
    }

    /// The token that a key names.
    fn named(&self, key: &str) -> Result<Option<&'a str>, String> {
        Ok(self.id(key)?.and_then(|id| self.tokens.get(id).copied()))
    }

    /// A list of numbers, one for each token, where the file has it.
    fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>, String> {
        match self.keys.numbers(key)? {
            Some(numbers) if numbers.len() != self.tokens.len() => {
                Err(format!("metadata key {key} has {} entries for {} tokens", numbers.len(), self.tokens.len()))
            }
            numbers => Ok(numbers),
        }
    }

    /// The tokens and their ids as JSON.
    fn vocab(&self) -> Map<String, Value> {
        let spelled = |(id, token): (usize, &&str)| {
            // As in llama.cpp, so that no two of them are the same.
            let token = if token.is_empty() { format!("[EMPTY_{id}]") } else { (*token).to_owned() };
            (token, id.into())
        };
        self.tokens.iter().enumerate().map(spelled).collect()
    }

    /// The merges that the file lists, each of which must make a token of two.
    fn merges(&self) -> Result<Option<Vec<[&'a str; 2]>>, String> {
        const KEY: &str = "tokenizer.ggml.merges";
        let Some(merges) = self.keys.texts(KEY)? else { return Ok(None) };
        let parts = |(index, merge): (usize, &&'a str)| {
            let parts = merge.split_once(' ').filter(|(_, right)| !right.contains(' '));
            let known = |token: &str| self.ids.contains_key(token);
            match parts.filter(|(left, right)| known(left) && known(right) && known(&format!("{left}{right}"))) {
                Some((left, right)) => Ok([left, right]),
                None => {
                    let shown: String = merge.chars().take(60).collect();
                    Err(format!("entry {index} of {KEY}, {shown:?}, does not make a token of two others"))
                }
            }
        };
        merges.iter().enumerate().map(parts).collect::<Result<_, _>>().map(Some)
    }

    /// Whether there is an ordinary token of more than one character, which only merges make.
    fn needs_merges(&self) -> Result<bool, String> {
        let kinds = self.numbers("tokenizer.ggml.token_type")?;
        let ordinary = |id: usize| kinds.as_ref().is_none_or(|kinds| kinds.get(id) == Some(&kind::NORMAL));
        Ok(self.tokens.iter().enumerate().any(|(id, token)| token.chars().nth(1).is_some() && ordinary(id)))
    }

    /// The merges that the scores imply: every way to make a token of two, best score first, as transformers derives them.
    fn scored_merges(&self) -> Result<Vec<[&'a str; 2]>, String> {
        const KEY: &str = "tokenizer.ggml.scores";
        let Some(scores) = self.numbers(KEY)? else {
            return Err(format!("it has neither {KEY} nor tokenizer.ggml.merges, so texts cannot be tokenized"));
        };
        let mut merges = Vec::new();
        for (id, (&token, &score)) in self.tokens.iter().zip(&scores).enumerate() {
            if !score.is_finite() {
                return Err(format!("the score of token {id} in {KEY} is {score}; it must be finite"));
            }
            // Of several tokens that are spelled the same the last one counts.
            if self.ids.get(token) != Some(&id) || token.len() > SCORED_TOKEN_BYTES {
                continue;
            }
            let mut ways: Vec<(usize, usize, [&str; 2], [usize; 2])> = Vec::new();
            for (chars, (at, _)) in token.char_indices().enumerate().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(&first), Some(&second)) = (self.ids.get(left), self.ids.get(right)) {
                    ways.push((first, second, [left, right], [chars, right.chars().count()]));
                }
            }
            ways.sort_by_key(|&(first, second, ..)| (first, second));
            merges.extend(ways.into_iter().map(|(.., parts, lengths)| (score, lengths, parts)));
            if merges.len() > MERGE_LIMIT {
                return Err(format!("its tokens can be made of two others in over {MERGE_LIMIT} ways"));
            }
        }
        // A stable sort: those that are the same in all of these stay in order.
        merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        Ok(merges.into_iter().map(|(.., parts)| parts).collect())
    }

    /// A byte-level vocabulary, and whether its texts begin with the bos token where the file does not say.
    fn byte_level(&self) -> Result<(Value, bool), String> {
        let name = match self.keys.text("tokenizer.ggml.pre")? {
            Some(name) => name,
            // All of these networks have the same rule.
            None if matches!(Architecture::of(self.keys), Ok(Architecture::Qwen2 | Architecture::Qwen3)) => "qwen2",
            None => {
                tracing::warn!(
                    "the GGUF file does not say how its tokenizer splits texts (tokenizer.ggml.pre); llama.cpp's default \
                     is taken, which may not be how the model was trained"
                );
                "default"
            }
        };
        let Rule { normalizer, pre_tokenizer, ignore_merges, add_bos } = rule(name)?;
        let merges = self.merges()?.unwrap_or_default();
        // Writers leave empty lists out.
        if merges.is_empty() && self.needs_merges()? {
            return Err("metadata key tokenizer.ggml.merges is missing, so texts cannot be tokenized".to_owned());
        }
        let rules = json!({
            "normalizer": normalizer,
            "pre_tokenizer": pre_tokenizer,
            "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
                "end_of_word_suffix": "", "fuse_unk": false, "byte_fallback": false, "ignore_merges": ignore_merges,
                "vocab": self.vocab(), "merges": merges,
            },
        });
        Ok((rules, add_bos))
    }

    /// A SentencePiece vocabulary: spaces are written as `\u{2581}`, and unknown characters as bytes.
    fn sentencepiece(&self) -> Result<(Value, bool), String> {
        let prefix = self.keys.flag("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let merges = match self.merges()? {
            Some(merges) => merges,
            None => self.scored_merges()?,
        };
        let unknown = self.named("tokenizer.ggml.unknown_token_id")?;
        let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"})];
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefix {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": "\u{2581}"}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        let rules = json!({
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
                "vocab": self.vocab(), "merges": merges,
            },
        });
        Ok((rules, true))
    }

    /// Tokens that are found in a text before anything else, in order of their ids.
    fn added_tokens(&self) -> Result<Vec<Value>, String> {
        let mut special = vec![None; self.tokens.len()];
        if let Some(kinds) = self.numbers("tokenizer.ggml.token_type")? {
            for (special, kind) in special.iter_mut().zip(kinds) {
                *special = match kind {
                    kind::UNKNOWN | kind::CONTROL => Some(true),
                    kind::USER_DEFINED => Some(false),
                    _ => None,
                };
            }
        }
        for (_, key) in NAMED {
            if let Some(special) = self.id(key)?.and_then(|id| special.get_mut(id)) {
                *special = Some(true);
            }
        }
        let added = self.tokens.iter().zip(special).enumerate().filter_map(|(id, (token, special))| {
            // Of several tokens that are spelled the same the last one counts.
            let special = special.filter(|_| !token.is_empty() && self.ids.get(token) == Some(&id))?;
            Some(json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special}))
        });
        Ok(added.collect())
    }

    /// The tokens around a text: bos and eos, where the file asks for them.
    fn post_processor(&self, add_bos: bool) -> Result<Value, String> {
        let around = |flag: &str, key: &str, default: bool| -> Result<Option<usize>, String> {
            let asked = self.keys.flag(flag)?;
            match self.id(key)? {
                _ if !asked.unwrap_or(default) => Ok(None),
                None if asked == Some(true) => Err(format!("{flag} is true, but metadata key {key} is missing")),
                id => Ok(id),
            }
        };
        let bos = around("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", add_bos)?;
        let eos = around("tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", false)?;
        let (mut single, mut pair, mut tokens) = (Vec::new(), Vec::new(), Map::new());
        let mut special = |id: Option<usize>, sequence: usize, list: &mut Vec<Value>| {
            if let Some((id, token)) = id.and_then(|id| Some((id, *self.tokens.get(id)?))) {
                list.push(json!({"SpecialToken": {"id": token, "type_id": sequence}}));
                tokens.insert(token.to_owned(), json!({"id": token, "ids": [id], "tokens": [token]}));
            }
        };
        if bos.is_none() && eos.is_none() {
            return Ok(Value::Null);
        }
        for (sequence, name) in ["A", "B"].into_iter().enumerate() {
            let mut parts = Vec::new();
            special(bos, sequence, &mut parts);
            parts.push(json!({"Sequence": {"id": name, "type_id": sequence}}));
            special(eos, sequence, &mut parts);
            if sequence == 0 {
                single.clone_from(&parts);
            }
            pair.extend(parts);
        }
        Ok(json!({"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens}))
    }
}
