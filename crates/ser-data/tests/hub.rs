//! Datasets and models from a hub: a small server on the loopback interface stands for it.

#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use ser_data::DataError;
use ser_data::hub::{HubSettings, dataset_files, model_folder_with};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with some files by path (`models/o/n/FILE`, `datasets/o/n/FILE`), and a log of what was asked for.
#[derive(Clone)]
struct Hub {
    endpoint: String,
    files: Arc<HashMap<String, Vec<u8>>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl Hub {
    fn start(files: &[(&str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let files = files.iter().map(|(name, bytes)| ((*name).to_string(), bytes.to_vec())).collect();
        let hub = Hub { endpoint, files: Arc::new(files), log: Arc::default() };
        let server = hub.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                std::thread::spawn(move || server.serve(stream));
            }
        });
        hub
    }

    /// Answers requests until the client closes.
    fn serve(&self, stream: TcpStream) {
        let mut input = BufReader::new(stream.try_clone().unwrap());
        let mut output = stream;
        loop {
            let mut lines = Vec::new();
            loop {
                let mut line = String::new();
                if input.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                if line.trim().is_empty() {
                    break;
                }
                lines.push(line.trim().to_string());
            }
            let header = |name: &str| {
                let found = lines.iter().find_map(|line| {
                    let (key, value) = line.split_once(':')?;
                    key.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
                });
                found.unwrap_or_default()
            };
            let path = lines[0].split(' ').nth(1).unwrap().to_string();
            self.log.lock().unwrap().push(path.clone());
            let answer = if path.contains("private") && header("authorization") != "Bearer hf_right" {
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".as_bytes().to_vec()
            } else {
                self.answer(&path, &header("range"))
            };
            if output.write_all(&answer).is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str, range: &str) -> Vec<u8> {
        let not_found = || "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".as_bytes().to_vec();
        if let Some(repository) = path.strip_prefix("/api/").and_then(|path| path.strip_suffix("/revision/main")) {
            let names = self.files.keys().filter_map(|name| name.strip_prefix(&format!("{repository}/")));
            let siblings: Vec<_> = names.map(|name| serde_json::json!({"rfilename": name})).collect();
            if siblings.is_empty() {
                return not_found();
            }
            let body = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
            return format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
        }
        // Large files are sent elsewhere, as the real hub does.
        let (path, elsewhere) = match path.strip_prefix("/cdn") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let path = if path.starts_with("/datasets/") { path.to_string() } else { format!("/models{path}") };
        let key = path.trim_start_matches('/').replace(&format!("resolve/{COMMIT}/"), "");
        let Some(bytes) = self.files.get(&key) else { return not_found() };
        let etag: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        if key.ends_with(".safetensors") && !elsewhere {
            let location = format!("{}/cdn{}", self.endpoint, path.trim_start_matches("/models"));
            return format!(
                "HTTP/1.1 302 Found\r\nLocation: {location}\r\nX-Linked-Etag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\n\
                 Content-Length: 0\r\n\r\n"
            )
            .into_bytes();
        }
        let (from, to) = range.trim_start_matches("bytes=").split_once('-').unwrap_or(("0", ""));
        let from: usize = from.parse().unwrap_or(0);
        let to = to.parse().unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
        let part = &bytes[from..=to];
        let mut answer = format!(
            "HTTP/1.1 206 Partial Content\r\nETag: \"{etag}\"\r\nX-Repo-Commit: {COMMIT}\r\nContent-Length: {}\r\n\
             Content-Range: bytes {from}-{to}/{}\r\n\r\n",
            part.len(),
            bytes.len()
        )
        .into_bytes();
        answer.extend_from_slice(part);
        answer
    }

    fn settings(&self, cache: &Path) -> HubSettings {
        HubSettings {
            endpoint: self.endpoint.clone(),
            cache: cache.to_path_buf(),
            token: None,
            offline: false,
            progress: false,
            timeout: std::time::Duration::from_secs(5),
        }
    }

    /// The requests since the last call.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock().unwrap())
    }
}

#[test]
fn a_model_is_fetched_once_and_serves_offline() {
    let weights = vec![7u8; 100_000];
    let hub = Hub::start(&[
        ("models/o/small/config.json", b"{}"),
        ("models/o/small/tokenizer.json", b"{\"version\": 1}"),
        ("models/o/small/model.safetensors", &weights),
        ("models/o/small/consolidated.safetensors", b"twice"),
        ("models/o/small/pytorch_model.bin", b"pickle"),
        ("models/o/small/onnx/model.safetensors", b"other"),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let settings = hub.settings(cache.path());
    let folder = model_folder_with("hf://o/small", &settings).unwrap();
    assert_eq!(folder, cache.path().join("models--o--small/snapshots").join(COMMIT));
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), weights);
    let mut names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["config.json", "model.safetensors", "tokenizer.json"]);
    #[cfg(unix)]
    assert!(folder.join("config.json").is_symlink(), "blobs and links, as in Python");
    let main = std::fs::read_to_string(cache.path().join("models--o--small/refs/main")).unwrap();
    assert_eq!(main, COMMIT);

    assert!(hub.asked().len() > 3);
    assert_eq!(model_folder_with("o/small", &settings).unwrap(), folder);
    assert_eq!(hub.asked(), ["/api/models/o/small/revision/main"], "no file twice");
    let offline = HubSettings { offline: true, endpoint: "http://127.0.0.1:1".into(), ..settings };
    assert_eq!(model_folder_with("o/small", &offline).unwrap(), folder);
    let error = model_folder_with("o/other", &offline).unwrap_err();
    assert!(matches!(error, DataError::HubOffline { .. }), "{error}");
}

