//! The files beside tokenizer.json, read as transformers 5 reads them.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::class::TokenizerClass;
use crate::DataError;

/// The named special tokens, in the order in which transformers adds them.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// A token with the flags that control how it is found in text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExtraToken {
    pub(crate) content: String,
    pub(crate) special: bool,
    pub(crate) single_word: bool,
    pub(crate) lstrip: bool,
    pub(crate) rstrip: bool,
    /// Null: the opposite of `special`.
    pub(crate) normalized: Option<bool>,
}

impl ExtraToken {
    pub(crate) fn special(content: impl Into<String>) -> Self {
        ExtraToken {
            content: content.into(),
            special: true,
            single_word: false,
            lstrip: false,
            rstrip: false,
            normalized: None,
        }
    }
}

/// The tokenizer settings of a model folder. `add_bos_token` and `add_eos_token` are not read: transformers 5 drops
/// them if there is a tokenizer.json, which then decides alone about tokens around a text.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenizerConfig {
    /// Contents of tokenizer.json.
    pub(crate) tokenizer_json: Vec<u8>,
    /// The class of transformers, which may replace parts of tokenizer.json.
    pub(crate) class: TokenizerClass,
    /// `bos_token` and the like, by name, in the order of addition.
    pub(crate) named: Vec<(String, ExtraToken)>,
    /// Special tokens without a name.
    pub(crate) unnamed: Vec<ExtraToken>,
    /// `added_tokens_decoder` of tokenizer_config.json by id, or else added_tokens.json and the added tokens of
    /// tokenizer.json.
    pub(crate) added: Vec<(u32, ExtraToken)>,
    pub(crate) add_prefix_space: Option<bool>,
    pub(crate) legacy: bool,
    /// Whether special tokens in a text are read as ordinary text.
    pub(crate) split_special_tokens: bool,
    /// The chat template.
    pub(crate) chat_template: Option<String>,
    /// `bos_token_id` and `eos_token_id` of generation_config.json or config.json.
    pub(crate) bos_id: Option<u32>,
    pub(crate) eos_id: Option<u32>,
}

/// The part of tokenizer.json that is read here.
#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<Value>,
}

impl TokenizerConfig {
    /// Reads the files of a folder; every file except tokenizer.json is optional.
    pub(crate) fn from_folder(folder: &Path) -> Result<Self, DataError> {
        let path = folder.join("tokenizer.json");
        let bytes = std::fs::read(&path).map_err(|error| DataError::io("read", &path, error))?;
        let config = TokenizerConfig::beside(folder, &bytes, &|name| read_file(&folder.join(name)))?;
        Ok(TokenizerConfig { tokenizer_json: bytes, ..config })
    }

    /// The same from texts by their names; `origin` is named in errors.
    pub(crate) fn from_texts(origin: &Path, texts: &[(&str, String)]) -> Result<Self, DataError> {
        let text = |name: &str| texts.iter().find(|(found, _)| *found == name).map(|(_, text)| text.clone());
        let Some(tokenizer_json) = text("tokenizer.json") else {
            return Err(DataError::ModelFile {
                path: origin.to_path_buf(),
                problem: "the text of tokenizer.json is missing".to_string(),
            });
        };
        let bytes = tokenizer_json.into_bytes();
        let config = TokenizerConfig::beside(origin, &bytes, &|name| Ok(text(name)))?;
        Ok(TokenizerConfig { tokenizer_json: bytes, ..config })
    }

