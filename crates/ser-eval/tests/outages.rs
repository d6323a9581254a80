//! Outages of a judge's endpoint on real sockets: every answer that came is kept, a retry gets the rest, and the key is nowhere.

#![cfg(feature = "http")]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ser_core::{Context, Control, Event, Judge, Pair, PairId, Stage, Verdict, observer_fn};
use ser_eval::{EvalError, JudgeSettings, PairwiseJudge};
use serde_json::{Value, json};

/// A variable that every test has, as the key.
const KEY: &str = "CARGO_MANIFEST_DIR";

/// What the endpoint does with a request.
type Fault = fn(&mut TcpStream, usize) -> std::io::Result<()>;

struct Endpoint {
    address: String,
    /// How often each question was asked.
    asked: Arc<Mutex<HashMap<String, usize>>>,
    /// Authorization headers.
    keys: Arc<Mutex<Vec<String>>>,
}

/// Answers with the fault as long as it takes a request, then with a verdict.
fn endpoint(fault: Fault, times: usize) -> Endpoint {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (asked, keys) = (Arc::<Mutex<HashMap<String, usize>>>::default(), Arc::<Mutex<Vec<String>>>::default());
    let of_thread = (Arc::clone(&asked), Arc::clone(&keys));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (asked, keys) = (Arc::clone(&of_thread.0), Arc::clone(&of_thread.1));
            std::thread::spawn(move || serve(stream, &asked, &keys, fault, times));
        }
    });
    Endpoint { address, asked, keys }
}

fn serve(
    mut stream: TcpStream,
    asked: &Mutex<HashMap<String, usize>>,
    keys: &Mutex<Vec<String>>,
    fault: Fault,
    times: usize,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let Some((name, value)) = line.trim().split_once(": ") else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => keys.lock().unwrap().push(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let question = body["messages"][0]["content"].as_str().unwrap().to_owned();
    let before = {
        let mut asked = asked.lock().unwrap();
        let count = asked.entry(question).or_default();
        *count += 1;
        *count - 1
    };
    if before < times { fault(&mut stream, before) } else { reply(&mut stream, "200 OK", "", &verdict()) }
}

fn verdict() -> String {
    json!({"choices": [{"message": {"content": "Verdict: tie"}}]}).to_string()
}

fn reply(stream: &mut TcpStream, status: &str, headers: &str, body: &str) -> std::io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
}

fn key() -> String {
    std::env::var(KEY).unwrap()
}

/// A date as HTTP writes it, in the future; only its seconds matter here.
fn date_after(seconds: u64) -> String {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds;
    let (days, second) = (time / 86_400, time % 86_400);
    // Days since 1970 to a date, by counting.
    let (mut year, mut day) = (1970, days);
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let name = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"][month];
    format!("Mon, {:02} {name} {year} {:02}:{:02}:{:02} GMT", day + 1, second / 3600, second / 60 % 60, second % 60)
}

fn settings(address: &str) -> JudgeSettings {
    JudgeSettings {
        endpoint: format!("http://{address}/v1"),
        model: "judge".to_owned(),
        api_key_env: Some(KEY.to_owned()),
        first_wait_seconds: 0.001,
        timeout_seconds: 0.5,
        retries: 3,
        ..JudgeSettings::default()
    }
}

fn pairs(n: u64) -> Vec<Arc<Pair>> {
    (0..n).map(|i| Arc::new(Pair::from_text(PairId(i), format!("question {i}"), "one", "two"))).collect()
}

/// The verdicts, or the error, and all that was said on the way; none of it has the key.
fn judged(settings: JudgeSettings, pairs: &[Arc<Pair>]) -> (Result<Vec<Verdict>, EvalError>, String) {
    let mut said = String::new();
    let mut observer = observer_fn(|event: &Event<'_>| {
        if let Event::Note { text } = event {
            said.push_str(text);
        }
        Control::Continue
    });
    let result = PairwiseJudge::new(settings)
        .and_then(|mut judge| judge.judge(pairs, &mut Context::new(Stage::Judge, &mut observer)));
    if let Err(error) = &result {
        said.push_str(&format!("{error} {error:?}"));
    }
    assert!(!said.contains(&key()), "{said}");
    (result, said)
}