#[test]
fn shards_and_adapters_are_those_that_are_named() {
    let index =
        br#"{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}"#;
    let hub = Hub::start(&[
        ("models/o/big/config.json", b"{}"),
        ("models/o/big/model.safetensors.index.json", index),
        ("models/o/big/model-00001-of-00002.safetensors", b"one"),
        ("models/o/big/model-00002-of-00002.safetensors", b"two"),
        ("models/o/big/extra.safetensors", b"no"),
        ("models/o/adapter/adapter_config.json", b"{}"),
        ("models/o/adapter/adapter_model.safetensors", b"lora"),
        ("models/o/escape/model.safetensors.index.json", br#"{"weight_map": {"a": "../../x"}}"#),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let folder = model_folder_with("o/big", &hub.settings(cache.path())).unwrap();
    assert_eq!(std::fs::read(folder.join("model-00002-of-00002.safetensors")).unwrap(), b"two");
    assert!(!folder.join("extra.safetensors").exists());
    let folder = model_folder_with("o/adapter", &hub.settings(cache.path())).unwrap();
    assert_eq!(std::fs::read(folder.join("adapter_model.safetensors")).unwrap(), b"lora");
    let error = model_folder_with("o/escape", &hub.settings(cache.path())).unwrap_err().to_string();
    assert!(error.contains("names the shard ../../x"), "{error}");
}

#[test]
fn what_cannot_be_fetched_is_an_error_with_a_remedy() {
    let hub = Hub::start(&[
        ("models/o/pickled/config.json", b"{}"),
        ("models/o/pickled/pytorch_model.bin", b"pickle"),
        ("models/o/private/config.json", b"{}"),
        ("models/o/private/model.safetensors", b"w"),
        ("models/o/empty/README.md", b"x"),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let settings = hub.settings(cache.path());
    let said = |name: &str, settings: &HubSettings| model_folder_with(name, settings).unwrap_err().to_string();
    let error = said("o/pickled", &settings);
    assert!(error.contains("only as a pickle (pytorch_model.bin)") && error.contains("safetensors"), "{error}");
    assert!(said("o/empty", &settings).contains("has no *.safetensors"));
    let error = said("o/none", &settings);
    assert!(error.contains("has no o/none, or does not show it to you") && error.contains("404"), "{error}");
    let error = said("o/private", &settings);
    assert!(error.contains("401") && error.contains("set HF_TOKEN"), "{error}");
    let with_token = HubSettings { token: Some("hf_right".into()), ..settings.clone() };
    model_folder_with("o/private", &with_token).unwrap();
    let gone = HubSettings { endpoint: "http://127.0.0.1:1".into(), ..settings };
    let error = said("o/pickled", &gone);
    assert!(error.contains("cannot fetch o/pickled from http://127.0.0.1:1: "), "{error}");
}

#[test]
fn a_dataset_is_its_data_files_of_one_split() {
    let row = br#"{"prompt": "q", "chosen": "a", "rejected": "b"}"#;
    let hub = Hub::start(&[
        ("datasets/o/set/README.md", b"x"),
        ("datasets/o/set/dataset_infos.json", b"{}"),
        ("datasets/o/set/data/train-00001-of-00002.jsonl", row),
        ("datasets/o/set/data/train-00000-of-00002.jsonl", row),
        ("datasets/o/set/data/test-00000-of-00001.jsonl", row),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let settings = hub.settings(cache.path());
    let error = dataset_files("hf://o/set", None, &settings).unwrap_err().to_string();
    assert!(error.contains("hf://o/set has several splits (test, train)"), "{error}");
    let train = dataset_files("hf://o/set", Some("train"), &settings).unwrap();
    let snapshot = cache.path().join("datasets--o--set/snapshots").join(COMMIT);
    let expected = ["data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"];
    assert_eq!(train, expected.map(|name| snapshot.join(name)));
    assert_eq!(dataset_files("hf://o/set/data/train-*.jsonl", None, &settings).unwrap(), train);
    assert_eq!(std::fs::read(&train[0]).unwrap(), row);
    let offline = HubSettings { offline: true, ..settings };
    assert_eq!(dataset_files("hf://o/set", None, &offline).unwrap(), train, "what was fetched");
}