    /// Reads what lies beside a tokenizer.json with these bytes; `file` gives the text of a file where there is one.
    fn beside(
        folder: &Path,
        tokenizer_json: &[u8],
        file: &dyn Fn(&str) -> Result<Option<String>, DataError>,
    ) -> Result<Self, DataError> {
        let object = |name: &str| read_object(&folder.join(name), file(name)?);
        let mut tokenizer = object("tokenizer_config.json")?;
        let model = object("config.json")?;
        let mut config = TokenizerConfig {
            class: TokenizerClass::of(&tokenizer, &model, tokenizer_json),
            chat_template: chat_template(file("chat_template.jinja")?, &tokenizer),
            add_prefix_space: tokenizer.get("add_prefix_space").and_then(Value::as_bool),
            legacy: tokenizer.get("legacy").and_then(Value::as_bool).unwrap_or(false),
            split_special_tokens: tokenizer.get("split_special_tokens").and_then(Value::as_bool).unwrap_or(false),
            ..TokenizerConfig::default()
        };
        let has_extra =
            |file: &Map<String, Value>| file.get("extra_special_tokens").is_some_and(|extra| !is_empty(extra));
        if !has_extra(&tokenizer)
            && let Some(additional) = tokenizer.remove("additional_special_tokens")
        {
            tokenizer.insert("extra_special_tokens".to_string(), additional);
        }
        let mut added: BTreeMap<u32, ExtraToken> = BTreeMap::new();
        if let Some(decoder) = tokenizer.get("added_tokens_decoder").and_then(Value::as_object) {
            added.extend(decoder.iter().filter_map(|(id, token)| Some((id.parse().ok()?, extra_token(token)?))));
        } else {
            // The older files are used only if tokenizer_config.json does not list the added tokens.
            merge_special_tokens(&mut tokenizer, object("special_tokens_map.json")?);
            let listed = object("added_tokens.json")?;
            let special = special_contents(&tokenizer);
            for (content, id) in listed {
                if let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) {
                    let token = ExtraToken { special: special.contains(&content), ..ExtraToken::special(content) };
                    added.insert(id, token);
                }
            }
            let file: TokenizerFile = serde_json::from_slice(tokenizer_json).map_err(|error| DataError::ModelFile {
                path: folder.join("tokenizer.json"),
                problem: format!("invalid JSON ({error})"),
            })?;
            for token in &file.added_tokens {
                if let (Some(id), Some(extra)) = (token.get("id").and_then(token_id), extra_token(token)) {
                    added.insert(id, extra);
                }
            }
            if let (false, Some(additional)) =
                (tokenizer.contains_key("extra_special_tokens"), tokenizer.remove("additional_special_tokens"))
            {
                tokenizer.insert("extra_special_tokens".to_string(), additional);
            }
        }
        config.added = added.into_iter().collect();
        config.take_named(&tokenizer);
        for file in [object("generation_config.json")?, model] {
            config.bos_id = config.bos_id.or_else(|| token_id(file.get("bos_token_id")?));
            config.eos_id = config.eos_id.or_else(|| token_id(file.get("eos_token_id")?));
        }
        Ok(config)
    }

    /// The content of a named special token.
    pub(crate) fn named(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(found, _)| found == name).map(|(_, token)| token.content.as_str())
    }

    fn take_named(&mut self, tokenizer: &Map<String, Value>) {
        let defaults = self.class.default_tokens();
        for name in NAMES {
            let token = match tokenizer.get(name) {
                Some(token) => special_token(token),
                None => defaults.iter().find(|(found, _)| *found == name).map(|(_, token)| ExtraToken::special(*token)),
            };
            self.named.extend(token.map(|token| (name.to_string(), token)));
        }
        // A multimodal tokenizer has further names: "image_token": "<image>", or in an object.
        for (name, token) in tokenizer {
            if name.ends_with("_token") && !NAMES.contains(&name.as_str()) {
                self.named.extend(special_token(token).map(|token| (name.clone(), token)));
            }
        }
        match tokenizer.get("extra_special_tokens") {
            Some(Value::Array(tokens)) => self.unnamed.extend(tokens.iter().filter_map(special_token)),
            Some(Value::Object(tokens)) => {
                for (name, token) in tokens {
                    if self.named(name).is_none() {
                        self.named.extend(special_token(token).map(|token| (name.clone(), token)));
                    }
                }
            }
            _ => {}
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(items) => items.is_empty(),
        Value::Null => true,
        _ => false,
    }
}

/// special_tokens_map.json has precedence over tokenizer_config.json; unnamed tokens are merged.
fn merge_special_tokens(tokenizer: &mut Map<String, Value>, map: Map<String, Value>) {
    for (name, token) in map {
        match (name.as_str(), tokenizer.get_mut(&name), token) {
            ("extra_special_tokens", Some(Value::Array(known)), Value::Array(more)) => known.extend(more),
            (_, _, token) => {
                tokenizer.insert(name, token);
            }
        }
    }
}

fn special_contents(tokenizer: &Map<String, Value>) -> Vec<String> {
    let named = NAMES.iter().filter_map(|name| token_text(tokenizer.get(*name)?));
    let extra = tokenizer.get("extra_special_tokens").and_then(Value::as_array);
    named.chain(extra.into_iter().flatten().filter_map(token_text)).collect()
}

/// A token that is special because of its field.
fn special_token(token: &Value) -> Option<ExtraToken> {
    extra_token(token).map(|extra| ExtraToken { special: true, ..extra })
}

/// A token is a string, or an object with `content`.
fn token_text(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_string)
}

/// An id is a number, or a list whose first element is used.
fn token_id(id: &Value) -> Option<u32> {
    id.as_u64().or_else(|| id.as_array()?.first()?.as_u64()).and_then(|id| u32::try_from(id).ok())
}