/// Every fault once or twice per question, then a verdict: none is lost, and none is asked again afterwards.
#[test]
fn faults_that_pass_lose_nothing() {
    let faults: [(&str, Fault); 12] = [
        ("closed at once", |_, _| Ok(())),
        ("reset", |stream, _| {
            // Bytes that are not read make the system send a reset.
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-")?;
            stream.shutdown(std::net::Shutdown::Both)
        }),
        ("a body that ends early", |stream, _| {
            let body = verdict();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{}", body.len(), &body[..body.len() / 2])
        }),
        ("a length that is too small", |stream, _| {
            let body = verdict();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len() / 2)
        }),
        ("slow bytes", |stream, _| {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")?;
            (0..1000).try_for_each(|_| {
                std::thread::sleep(Duration::from_millis(40));
                stream.write_all(b" ")
            })
        }),
        ("no HTTP status line", |stream, _| stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")),
        ("invalid chunks", |stream, _| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n")
        }),
        ("bytes that are no text", |stream, _| {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n\xff\xfe\x00\x80")
        }),
        ("429 with a date", |stream, before| {
            let date = date_after(if before == 0 { 1 } else { 0 });
            reply(stream, "429 Too Many Requests", &format!("retry-after: {date}\r\n"), &key())
        }),
        ("429 with a past date", |stream, _| {
            reply(stream, "429 Too Many Requests", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", &key())
        }),
        ("503 with an invalid Retry-After", |stream, _| {
            reply(stream, "503 Service Unavailable", "retry-after: when it suits\r\n", &key())
        }),
        ("500 with the key", |stream, _| reply(stream, "500 Internal Server Error", "", &format!("bad {}", key()))),
    ];
    for (name, fault) in faults {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("cache.jsonl");
        let server = endpoint(fault, 2);
        let settings = JudgeSettings { cache: Some(cache.clone()), ..settings(&server.address) };
        let (verdicts, _) = judged(settings.clone(), &pairs(2));
        assert_eq!(verdicts.unwrap(), [Verdict::Tie; 2], "{name}");
        assert!(server.asked.lock().unwrap().values().all(|times| *times == 3), "{name}");
        assert!(server.keys.lock().unwrap().iter().all(|sent| *sent == format!("Bearer {}", key())), "{name}");
        let kept = std::fs::read_to_string(&cache).unwrap();
        assert!(kept.lines().count() == 4 && !kept.contains(&key()), "{name}: {kept}");
        // Two pairs in two orders are kept, so nothing is asked again.
        let (verdicts, _) = judged(settings, &pairs(2));
        assert_eq!(verdicts.unwrap(), [Verdict::Tie; 2], "{name}");
        assert!(server.asked.lock().unwrap().values().all(|times| *times == 3), "{name}");
    }
}

/// A date in `Retry-After` is waited for, and not longer than the settings allow.
#[test]
fn a_date_is_waited_for() {
    let far: Fault = |stream, _| reply(stream, "429 X", &format!("retry-after: {}\r\n", date_after(3600)), "");
    let near: Fault = |stream, _| reply(stream, "429 X", &format!("retry-after: {}\r\n", date_after(2)), "");
    for (fault, longest, at_least, at_most) in [(far, 0.01, 0.0, 5.0), (near, 60.0, 0.9, 20.0)] {
        let server = endpoint(fault, 1);
        let settings = JudgeSettings { longest_wait_seconds: longest, ..settings(&server.address) };
        let start = Instant::now();
        assert_eq!(judged(settings, &pairs(1)).0.unwrap(), [Verdict::Tie]);
        let waited = start.elapsed().as_secs_f64();
        assert!((at_least..at_most).contains(&waited), "{waited}");
    }
}

/// A storm of 429 without an end stops with a sentence; what was answered before is kept.
#[test]
fn a_storm_ends_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache.jsonl");
    let server = endpoint(|stream, _| reply(stream, "429 Too Many Requests", "retry-after: 0\r\n", &key()), 1000);
    let settings = JudgeSettings { cache: Some(cache), give_up_after: 4, retries: 2, ..settings(&server.address) };
    let (verdicts, said) = judged(settings, &pairs(30));
    assert!(matches!(verdicts, Err(EvalError::NoAnswers { requests: 4, .. })), "{said}");
    assert!(said.contains("status 429: [key]"), "{said}");
}

/// The key is sent to the endpoint alone, also if that redirects elsewhere.
#[test]
fn a_redirect_is_not_followed() {
    let redirect: Fault = |stream, _| reply(stream, "307 Temporary Redirect", "location: http://127.0.0.1:1/\r\n", "");
    let server = endpoint(redirect, 9);
    let (verdicts, said) = judged(settings(&server.address), &pairs(1));
    assert!(matches!(verdicts, Err(EvalError::Refused { status: 307, .. })), "{said}");
    assert!(!said.contains("127.0.0.1:1/"), "{said}");
}

/// An endpoint that speaks no TLS, and one whose answers do not end within the limit of bytes.
#[test]
fn no_tls_and_endless_bodies_are_told() {
    let server = endpoint(|_, _| Ok(()), 0);
    let settings_of = |endpoint: String| JudgeSettings { endpoint, retries: 1, give_up_after: 2, ..settings("") };
    let (verdicts, said) = judged(settings_of(format!("https://{}/v1", server.address)), &pairs(3));
    assert!(matches!(verdicts, Err(EvalError::NoAnswers { .. })), "{said}");
    let endless: Fault = |stream, _| {
        write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
        let chunk = format!("{:x}\r\n{}\r\n", 1 << 16, " ".repeat(1 << 16));
        (0..1 << 16).try_for_each(|_| stream.write_all(chunk.as_bytes()))
    };
    let server = endpoint(endless, 1000);
    let start = Instant::now();
    let settings = JudgeSettings { timeout_seconds: 20.0, ..settings_of(format!("http://{}/v1", server.address)) };
    let (verdicts, said) = judged(settings, &pairs(1));
    assert!(verdicts.is_err(), "{said}");
    assert!(start.elapsed() < Duration::from_secs(60), "{said}");
}
