//! Many requests, bad ones, failures of the model, and the end.

#![allow(clippy::panic, clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ser_serve::ServeSettings;
use serde_json::{Value, json};
use support::{Running, begin, end, get, post, start, wait_for_batches, wait_for_queue};

fn send(server: &Running, query: &[&str]) -> TcpStream {
    begin(server.address, "POST", "/get_reward", "", json!({"query": query}).to_string().as_bytes())
}

/// A server whose scorer is stopped at its first batch.
fn held(settings: ServeSettings) -> (Running, TcpStream) {
    let server = start(settings);
    server.gate.set(true);
    let first = send(&server, &["first"]);
    wait_for_batches(&server, 1);
    (server, first)
}

#[test]
fn requests_that_wait_are_scored_together() {
    let (server, first) = held(ServeSettings { batch_pairs: 4, ..ServeSettings::default() });
    let others: Vec<_> = (0..3)
        .map(|i| {
            let stream = send(&server, &["x", "yy"]);
            wait_for_queue(server.address, 2 * (i + 1));
            stream
        })
        .collect();
    server.gate.set(false);
    assert_eq!(end(first).json()["rewards"], json!([0.05]));
    for other in others {
        assert_eq!(end(other).json()["rewards"], json!([0.01, 0.02]));
    }
    let sizes: Vec<_> = server.batches.lock().unwrap().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 4, 2]);
}

#[test]
fn a_full_queue_is_reported_with_the_time_to_wait() {
    let (server, first) = held(ServeSettings { queue_pairs: 2, request_texts: 2, ..ServeSettings::default() });
    let second = send(&server, &["a", "b"]);
    wait_for_queue(server.address, 2);
    let third = end(send(&server, &["c"]));
    assert_eq!((third.status, third.message().as_str()), (503, "the queue is full; try again later"));
    assert!(third.head.contains("retry-after: 1"), "{third:?}");
    server.gate.set(false);
    assert_eq!((end(first).status, end(second).status), (200, 200));
    assert_eq!(end(send(&server, &["c"])).status, 200);
}

#[test]
fn texts_of_a_client_that_left_are_not_scored() {
    let (server, first) = held(ServeSettings::default());
    let leaves = send(&server, &["never", "scored"]);
    wait_for_queue(server.address, 2);
    drop(leaves);
    wait_for_queue(server.address, 0);
    let stays = send(&server, &["stays"]);
    wait_for_queue(server.address, 1);
    server.gate.set(false);
    assert_eq!((end(first).status, end(stays).status), (200, 200));
    assert_eq!(*server.batches.lock().unwrap(), [["first|first"], ["stays|stays"]]);
    assert!(get(server.address, "/metrics").body.contains("ser_serve_cancelled_total 1\n"));
}

#[test]
fn a_stopping_server_answers_accepted_requests() {
    let (mut server, first) = held(ServeSettings::default());
    let second = send(&server, &["second"]);
    wait_for_queue(server.address, 1);
    // A connection without a request, and one with half a head, do not delay the end.
    let idle = TcpStream::connect(server.address).unwrap();
    let mut half = TcpStream::connect(server.address).unwrap();
    half.write_all(b"POST /score HTTP/1.1\r\nhost").unwrap();
    server.stop.stop();
    std::thread::sleep(Duration::from_millis(700));
    assert!(!server.thread.as_ref().unwrap().is_finished());
    assert!(TcpStream::connect(server.address).is_err(), "no new connection is taken");
    server.gate.set(false);
    assert_eq!(end(first).json()["rewards"], json!([0.05]));
    assert_eq!(end(second).json()["rewards"], json!([0.06]));
    let start = Instant::now();
    server.thread.take().unwrap().join().unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(10));
    drop((idle, half));
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let timeout = Duration::from_millis(100);
    let server = start(ServeSettings { body_timeout: timeout, ..ServeSettings::default() });
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.write_all(b"POST /score HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{").unwrap();
    let reply = end(stream);
    assert_eq!((reply.status, reply.message().as_str()), (408, "the request's body did not come in time"));
}

#[test]
fn large_requests_are_refused() {
    let limits = ServeSettings { request_bytes: 1000, request_texts: 3, ..ServeSettings::default() };
    let server = start(limits);
    let reply = post(server.address, "/get_reward", &json!({"query": ["x".repeat(2000)]}));
    assert_eq!((reply.status, reply.message().as_str()), (413, "the request's body is over 1000 bytes"));
    for (path, body) in [
        ("/get_reward", json!({"query": ["a", "b", "c", "d"]})),
        ("/classify", json!({"input": ["a", "b", "c", "d"]})),
        ("/score", json!({"text_1": "q", "text_2": ["a", "b", "c", "d"]})),
        ("/v1/rewards", json!({"prompt": "q", "answers": ["a", "b", "c", "d"]})),
        (
            "/v1/rewards",
            json!({"inputs": [{"prompt": "q", "answers": ["a", "b"]}, {"prompt": "q", "answers": ["a", "b"]}]}),
        ),
    ] {
        let reply = post(server.address, path, &body);
        let message = "the request has 4 texts; at most 3 are taken";
        assert_eq!((reply.status, reply.message().as_str()), (413, message), "{path}");
    }
    assert!(server.batches.lock().unwrap().is_empty());
}

#[test]
fn a_request_fails_alone() {
    let (server, first) = held(ServeSettings::default());
    let long = "x".repeat(101);
    let classify = |input: Value| {
        let body = json!({ "input": input }).to_string();
        begin(server.address, "POST", "/classify", "", body.as_bytes())
    };
    let streams = [
        (classify(json!(["ok", long])), 422, "text 1 is longer than the model's length limit"),
        (classify(json!("ROLES")), 422, "the model cannot read a text: the chat template refuses it"),
        (classify(json!(["ok", "ok", ""])), 422, "text 2 is empty to the model"),
        (classify(json!("BROKEN")), 500, "the model failed: the device is lost"),
        (classify(json!("PANIC")), 500, "the model failed: it panicked"),
        (classify(json!("NAN")), 500, "the model failed: its score is NaN"),
    ];
    let good = classify(json!("good"));
    wait_for_queue(server.address, 10);
    server.gate.set(false);
    assert_eq!((end(first).status, end(good).status), (200, 200));
    for (stream, status, message) in streams {
        let reply = end(stream);
        assert_eq!((reply.status, reply.message().as_str()), (status, message));
    }
    let pair = post(server.address, "/v1/rewards", &json!({"prompt": "q", "answers": ["a", "b", "c", long]}));
    assert_eq!(pair.message(), "text 2 or 3 is longer than the model's length limit");
}
