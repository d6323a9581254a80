//! A chat-completions endpoint on the loopback interface that misbehaves as told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// The action of the server at a request.
pub enum Does {
    /// Answers with a chat completion, 12 tokens sent and 3 answered.
    Says(String),
    /// Replies with this status, further headers and body.
    Replies(u16, &'static str, String),
    /// Waits, then does the inner action.
    After(Duration, Box<Does>),
    /// Closes the connection.
    HangsUp,
}

/// A request of a client.
pub struct Request {
    /// The text of its messages.
    pub question: String,
    /// The `authorization` header.
    pub authorization: Option<String>,
    /// The number of earlier requests with the same text.
    pub before: usize,
}

/// The endpoint; it serves until the process ends.
pub struct ChatServer {
    /// Its base.
    pub endpoint: String,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl ChatServer {
    pub fn start(does: impl Fn(&Request) -> Does + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/v1", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<HashMap<String, usize>>>::default();
        let server = ChatServer { endpoint, asked: Arc::clone(&asked) };
        let does = Arc::new(does);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (asked, does) = (Arc::clone(&asked), Arc::clone(&does));
                // A client that is killed breaks its connection, which is not an error here.
                thread::spawn(move || serve(&stream.unwrap(), &asked, &*does).ok());
            }
        });
        server
    }

    /// The number of requests by text.
    pub fn asked(&self) -> HashMap<String, usize> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    stream: &TcpStream,
    asked: &Mutex<HashMap<String, usize>>,
    does: &dyn Fn(&Request) -> Does,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut authorization, mut line) = (0, None, String::new());
    reader.read_line(&mut line)?;
    assert!(line.starts_with("POST /v1/chat/completions HTTP/1.1"), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["model"], "judge");
    let question = body["messages"][0]["content"].as_str().unwrap().to_owned();
    let before = {
        let mut asked = asked.lock().unwrap();
        let times = asked.entry(question.clone()).or_default();
        *times += 1;
        *times - 1
    };
    act(stream, does(&Request { question, authorization, before }))
}

fn act(mut stream: &TcpStream, does: Does) -> std::io::Result<()> {
    let (status, headers, body) = match does {
        Does::HangsUp => return Ok(()),
        Does::After(time, next) => {
            thread::sleep(time);
            return act(stream, *next);
        }
        Does::Says(content) => {
            let message = json!({"role": "assistant", "content": content});
            let usage = json!({"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15});
            (200, "", json!({"choices": [{"index": 0, "message": message}], "usage": usage}).to_string())
        }
        Does::Replies(status, headers, body) => (status, headers, body),
    };
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")?;
    stream.flush()
}