fn extra_token(token: &Value) -> Option<ExtraToken> {
    let flag = |name| token.get(name).and_then(Value::as_bool);
    Some(ExtraToken {
        content: token_text(token)?,
        special: flag("special").unwrap_or(false),
        single_word: flag("single_word").unwrap_or(false),
        lstrip: flag("lstrip").unwrap_or(false),
        rstrip: flag("rstrip").unwrap_or(false),
        normalized: flag("normalized"),
    })
}

/// chat_template.jinja has precedence over tokenizer_config.json, whose entry may be a list with a `default`.
fn chat_template(file: Option<String>, tokenizer: &Map<String, Value>) -> Option<String> {
    if file.is_some() {
        return file;
    }
    match tokenizer.get("chat_template") {
        Some(Value::String(template)) => Some(template.clone()),
        Some(Value::Array(templates)) => templates
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str())
            .map(str::to_string),
        _ => None,
    }
}

/// The text of a file; `None` if there is no such file.
fn read_file(path: &Path) -> Result<Option<String>, DataError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DataError::io("read", path, error)),
    }
}

/// The JSON object in the text of the file `path`; empty if the file does not exist.
fn read_object(path: &Path, text: Option<String>) -> Result<Map<String, Value>, DataError> {
    let Some(text) = text else { return Ok(Map::new()) };
    let problem = |problem: String| DataError::ModelFile { path: path.to_path_buf(), problem };
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(problem("a JSON object is expected".to_string())),
        Err(error) => Err(problem(format!("invalid JSON ({error})"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn read(folder: &tempfile::TempDir) -> Result<TokenizerConfig, DataError> {
        let file = |name: &str| read_file(&folder.path().join(name));
        TokenizerConfig::beside(
            folder.path(),
            br#"{"added_tokens": [{"id": 3, "content": "z", "lstrip": true}]}"#,
            &file,
        )
    }

    const MAP: (&str, &str) = ("special_tokens_map.json", r#"{"bos_token": "<b>", "eos_token": {"content": "</s>"}}"#);

    #[test]
    fn tokens_are_strings_or_objects() {
        let folder = folder(&[
            (
                "tokenizer_config.json",
                r#"{"bos_token": {"content": "<s>", "lstrip": true}, "eos_token": null, "image_token": "<i>",
                    "extra_special_tokens": {"audio_token": "<a>"}, "additional_special_tokens": ["<x>"],
                    "chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}],
                    "added_tokens_decoder": {"7": {"content": "<x>", "special": true}, "3": {"content": "y"}}}"#,
            ),
            MAP,
            ("config.json", r#"{"eos_token_id": [4, 5], "bos_token_id": 1}"#),
        ]);
        let config = read(&folder).unwrap();
        // The list of added tokens overrides special_tokens_map.json.
        assert_eq!((config.named("bos_token"), config.named("eos_token")), (Some("<s>"), None));
        assert!(config.named[0].1.lstrip && config.named[0].1.special);
        assert_eq!((config.named("image_token"), config.named("audio_token")), (Some("<i>"), Some("<a>")));
        assert_eq!((config.bos_id, config.eos_id), (Some(1), Some(4)));
        assert_eq!(config.chat_template.as_deref(), Some("d"));
        let added: Vec<_> = config.added.iter().map(|(id, t)| (*id, t.content.as_str(), t.normalized)).collect();
        assert_eq!(added, [(3, "y", None), (7, "<x>", None)]);
    }

    #[test]
    fn without_a_list_of_added_tokens_the_older_files_are_used() {
        let folder = folder(&[
            (
                "tokenizer_config.json",
                r#"{"bos_token": "<s>", "pad_token": "<p>", "additional_special_tokens": ["<x>"]}"#,
            ),
            MAP,
            ("added_tokens.json", r#"{"<x>": 9, "<y>": 3, "</s>": 8}"#),
        ]);
        let config = read(&folder).unwrap();
        assert_eq!((config.named("bos_token"), config.named("eos_token")), (Some("<b>"), Some("</s>")));
        assert_eq!((config.named("pad_token"), config.unnamed[0].content.as_str()), (Some("<p>"), "<x>"));
        let added: Vec<_> = config.added.iter().map(|(id, t)| (*id, t.content.as_str(), t.special, t.lstrip)).collect();
        assert_eq!(added, [(3, "z", false, true), (8, "</s>", true, false), (9, "<x>", true, false)]);
    }

    #[test]
    fn the_jinja_file_goes_first_and_bad_json_names_the_file() {
        let good = folder(&[("chat_template.jinja", "j"), ("tokenizer_config.json", r#"{"chat_template": "c"}"#)]);
        assert_eq!(read(&good).unwrap().chat_template.as_deref(), Some("j"));
        let bad = folder(&[("special_tokens_map.json", "[1]")]);
        let error = read(&bad).unwrap_err().to_string();
        assert!(error.contains("special_tokens_map.json") && error.contains("object"), "{error}");
    }
}
