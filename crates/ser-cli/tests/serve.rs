//! `ser serve`: its scores are those of `ser score`.

#![cfg(all(feature = "libtorch", feature = "serve"))]
#![allow(clippy::panic, clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use support::{command, golden, rows, run, stderr, text};

const KEY: &str = "a key for a test";

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start(arguments: &[String]) -> Self {
        let mut command = command("serve", arguments);
        command.args(["--port", "0"]).env("SER_API_KEY", KEY).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("http://") else {
            panic!("{}", stderr(&child.wait_with_output().unwrap()));
        };
        assert!(address.starts_with("127.0.0.1:"), "{address}");
        let address = address.to_owned();
        Server { child, address }
    }

    /// Status and body.
    fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let body = body.to_string();
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {}\r\nconnection: \
             close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    fn ask(&self, path: &str, body: &Value) -> Value {
        let (status, answer) = self.post(path, KEY, body);
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Ends the server as a service manager does; what it wrote to stderr.
    fn stop(mut self) -> String {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        let mut errors = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
        errors
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

fn close(value: &Value, expected: &Value) {
    let [value, expected] = [value, expected].map(|value| value.as_f64().unwrap());
    assert!((value - expected).abs() <= 1e-5, "{value} is not {expected}");
}

#[test]
fn serves_the_scores_of_ser_score() {
    serves_the_scores(&["training.learning_rate=0.01", "training.epochs=1", "text.max_length=120"]);
}

#[test]
fn serves_the_scores_of_a_linear_model() {
    serves_the_scores(&["reward_model.kind=linear", "linear.components=4", "text.max_length=120"]);
}

fn serves_the_scores(sets: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (data, adapter) = (rows(folder.path(), 40), text(&folder.path().join("rm")));
    let model = ["--model".to_owned(), text(&golden("llama"))];
    let with_data = ["--data".to_owned(), data.clone()];
    let out = ["--out".to_owned(), adapter.clone()];
    let trained = run("train reward", &[&model[..], &with_data, &out, &support::set(sets)].concat());
    assert!(trained.status.success(), "{}", stderr(&trained));
    let with_adapter = [&model[..], &["--adapter".to_owned(), adapter]].concat();
    let scored = run("score", &[&with_adapter[..], &with_data].concat());
    assert!(scored.status.success(), "{}", stderr(&scored));
    let raw: Vec<Value> = String::from_utf8(scored.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["raw"].clone())
        .collect();
    let rows: Vec<Value> =
        std::fs::read_to_string(&data).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((raw.len(), rows.len()), (40, 40));

    let server = Server::start(&with_adapter);
    let inputs: Vec<Value> =
        rows.iter().map(|row| json!({"prompt": row["prompt"], "answers": [row["chosen"], row["rejected"]]})).collect();
    let answer = server.ask("/v1/rewards", &json!({ "inputs": inputs }));
    assert_eq!(answer["model"], "rm");
    for (entry, raw) in answer["data"].as_array().unwrap().iter().zip(&raw) {
        for side in 0..2 {
            close(&entry["rewards"][side]["raw"], &raw[side]);
        }
        assert!(entry["status"].is_string());
    }

    // Single answers, and texts as the template of the training writes them.
    let (prompts, chosen): (Vec<_>, Vec<_>) =
        rows.iter().map(|row| (row["prompt"].as_str().unwrap(), row["chosen"].as_str().unwrap())).unzip();
    let scores = server.ask("/score", &json!({"text_1": prompts, "text_2": chosen, "use_activation": false}));
    let written: Vec<String> = prompts
        .iter()
        .zip(&chosen)
        .map(|(prompt, chosen)| ser::data::authors_code_text(&[ser::Message::user(*prompt)], chosen))
        .collect();
    let rewards = server.ask("/get_reward", &json!({"query": written, "prompts": prompts}));
    let classes = server.ask("/classify", &json!({"input": written, "use_activation": false}));
    for (i, raw) in raw.iter().enumerate() {
        close(&scores["data"][i]["score"], &raw[0]);
        close(&rewards["rewards"][i], &raw[0]);
        close(&classes["data"][i]["probs"][0], &raw[0]);
    }

    // The length limit of the training.
    let long = json!({"prompt": "q", "answers": ["long ".repeat(100)]});
    let (status, answer) = server.post("/v1/rewards", KEY, &long);
    assert_eq!(
        (status, answer["error"]["message"].as_str().unwrap()),
        (422, "text 0 is longer than the model's length limit")
    );
    let (status, _) = server.post("/classify", KEY, &json!({"input": [written[0], "long ".repeat(100)]}));
    assert_eq!(status, 422);
    // Cut at the model's positions.
    server.ask("/get_reward", &json!({"query": ["long ".repeat(2000)]}));
    let (status, _) = server.post("/classify", "another key", &json!({"input": "a"}));
    assert_eq!(status, 401);
    let (status, _) = server.post("/v1/rewards", KEY, &json!({"prompt": "", "answers": [""]}));
    assert!(matches!(status, 200 | 422), "{status}");

    let errors = server.stop();
    assert!(errors.contains("texts: template authors_code, with end token, at most 120 tokens"), "{errors}");
    assert!(!errors.contains(KEY) && !errors.contains("error"), "{errors}");
}

#[test]
fn unusable_settings_are_one_sentence() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let model = text(&golden("llama"));
    let refused = |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let output = run("serve", &arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        stderr(&output)
    };
    let errors = refused(&["--model", &model, "--port", &port]);
    assert!(errors.contains(&format!("error: cannot listen on 127.0.0.1, port {port}: ")), "{errors}");
    let errors = refused(&["--port", "0"]);
    assert!(errors.contains("error: give --model FOLDER"), "{errors}");
    let errors = refused(&["--model", &model, "--port", "0", "--batch-pairs", "0"]);
    assert!(errors.contains("error: batch_pairs is 0; it must be at least 1"), "{errors}");
}
