//! Changing the adapter while requests are answered.

#![allow(clippy::panic, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use ser_serve::{ApiKey, ServeSettings};
use serde_json::json;
use support::{begin, end, get, post, start, start_with_adapters, wait_for_batches, wait_for_queue};

#[test]
fn requests_before_a_change_are_scored_by_the_old_adapter() {
    let server = start_with_adapters(ServeSettings { model: "0".to_owned(), ..ServeSettings::default() });
    server.gate.set(true);
    let send = |text: &str| {
        let body = json!({"text_1": "q", "text_2": text, "use_activation": false}).to_string();
        begin(server.address, "POST", "/score", "", body.as_bytes())
    };
    let first = send("a");
    wait_for_batches(&server, 1);
    let second = send("ab");
    wait_for_queue(server.address, 1);
    let change = begin(server.address, "POST", "/v1/adapter", "", br#"{"adapter": "100"}"#);
    // The change is in the queue once a connection that came after it is answered.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let third = send("abc");
    wait_for_queue(server.address, 2);
    server.gate.set(false);
    let answers = [first, second, third].map(|stream| {
        let json = end(stream).json();
        (json["model"].as_str().unwrap().to_owned(), json["data"][0]["score"].as_f64().unwrap())
    });
    assert_eq!(answers.each_ref().map(|(model, _)| model.as_str()), ["0", "0", "100"]);
    for ((_, score), expected) in answers.iter().zip([0.1, 0.2, 100.3]) {
        assert!((score - expected).abs() < 1e-9, "{score} is not {expected}");
    }
    assert_eq!(end(change).json(), json!({"object": "adapter", "model": "100"}));
    assert_eq!(get(server.address, "/v1/models").json()["data"][0]["id"], "100");
    assert!(get(server.address, "/metrics").body.contains("ser_serve_adapter_changes_total 1\n"));
}

/// A request's scores and the name in its answer are those of one adapter, also of a request of several batches.
#[test]
fn no_answer_mixes_two_adapters() {
    let settings = ServeSettings { model: "0".to_owned(), batch_pairs: 3, ..ServeSettings::default() };
    let server = start_with_adapters(settings);
    let done = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let ask = || {
            let mut seen = BTreeMap::<String, usize>::new();
            while !done.load(Ordering::SeqCst) {
                let answers = ["x"; 20];
                let json = post(server.address, "/v1/rewards", &json!({"prompt": "q", "answers": answers})).json();
                let model = json["model"].as_str().unwrap().to_owned();
                let bonus: f64 = model.parse().unwrap();
                for reward in json["data"][0]["rewards"].as_array().unwrap() {
                    assert!((reward["raw"].as_f64().unwrap() - bonus - 0.1).abs() < 1e-9, "{json}");
                }
                *seen.entry(model).or_default() += 1;
            }
            seen
        };
        let clients = [scope.spawn(ask), scope.spawn(ask), scope.spawn(ask)];
        for adapter in 1..=20 {
            let reply = post(server.address, "/v1/adapter", &json!({"adapter": adapter.to_string()}));
            assert_eq!(reply.status, 200, "{reply:?}");
        }
        done.store(true, Ordering::SeqCst);
        clients.map(|client| client.join().unwrap())
    });
    assert!(seen.iter().all(|models| models.len() > 1), "{seen:?}");
}

#[test]
fn an_adapter_that_cannot_be_loaded_leaves_the_model_as_it_is() {
    let server = start_with_adapters(ServeSettings { model: "0".to_owned(), ..ServeSettings::default() });
    let change = |adapter: &str| post(server.address, "/v1/adapter", &json!({ "adapter": adapter }));
    assert_eq!(change("5").status, 200);
    for (adapter, problem) in [("none", "it is not a number"), ("PANIC", "it panicked")] {
        let reply = change(adapter);
        let expected = format!("the adapter {adapter:?} is not taken, and 5 scores as before: {problem}");
        assert_eq!((reply.status, reply.message()), (422, expected));
    }
    let json = post(server.address, "/get_reward", &json!({"query": ["1234567890"]})).json();
    assert!((json["rewards"][0].as_f64().unwrap() - 5.1).abs() < 1e-9, "{json}");
    let unknown = post(server.address, "/v1/adapter", &json!({"adapter": "5", "path": "/"}));
    assert!(unknown.status == 422 && unknown.message().contains("unknown field `path`"), "{unknown:?}");
}

#[test]
fn without_adapters_there_is_nothing_to_change() {
    let server = start(ServeSettings::default());
    let reply = post(server.address, "/v1/adapter", &json!({"adapter": "5"}));
    let message = "the server was started without adapters to change to";
    assert_eq!((reply.status, reply.message().as_str()), (404, message));
}

#[test]
fn a_change_needs_the_key() {
    let server =
        start_with_adapters(ServeSettings { api_key: Some(ApiKey::new("secret")), ..ServeSettings::default() });
    let ask = |headers: &str| end(begin(server.address, "POST", "/v1/adapter", headers, br#"{"adapter": "5"}"#)).status;
    assert_eq!((ask(""), ask("authorization: Bearer secret\r\n")), (401, 200));
}
