//! The files beside tokenizer.json against AutoTokenizer of transformers (tests/golden/make_tokenizer_files.py).

#![cfg(feature = "tokenizers")]
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use ser_core::Message;
use ser_data::{PairTokenizer, TemplateKind, TextSettings};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Golden {
    texts: Vec<String>,
    folders: Vec<Folder>,
}

#[derive(Deserialize)]
struct Folder {
    name: String,
    base: String,
    files: BTreeMap<String, Value>,
    edit: Option<String>,
    bos_id: Option<u32>,
    eos_id: Option<u32>,
    length: usize,
    ids: Vec<Vec<u32>>,
    decoded: Vec<String>,
}

fn golden() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden"))
}

fn raw() -> TextSettings {
    TextSettings { template: TemplateKind::Raw, ..TextSettings::default() }
}

fn write(folder: &Path, name: &str, content: &Value) {
    std::fs::write(folder.join(name), content.to_string()).unwrap();
}

#[test]
fn tokens_are_those_of_auto_tokenizer() {
    let golden_file: Golden =
        serde_json::from_slice(&std::fs::read(golden().join("tokenizer_files.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for case in &golden_file.folders {
        let folder = tempfile::tempdir().unwrap();
        let mut file: Value =
            serde_json::from_slice(&std::fs::read(golden().join(&case.base).join("tokenizer.json")).unwrap()).unwrap();
        match case.edit.as_deref() {
            Some("normalized") => {
                for token in file["added_tokens"].as_array_mut().unwrap() {
                    token["normalized"] = true.into();
                }
            }
            Some("prefix_space") => file["pre_tokenizer"]["add_prefix_space"] = true.into(),
            other => assert_eq!(other, None),
        }
        write(folder.path(), "tokenizer.json", &file);
        for (name, content) in &case.files {
            write(folder.path(), name, content);
        }
        let tokenizer = PairTokenizer::from_folder(folder.path(), &raw()).unwrap();
        let ids = (tokenizer.bos_id(), tokenizer.eos_id(), tokenizer.vocab_size());
        if ids != (case.bos_id, case.eos_id, case.length) {
            wrong.push(format!("{}: {ids:?}, not {:?}", case.name, (case.bos_id, case.eos_id, case.length)));
        }
        for ((text, expected), decoded) in golden_file.texts.iter().zip(&case.ids).zip(&case.decoded) {
            let tokens = tokenizer.encode(text, true).unwrap();
            if tokens != *expected {
                wrong.push(format!("{}: {text:?}: {tokens:?}, not {expected:?}", case.name));
            } else if tokenizer.decode(expected).unwrap() != *decoded {
                wrong.push(format!("{}: {text:?}: {:?}, not {decoded:?}", case.name, tokenizer.decode(expected)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn an_unused_token_beyond_the_network_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(golden().join("byte_fallback/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    write(folder.path(), "tokenizer_config.json", &serde_json::json!({"pad_token": "<pad>", "eos_token": "</s>"}));
    let tokenizer = PairTokenizer::from_folder(folder.path(), &raw()).unwrap().with_network_vocab(480);
    assert_eq!(tokenizer.vocab_size(), 481);
    assert!(!tokenizer.encode("Why does bread rise?", true).unwrap().is_empty());
    let error = tokenizer.encode("padded <pad>", true).unwrap_err().to_string();
    assert!(
        error.contains(r#""padded <pad>" has the token "<pad>" (id 480)"#) && error.contains("480 token ids"),
        "{error}"
    );
}

#[derive(Deserialize)]
struct Real {
    texts: Vec<String>,
    messages: Vec<Message>,
    cases: Vec<RealCase>,
}

#[derive(Deserialize)]
struct RealCase {
    tokenizer: String,
    files: BTreeMap<String, Value>,
    normalized: bool,
    chat: Vec<u32>,
    ids: Vec<Vec<u32>>,
}

/// Real tokenizers, where they are available: Llama 2's with wrong flags in tokenizer.json, Mistral's and GPT-2's.
#[test]
fn real_tokenizers_give_the_tokens_of_auto_tokenizer() {
    let golden: Real = serde_json::from_slice(&std::fs::read(golden().join("real_tokens.json")).unwrap()).unwrap();
    for case in &golden.cases {
        let packed = support::shared(&format!("tokenizers/{}.tokenizer.json.gz", case.tokenizer));
        let Some(packed) = packed else { return };
        let mut text = String::new();
        GzDecoder::new(std::fs::File::open(packed).unwrap()).read_to_string(&mut text).unwrap();
        if case.normalized {
            let (before, added) = text.split_once("\"added_tokens\"").unwrap();
            let (added, after) = added.split_once(']').unwrap();
            text = [
                before,
                "\"added_tokens\"",
                &added.replace("\"normalized\": false", "\"normalized\": true"),
                "]",
                after,
            ]
            .concat();
        }
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), text).unwrap();
        for (name, content) in &case.files {
            write(folder.path(), name, content);
        }
        let settings = TextSettings { template: TemplateKind::Chat, ..TextSettings::default() };
        let tokenizer = PairTokenizer::from_folder(folder.path(), &settings).unwrap();
        for (text, expected) in golden.texts.iter().zip(&case.ids) {
            assert_eq!(
                &tokenizer.encode(text, true).unwrap(),
                expected,
                "{} {:?}: {text:?}",
                case.tokenizer,
                case.files
            );
        }
        let (last, prompt) = golden.messages.split_last().unwrap();
        let chat = tokenizer.tokenize_response(prompt, &last.content).unwrap();
        assert_eq!(chat.tokens, case.chat, "{} {:?}", case.tokenizer, case.files);
    }
}
