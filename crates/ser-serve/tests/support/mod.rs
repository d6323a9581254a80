//! A server over a mock scorer, and a client that speaks HTTP over a socket.
#![allow(dead_code, unreachable_pub, clippy::panic, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ser_core::{BoxError, Context, Pair, PairScores, Scorer, Screening, Side};
use ser_serve::{ChangeAdapter, RewardServer, ServeError, ServeSettings, Stop, whole_text};
use serde_json::Value;

/// A gate that a test closes to make the scorer wait.
#[derive(Default)]
pub struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub fn set(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let _open = self.changed.wait_while(self.closed.lock().unwrap(), |closed| *closed).unwrap();
    }
}

/// Scores an answer by a tenth of its length, and a whole text by a hundredth. Texts with certain words misbehave.
#[derive(Default)]
pub struct Mock {
    pub gate: Arc<Gate>,
    /// The texts of each batch.
    pub batches: Arc<Mutex<Vec<Vec<String>>>>,
    /// What the adapter adds to every score.
    pub bonus: f64,
}

impl ChangeAdapter for Mock {
    /// An adapter is named by what it adds.
    fn change_adapter(&mut self, name: &str) -> Result<(), BoxError> {
        assert_ne!(name, "PANIC", "a panic for a test");
        self.bonus = name.parse().map_err(|_| "it is not a number")?;
        Ok(())
    }
}

impl Scorer for Mock {
    type Error = BoxError;

    fn score(&mut self, pairs: &[Arc<Pair>], _cx: &mut Context<'_>) -> Result<Vec<PairScores>, BoxError> {
        self.batches.lock().unwrap().push(pairs.iter().map(|pair| pair.responses.join("|")).collect());
        self.gate.pass();
        let bonus = self.bonus;
        let score = |pair: &Arc<Pair>, side| match (whole_text(pair), pair.response(side)) {
            (_, text) if text.contains("PANIC") => panic!("a panic for a test"),
            (_, text) if text.contains("BROKEN") => Err(BoxError::from("the device is lost")),
            (_, text) if text.contains("NAN") => Ok(f64::NAN),
            (_, "") => Err("no tokens".into()),
            (Some(text), _) => Ok(text.len() as f64 / 100.0 + bonus),
            (None, text) => Ok(text.len() as f64 / 10.0 + bonus),
        };
        pairs.iter().map(|pair| Ok(PairScores::new(score(pair, Side::A)?, score(pair, Side::B)?))).collect()
    }

    fn screen(&mut self, pairs: &[Arc<Pair>], _cx: &mut Context<'_>) -> Result<Vec<Screening>, BoxError> {
        if pairs.iter().any(|pair| pair.responses.iter().any(|text| text.contains("ROLES"))) {
            return Err("the chat template refuses it".into());
        }
        let screen = |pair: &Arc<Pair>| match pair.responses.iter().map(String::len).max() {
            Some(0) => Screening::Empty,
            Some(length) if length > 100 => Screening::TooLong,
            _ => Screening::Usable,
        };
        Ok(pairs.iter().map(screen).collect())
    }
}

pub struct Running {
    pub address: SocketAddr,
    pub stop: Stop,
    pub thread: Option<JoinHandle<Result<(), ServeError>>>,
    pub gate: Arc<Gate>,
    pub batches: Arc<Mutex<Vec<Vec<String>>>>,
}

pub fn start(settings: ServeSettings) -> Running {
    run(|mock| RewardServer::start(mock, settings).unwrap())
}

pub fn start_with_adapters(settings: ServeSettings) -> Running {
    run(|mock| RewardServer::start_with_adapters(mock, settings).unwrap())
}

fn run(serve: impl FnOnce(Mock) -> RewardServer) -> Running {
    let mock = Mock::default();
    let (gate, batches) = (Arc::clone(&mock.gate), Arc::clone(&mock.batches));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), Stop::new());
    let server = serve(mock);
    let of_thread = stop.clone();
    let thread = Some(std::thread::spawn(move || server.run(listener, &of_thread)));
    Running { address, stop, thread, gate, batches }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gate.set(false);
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The sentence of an error.
    pub fn message(&self) -> String {
        let json = self.json();
        assert_eq!(json["error"]["code"], self.status, "{self:?}");
        json["error"]["message"].as_str().unwrap().to_owned()
    }
}

/// Sends a request head and body, without waiting for the answer.
pub fn begin(address: SocketAddr, method: &str, path: &str, headers: &str, body: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
    );
    // A server that refuses a body need not read it.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    stream
}

pub fn end(mut stream: TcpStream) -> Reply {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert!(!bytes.is_empty(), "no answer: {error}");
    }
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_lowercase(), body: body.to_owned() }
}

pub fn post(address: SocketAddr, path: &str, body: &Value) -> Reply {
    end(begin(address, "POST", path, "content-type: application/json\r\n", body.to_string().as_bytes()))
}

pub fn get(address: SocketAddr, path: &str) -> Reply {
    end(begin(address, "GET", path, "", b""))
}

/// Waits until so many pairs are in the queue.
pub fn wait_for_queue(address: SocketAddr, pairs: u64) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let waiting = get(address, "/health").json()["waiting_pairs"].as_u64().unwrap();
        if waiting == pairs {
            return;
        }
        assert!(Instant::now() < until, "{waiting} pairs wait, not {pairs}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the scorer has started so many batches.
pub fn wait_for_batches(running: &Running, batches: usize) {
    let until = Instant::now() + Duration::from_secs(20);
    while running.batches.lock().unwrap().len() < batches {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(5));
    }
}
