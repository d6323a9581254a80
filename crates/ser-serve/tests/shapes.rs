//! The requests and answers of each path.

#![allow(clippy::panic, clippy::unwrap_used)]

mod support;

use ser_serve::{ApiKey, ServeSettings};
use ser_status::{Anchor, FittedAnchor};
use serde_json::{Value, json};
use support::{begin, end, get, post, start};

fn sigmoid(r: f64) -> f64 {
    1.0 / (1.0 + (-r).exp())
}

fn close(value: &Value, expected: f64) {
    let value = value.as_f64().unwrap();
    assert!((value - expected).abs() < 1e-12, "{value} is not {expected}");
}

#[test]
fn openrlhf_gets_rewards() {
    let server = start(ServeSettings::default());
    let body = json!({"query": ["four", "eight ch"], "prompts": ["fo", "ei"], "labels": [null, "x"]});
    let reply = post(server.address, "/get_reward", &body);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.head.contains("content-type: application/json"), "{reply:?}");
    let json = reply.json();
    assert_eq!(json["rewards"], json!([0.04, 0.08]));
    close(&json["scores"][1], sigmoid(0.08));
    assert_eq!(json["extra_logs"]["probability"], json["scores"]);
    // Prompts may be absent, and a text over the limit is scored.
    let long = post(server.address, "/get_reward", &json!({"query": ["x".repeat(200)]}));
    assert_eq!(long.json()["rewards"], json!([2.0]));
    assert_eq!(post(server.address, "/get_reward", &json!({"query": []})).json()["rewards"], json!([]));
    let uneven = post(server.address, "/get_reward", &json!({"query": ["a"], "prompts": []}));
    assert_eq!(
        (uneven.status, uneven.message().as_str()),
        (422, "query has 1 texts and prompts 0; give as many of both")
    );
}

#[test]
fn queries_are_split_where_the_template_is_applied() {
    let strip = ["<s>", "</s>"].map(str::to_owned).to_vec();
    let server = start(ServeSettings { apply_template: true, strip, probability: true, ..ServeSettings::default() });
    let body = json!({"query": ["<s>Why? So.</s></s>"], "prompts": ["<s>Why? "]});
    close(&post(server.address, "/get_reward", &body).json()["rewards"][0], sigmoid(0.3));
    assert_eq!(server.batches.lock().unwrap()[0], ["So.|So."]);
    let other = post(server.address, "/get_reward", &json!({"query": ["ok", "no"], "prompts": ["o", "y"]}));
    assert_eq!((other.status, other.message().as_str()), (422, "query 1 does not begin with its prompt"));
    assert_eq!(post(server.address, "/get_reward", &json!({"query": ["a"]})).status, 422);
}

#[test]
fn vllm_classes_and_scores() {
    let server = start(ServeSettings { model: "rm".to_owned(), ..ServeSettings::default() });
    for path in ["/classify", "/v1/classify"] {
        let json = post(server.address, path, &json!({"model": "rm", "input": ["12345", "1234567890"]})).json();
        assert_eq!((&json["object"], &json["model"]), (&json!("list"), &json!("rm")));
        assert!(
            json["id"].as_str().unwrap().starts_with("classify-") && json["created"].as_u64() > Some(1_600_000_000)
        );
        close(&json["data"][1]["probs"][0], sigmoid(0.1));
        assert_eq!(json["data"][1]["index"], 1);
        assert_eq!(json["data"][1]["num_classes"], 1);
        assert_eq!(json["data"][1]["label"], "LABEL_0");
    }
    for field in ["use_activation", "activation", "softmax"] {
        let json = post(server.address, "/classify", &json!({"input": "12345", field: false})).json();
        assert_eq!(json["data"][0]["probs"], json!([0.05]), "{field}");
    }
    let messages = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "ten chars."}]);
    let json = post(server.address, "/classify", &json!({"messages": messages, "use_activation": false})).json();
    assert_eq!(json["data"][0]["probs"], json!([1.0]));
    let ids = post(server.address, "/classify", &json!({"input": [1, 2]}));
    assert!(ids.status == 422 && ids.message().contains("expected a string"), "{ids:?}");

    for path in ["/score", "/v1/score"] {
        let json = post(server.address, path, &json!({"text_1": "q", "text_2": ["1", "12", "123"]})).json();
        assert_eq!(json["data"].as_array().unwrap().len(), 3);
        close(&json["data"][2]["score"], sigmoid(0.3));
        assert_eq!((&json["data"][2]["object"], &json["data"][2]["index"]), (&json!("score"), &json!(2)));
    }
    let body = json!({"queries": ["a", "b"], "documents": ["1", "12"], "use_activation": false});
    let json = post(server.address, "/score", &body).json();
    assert_eq!((&json["data"][0]["score"], &json["data"][1]["score"]), (&json!(0.1), &json!(0.2)));
    let uneven = post(server.address, "/score", &json!({"text_1": ["a", "b"], "text_2": ["1"]}));
    assert_eq!(uneven.message(), "text_1 must be one text, or have as many texts as text_2");
}

