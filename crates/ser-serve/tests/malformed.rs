//! Malformed requests get a status and one sentence, never a 500. `SER_MALFORMED_REQUESTS=10000` tries more of them.

#![allow(clippy::panic, clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ser_serve::ServeSettings;
use serde_json::{Value, json};
use support::{begin, end, get, start_with_adapters};

/// No request of a few kilobytes takes longer.
const LONGEST: Duration = Duration::from_secs(5);

/// Puts another value somewhere into a body.
fn replace(value: &mut Value, random: &mut impl FnMut(usize) -> usize) {
    let inner: Vec<&mut Value> = match value {
        Value::Array(list) => list.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    let count = inner.len();
    match inner.into_iter().nth(random(count + 1)) {
        Some(inner) => replace(inner, random),
        None => {
            let others =
                [json!(null), json!(-1.5), json!("text"), json!(["list"]), json!({"role": "user"}), json!(true)];
            *value = others[random(others.len())].clone();
        }
    }
}

/// The number of requests: `SER_MALFORMED_REQUESTS`, or 700.
fn count() -> usize {
    std::env::var("SER_MALFORMED_REQUESTS").map_or(700, |count| count.parse().unwrap())
}

/// Bodies of every path, changed at random positions, and texts that are not requests.
#[test]
fn malformed_requests_get_a_status_other_than_500() {
    let server = start_with_adapters(ServeSettings { request_bytes: 4096, ..ServeSettings::default() });
    let turns = json!([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a\u{e9}\n"}]);
    let bodies = [
        ("/get_reward", json!({"query": ["a", "b"], "prompts": ["a", "b"]})),
        ("/classify", json!({"input": ["a", "b"], "use_activation": false})),
        ("/classify", json!({"messages": turns})),
        ("/score", json!({"text_1": "q", "text_2": ["a", "b"]})),
        ("/v1/rewards", json!({"prompt": turns, "answers": ["a", "b"]})),
        ("/v1/rewards", json!({"inputs": [{"prompt": "q", "answers": ["a"]}]})),
        ("/v1/rewards", json!({"conversations": [turns]})),
        ("/v1/adapter", json!({"adapter": "other"})),
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as usize
    };
    let pieces: [&[u8]; 14] = [
        b"null",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\"",
        b"1e999",
        b"-0",
        b"\\ud800",
        b"\xff\xfe",
        b"true",
        b"[[[[",
        b",",
        b"\0",
    ];
    let mut counts = std::collections::BTreeMap::<u16, usize>::new();
    for i in 0..count() {
        let (path, body) = &bodies[i % bodies.len()];
        let mut body = body.clone();
        let whole = random(2) == 0;
        if whole {
            replace(&mut body, &mut random);
        }
        let mut bytes = body.to_string().into_bytes();
        for _ in 0..if whole { 0 } else { 1 + random(3) } {
            let (at, piece) = (random(bytes.len()), pieces[random(pieces.len())]);
            match random(4) {
                0 => bytes.truncate(at.max(1)),
                1 => drop(bytes.splice(at..at, piece.iter().copied())),
                2 => drop(bytes.splice(at..(at + 1 + random(6)).min(bytes.len()), piece.iter().copied())),
                _ => bytes[at] = random(256) as u8,
            }
            if bytes.is_empty() {
                bytes.push(b' ');
            }
        }
        let started = Instant::now();
        let reply = end(begin(server.address, "POST", path, "", &bytes));
        assert!(started.elapsed() < LONGEST, "{path} took {:?}", started.elapsed());
        let text = String::from_utf8_lossy(&bytes);
        assert!(matches!(reply.status, 200 | 400 | 422), "{path} {text}: {reply:?}");
        if reply.status != 200 {
            assert!(!reply.message().contains('\n'), "{reply:?}");
        }
        *counts.entry(reply.status).or_default() += 1;
    }
    assert!([200, 400, 422].iter().all(|status| counts.get(status) > Some(&20)), "{counts:?}");
    let deep = "[".repeat(4000);
    assert_eq!(end(begin(server.address, "POST", "/score", "", deep.as_bytes())).status, 422);
    let deep = format!("{{\"text_1\": \"q\", \"text_2\": \"a\", \"x\": {deep}");
    assert_eq!(end(begin(server.address, "POST", "/score", "", deep.as_bytes())).status, 400);
    for garbage in
        ["\r\n\r\n", "GET\r\n\r\n", "\u{0}\u{1}\u{2}\r\n\r\n", "POST /score HTTP/1.1\r\ncontent-length: -1\r\n\r\n"]
    {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(garbage.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(get(server.address, "/health").status, 200);
}
