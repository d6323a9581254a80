//! A judge on the loopback interface that always gives the same answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use anyhow::{Context, Result};

const ANSWER: &str = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"Verdict: A"}}],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}"#;

/// Starts the server, which serves until the process ends. Returns the base of its endpoint.
pub(super) fn start() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen on the loopback interface")?;
    let endpoint = format!("http://{}/v1", listener.local_addr()?);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that is killed breaks its connection.
            thread::spawn(move || drop(serve(&stream)));
        }
    });
    Ok(endpoint)
}

fn serve(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        match line.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.parse().unwrap_or_default();
            }
            _ if line.trim().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{ANSWER}", ANSWER.len())?;
    stream.flush()
}