#[test]
fn rewards_have_probabilities_and_a_status() {
    let anchor = FittedAnchor { anchor: Anchor::Fitted, offset: 1.0, temperature: 0.5 };
    let server = start(ServeSettings { anchor, ..ServeSettings::default() });
    let (good, bad) = ("x".repeat(40), "x");
    let json = post(server.address, "/v1/rewards", &json!({"prompt": "q", "answers": [bad, good]})).json();
    let data = &json["data"][0];
    assert_eq!((&data["status"], &data["preferred"], &data["index"]), (&json!("status1"), &json!(1), &json!(0)));
    assert_eq!(data["rewards"][1]["raw"], 4.0);
    close(&data["rewards"][1]["probability"], sigmoid(4.0));
    close(&data["rewards"][1]["anchored"], sigmoid(6.0));
    let tie = post(server.address, "/v1/rewards", &json!({"prompt": "q", "answers": ["a", "b"]})).json();
    assert_eq!((&tie["data"][0]["status"], &tie["data"][0]["preferred"]), (&json!("stop"), &Value::Null));

    let turns = json!([{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]);
    let inputs = json!([{"prompt": turns, "answers": ["1", "12", "123"]}, {"prompt": "q", "answers": []}]);
    let json = post(server.address, "/v1/rewards", &json!({"inputs": inputs})).json();
    assert_eq!(json["data"][0]["rewards"][2]["raw"], 0.3);
    assert_eq!((&json["data"][0]["status"], &json["data"][1]["rewards"]), (&Value::Null, &json!([])));

    let turns = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "1234"}]);
    let json = post(server.address, "/v1/rewards", &json!({"conversations": [turns]})).json();
    assert_eq!(json["data"][0]["rewards"][0]["raw"], 0.4);
    for (body, expected) in [
        (json!({"prompt": "q"}), "give prompt and answers, or inputs, or conversations"),
        (
            json!({"prompt": "q", "answers": ["a"], "inputs": []}),
            "give prompt and answers, or inputs, or conversations",
        ),
        (json!({"conversations": [[]]}), "conversation 0 has no turns"),
        (json!({"prompt": 3, "answers": []}), "invalid type: integer `3`, expected a text or a list of messages"),
        (json!({"prompt": [{"role": "bot", "content": ""}], "answers": []}), "unknown variant `bot`"),
    ] {
        let reply = post(server.address, "/v1/rewards", &body);
        assert!(reply.status == 422 && reply.message().contains(expected), "{reply:?}");
    }
}

/// The probabilities of an anchor that needs pairs exist for pairs alone.
#[test]
fn a_per_pair_anchor_is_for_pairs() {
    let anchor = FittedAnchor { anchor: Anchor::PerPair, offset: 0.0, temperature: 1.0 };
    let server = start(ServeSettings { anchor, ..ServeSettings::default() });
    let json = post(server.address, "/v1/rewards", &json!({"prompt": "q", "answers": ["123", "1"]})).json();
    close(&json["data"][0]["rewards"][0]["anchored"], sigmoid(0.1));
    let json = post(server.address, "/v1/rewards", &json!({"prompt": "q", "answers": ["123"]})).json();
    assert_eq!(json["data"][0]["rewards"][0]["anchored"], Value::Null);
}

#[test]
fn model_health_metrics_and_unknown_paths() {
    let server = start(ServeSettings { model: "rm".to_owned(), ..ServeSettings::default() });
    assert_eq!(get(server.address, "/v1/models").json()["data"][0]["id"], "rm");
    assert_eq!(get(server.address, "/health").json(), json!({"status": "ok", "waiting_pairs": 0}));
    post(server.address, "/get_reward", &json!({"query": ["a", "b"]}));
    let metrics = get(server.address, "/metrics");
    assert!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{metrics:?}");
    for line in [
        "# TYPE ser_serve_requests_total counter",
        "ser_serve_requests_total{path=\"/get_reward\",code=\"200\"} 1",
        "ser_serve_pairs_total 2",
        "ser_serve_request_seconds_bucket{le=\"+Inf\"} 3",
        "ser_serve_waiting_pairs 0",
    ] {
        assert!(metrics.body.lines().any(|l| l == line), "{line}: {}", metrics.body);
    }
    let reply = get(server.address, "/nowhere");
    assert_eq!((reply.status, reply.message().as_str()), (404, "there is no such path"));
    let reply = get(server.address, "/score");
    assert_eq!((reply.status, reply.message().as_str()), (405, "the path does not take this method"));
}

#[test]
fn requests_without_the_key_are_refused() {
    let server = start(ServeSettings { api_key: Some(ApiKey::new("secret")), ..ServeSettings::default() });
    let ask = |path: &str, headers: &str| end(begin(server.address, "POST", path, headers, br#"{"query": ["a"]}"#));
    assert_eq!(ask("/get_reward", "authorization: Bearer secret\r\n").status, 200);
    assert_eq!(ask("/get_reward", "authorization: bearer secret\r\n").status, 200);
    for headers in
        ["", "authorization: secret\r\n", "authorization: Bearer secre\r\n", "authorization: Basic secret\r\n"]
    {
        let reply = ask("/get_reward", headers);
        assert!(reply.status == 401 && reply.head.contains("www-authenticate: bearer"), "{reply:?}");
        assert!(reply.message().contains("API key") && !reply.body.contains("secre"), "{reply:?}");
    }
    assert_eq!((get(server.address, "/health").status, get(server.address, "/metrics").status), (200, 401));
    assert!(server.batches.lock().unwrap().len() == 2);
}
