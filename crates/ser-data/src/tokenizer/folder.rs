//! What the files beside tokenizer.json say: special tokens and the chat template.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use crate::DataError;

/// The named special tokens, as tokenizer_config.json and special_tokens_map.json spell them.
const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// An entry of `added_tokens_decoder`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExtraToken {
    pub(crate) content: String,
    pub(crate) special: bool,
    pub(crate) single_word: bool,
    pub(crate) lstrip: bool,
    pub(crate) rstrip: bool,
    pub(crate) normalized: bool,
}

/// What a folder says of its tokenizer. `add_bos_token` and `add_eos_token` are not read: as in transformers 5,
/// tokenizer.json alone says what is put around a text.
#[derive(Clone, Debug, Default)]
pub(crate) struct TokenizerConfig {
    /// `bos_token` and the like, by name.
    pub(crate) named: BTreeMap<String, String>,
    /// Special tokens without a name of their own.
    pub(crate) unnamed: Vec<String>,
    /// `added_tokens_decoder`, by id.
    pub(crate) added: Vec<(u32, ExtraToken)>,
    /// The chat template.
    pub(crate) chat_template: Option<String>,
    /// `bos_token_id` and `eos_token_id` of generation_config.json or config.json.
    pub(crate) bos_id: Option<u32>,
    pub(crate) eos_id: Option<u32>,
}

impl TokenizerConfig {
    /// Reads what there is; every file may be absent.
    pub(crate) fn from_folder(folder: &Path) -> Result<Self, DataError> {
        let tokenizer = read_object(&folder.join("tokenizer_config.json"))?;
        let map = read_object(&folder.join("special_tokens_map.json"))?;
        let mut config = TokenizerConfig::default();
        for name in NAMES {
            if let Some(token) = [&tokenizer, &map].into_iter().find_map(|file| token_text(file.get(name)?)) {
                config.named.insert(name.to_string(), token);
            }
        }
        for file in [&tokenizer, &map] {
            for name in ["extra_special_tokens", "additional_special_tokens"] {
                config.take_unnamed(file.get(name));
            }
        }
        if let Some(added) = tokenizer.get("added_tokens_decoder").and_then(Value::as_object) {
            config.added =
                added.iter().filter_map(|(id, token)| Some((id.parse().ok()?, extra_token(token)?))).collect();
            config.added.sort_by_key(|&(id, _)| id);
        }
        config.chat_template = chat_template(folder, &tokenizer)?;
        for file in ["generation_config.json", "config.json"] {
            let file = read_object(&folder.join(file))?;
            config.bos_id = config.bos_id.or_else(|| token_id(file.get("bos_token_id")?));
            config.eos_id = config.eos_id.or_else(|| token_id(file.get("eos_token_id")?));
        }
        Ok(config)
    }

    fn take_unnamed(&mut self, tokens: Option<&Value>) {
        match tokens {
            Some(Value::Array(tokens)) => {
                for token in tokens.iter().filter_map(token_text) {
                    if !self.unnamed.contains(&token) {
                        self.unnamed.push(token);
                    }
                }
            }
            // A multimodal tokenizer names them: {"image_token": "<image>"}.
            Some(Value::Object(tokens)) => {
                for (name, token) in tokens {
                    if let Some(token) = token_text(token) {
                        self.named.entry(name.clone()).or_insert(token);
                    }
                }
            }
            _ => {}
        }
    }
}

/// A token is a string, or an object with `content`.
fn token_text(token: &Value) -> Option<String> {
    token.as_str().or_else(|| token.get("content")?.as_str()).map(str::to_string)
}

/// An id is a number, or a list of which the first counts.
fn token_id(id: &Value) -> Option<u32> {
    id.as_u64().or_else(|| id.as_array()?.first()?.as_u64()).and_then(|id| u32::try_from(id).ok())
}

fn extra_token(token: &Value) -> Option<ExtraToken> {
    let flag = |name| token.get(name).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(false);
    Some(ExtraToken {
        content: token_text(token)?,
        special,
        single_word: flag("single_word").unwrap_or(false),
        lstrip: flag("lstrip").unwrap_or(false),
        rstrip: flag("rstrip").unwrap_or(false),
        normalized: flag("normalized").unwrap_or(!special),
    })
}

/// chat_template.jinja goes before tokenizer_config.json, whose entry may be a list with a `default`.
fn chat_template(folder: &Path, tokenizer: &Map<String, Value>) -> Result<Option<String>, DataError> {
    let path = folder.join("chat_template.jinja");
    match std::fs::read_to_string(&path) {
        Ok(template) => return Ok(Some(template)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(DataError::io("read", &path, error)),
    }
    Ok(match tokenizer.get("chat_template") {
        Some(Value::String(template)) => Some(template.clone()),
        Some(Value::Array(templates)) => templates
            .iter()
            .find(|entry| entry.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|entry| entry.get("template")?.as_str())
            .map(str::to_string),
        _ => None,
    })
}

/// A JSON object from a file; an empty one if there is no such file.
fn read_object(path: &Path) -> Result<Map<String, Value>, DataError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(DataError::io("read", path, error)),
    };
    let problem = |problem: String| DataError::ModelFile { path: path.to_path_buf(), problem };
    match serde_json::from_str(&text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(problem("a JSON object is expected".to_string())),
        Err(error) => Err(problem(format!("no valid JSON ({error})"))),
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

    #[test]
    fn tokens_are_strings_or_objects_and_the_map_fills_gaps() {
        let folder = folder(&[
            (
                "tokenizer_config.json",
                r#"{"bos_token": {"content": "<s>", "lstrip": false}, "eos_token": null,
                    "chat_template": [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}],
                    "added_tokens_decoder": {"7": {"content": "<x>", "special": true}, "3": {"content": "y"}}}"#,
            ),
            (
                "special_tokens_map.json",
                r#"{"bos_token": "<b>", "eos_token": "</s>", "additional_special_tokens": ["<a>"]}"#,
            ),
            ("config.json", r#"{"eos_token_id": [4, 5], "bos_token_id": 1}"#),
        ]);
        let config = TokenizerConfig::from_folder(folder.path()).unwrap();
        assert_eq!(config.named["bos_token"], "<s>");
        assert_eq!(config.named["eos_token"], "</s>");
        assert_eq!((config.bos_id, config.eos_id), (Some(1), Some(4)));
        assert_eq!(config.unnamed, ["<a>"]);
        assert_eq!(config.chat_template.as_deref(), Some("d"));
        let added: Vec<_> = config.added.iter().map(|(id, t)| (*id, t.content.as_str(), t.normalized)).collect();
        assert_eq!(added, [(3, "y", true), (7, "<x>", false)]);
    }

    #[test]
    fn the_jinja_file_goes_first_and_bad_json_names_the_file() {
        let good = folder(&[("chat_template.jinja", "j"), ("tokenizer_config.json", r#"{"chat_template": "c"}"#)]);
        assert_eq!(TokenizerConfig::from_folder(good.path()).unwrap().chat_template.as_deref(), Some("j"));
        let bad = folder(&[("special_tokens_map.json", "[1]")]);
        let error = TokenizerConfig::from_folder(bad.path()).unwrap_err().to_string();
        assert!(error.contains("special_tokens_map.json") && error.contains("object"), "{error}");
    }
}
