//! Outages and wrong answers of a hub on real sockets: downloads go on where they were, nothing wrong stays in the cache, and
//! the token is sent to the hub alone.

#![cfg(feature = "hub")]
#![allow(clippy::panic, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ser_data::DataError;
use ser_data::hub::{HubSettings, model_folder_with};
use sha2::{Digest, Sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_a_token_that_nobody_may_see";

/// A request: its path, the first byte that it asks for, and the number of requests for the same before it.
struct Request {
    path: String,
    from: Option<usize>,
    before: usize,
    has_token: bool,
}

type Answer = dyn Fn(&Request, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

struct Hub {
    address: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// A hub that answers by a function, and lists the file `model.safetensors` of every repository.
fn hub(answer: impl Fn(&Request, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Hub {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (log, answer) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(answer));
    let of_thread = Arc::clone(&log);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (log, answer) = (Arc::clone(&of_thread), Arc::clone(&answer));
            std::thread::spawn(move || serve(stream, &log, &*answer));
        }
    });
    Hub { address, log }
}

/// Answers one request and closes the connection.
fn serve(mut stream: TcpStream, log: &Mutex<Vec<String>>, answer: &Answer) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_ascii_lowercase());
    }
    let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)).map(str::to_owned) else { return Ok(()) };
    let from = lines.iter().find_map(|line| line.strip_prefix("range: bytes=")?.split('-').next()?.parse().ok());
    let has_token = lines.iter().any(|line| line == &format!("authorization: bearer {TOKEN}"));
    let before = {
        let mut log = log.lock().unwrap();
        let entry =
            format!("{path} {}", from.is_some_and(|from| from > 0) || !lines.iter().any(|l| l.ends_with("=0-0")));
        log.push(entry.clone());
        log.iter().filter(|earlier| **earlier == entry).count() - 1
    };
    if path.contains("/api/") {
        let body = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": [{{\"rfilename\": \"model.safetensors\"}}]}}");
        return head(&mut stream, "200 OK", &format!("content-length: {}\r\n", body.len()), body.as_bytes());
    }
    // What asks for the first byte alone describes the file.
    let is_description = lines.iter().any(|line| line == "range: bytes=0-0");
    let request = Request { path, from: from.filter(|_| !is_description), before, has_token };
    answer(&request, &mut stream)
}

fn head(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\n{headers}\r\n")?;
    stream.write_all(body)
}

fn bytes() -> Vec<u8> {
    (0..50_000u32).map(|i| ((i * i) >> 3) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The description of the file, whose ETag is its SHA-256.
fn describe(stream: &mut TcpStream) -> std::io::Result<()> {
    let bytes = bytes();
    let headers =
        format!("etag: \"{}\"\r\ncontent-range: bytes 0-0/{}\r\ncontent-length: 1\r\n", sha256(&bytes), bytes.len());
    head(stream, "206 Partial Content", &headers, &bytes[..1])
}

/// The file from a byte on, of which `sent` bytes are sent.
fn send(stream: &mut TcpStream, from: usize, sent: usize) -> std::io::Result<()> {
    let bytes = bytes();
    let rest = &bytes[from..];
    let headers = format!(
        "content-range: bytes {from}-{}/{}\r\ncontent-length: {}\r\n",
        bytes.len() - 1,
        bytes.len(),
        rest.len()
    );
    head(stream, "206 Partial Content", &headers, &rest[..sent.min(rest.len())])
}

fn settings(hub: &Hub, cache: &Path) -> HubSettings {
    HubSettings {
        endpoint: format!("http://{}", hub.address),
        cache: cache.to_path_buf(),
        token: Some(TOKEN.to_owned()),
        offline: false,
        progress: false,
        timeout: Duration::from_millis(400),
    }
}

fn fetch(hub: &Hub, cache: &Path) -> Result<std::path::PathBuf, DataError> {
    let result = model_folder_with("o/n", &settings(hub, cache));
    if let Err(error) = &result {
        let said = format!("{error} {error:?}");
        assert!(!said.contains(TOKEN) && error.to_string().lines().count() == 1, "{said}");
    }
    result
}

/// Nothing that the hub has sent wrongly is taken for the file later.
fn nothing_is_kept(cache: &Path) {
    let repository = cache.join("models--o--n");
    assert!(!repository.join("snapshots").join(COMMIT).join("model.safetensors").exists());
    for entry in std::fs::read_dir(repository.join("blobs")).into_iter().flatten() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(name.ends_with(".sync.part") || name.ends_with(".lock"), "{name}");
    }
}

type Fault = fn(&Request, &mut TcpStream) -> std::io::Result<()>;

/// The first answers are wrong, and the file is right in the end.
#[test]
fn faults_that_pass_lose_nothing() {
    let faults: [(&str, Fault); 9] = [
        ("closed at once", |_, _| Ok(())),
        ("a connection that breaks in the middle", |request, stream| send(stream, request.from.unwrap(), 20_000)),
        ("slow bytes", |request, stream| {
            send(stream, request.from.unwrap(), 10_000)?;
            std::thread::sleep(Duration::from_millis(900));
            stream.write_all(b"x")
        }),
        ("503", |_, stream| head(stream, "503 Service Unavailable", "content-length: 0\r\n", b"")),
        ("429 with a past date", |_, stream| {
            head(stream, "429 X", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 0\r\n", b"")
        }),
        ("other bytes of the same length", |_, stream| {
            let mut wrong = bytes();
            wrong[777] ^= 1;
            let headers = format!(
                "content-range: bytes 0-{}/{}\r\ncontent-length: {}\r\n",
                wrong.len() - 1,
                wrong.len(),
                wrong.len()
            );
            head(stream, "206 X", &headers, &wrong)
        }),
        ("more bytes than there are", |_, stream| {
            let more = [bytes(), vec![0; 100]].concat();
            head(stream, "200 OK", &format!("content-length: {}\r\n", more.len()), &more)
        }),
        ("fewer bytes than there are, with a length that says so", |_, stream| {
            head(stream, "200 OK", "content-length: 500\r\n", &bytes()[..500])
        }),
        ("another part than was asked for", |_, stream| {
            head(stream, "206 X", "content-range: bytes 7-99/50000\r\ncontent-length: 93\r\n", &bytes()[7..100])
        }),
    ];
    for (name, fault) in faults {
        let hub = hub(move |request, stream| match request.from {
            None => describe(stream),
            Some(_) if request.before == 0 => fault(request, stream),
            Some(from) => send(stream, from, usize::MAX),
        });
        let cache = tempfile::tempdir().unwrap();
        let folder = fetch(&hub, cache.path()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), bytes(), "{name}");
    }
}

/// A download that is interrupted goes on behind the bytes that came, in another process too.
#[test]
fn a_download_is_continued() {
    let cache = tempfile::tempdir().unwrap();
    // Sends 30,000 bytes once, and then nothing.
    let broken = hub(|request, stream| match request.from {
        None => describe(stream),
        Some(0) if request.before == 0 => send(stream, 0, 30_000),
        Some(_) => Ok(()),
    });
    let error = fetch(&broken, cache.path()).unwrap_err();
    assert!(matches!(error, DataError::Hub { .. }), "{error}");
    nothing_is_kept(cache.path());
    let asked = Arc::<Mutex<Vec<usize>>>::default();
    let of_hub = Arc::clone(&asked);
    let whole = hub(move |request, stream| match request.from {
        None => describe(stream),
        Some(from) => {
            of_hub.lock().unwrap().push(from);
            send(stream, from, usize::MAX)
        }
    });
    let folder = fetch(&whole, cache.path()).unwrap();
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), bytes());
    assert_eq!(*asked.lock().unwrap(), [30_000]);
    // A part that is damaged meanwhile is found by the SHA-256, and fetched again from its beginning.
    let cache = tempfile::tempdir().unwrap();
    assert!(fetch(&broken, cache.path()).is_err());
    let part = cache.path().join("models--o--n/blobs").join(format!("{}.sync.part", sha256(&bytes())));
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(&part, vec![1; 40_000]).unwrap();
    let folder = fetch(&whole, cache.path()).unwrap();
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), bytes());
    assert_eq!(*asked.lock().unwrap(), [30_000, 40_000, 0]);
}

/// Faults that stay end with a sentence, in bounded time, and leave nothing behind that looks like the file.
#[test]
fn faults_that_stay_are_told() {
    let faults: [(&str, Fault, &str); 9] = [
        ("429", |_, stream| head(stream, "429 X", "retry-after: 0\r\ncontent-length: 0\r\n", b""), "status 429"),
        (
            "a loop of redirects",
            |_, stream| head(stream, "302 X", "location: /o/n/again\r\ncontent-length: 0\r\n", b""),
            "redirects more than 10 times",
        ),
        (
            "a redirect to nowhere",
            |_, stream| head(stream, "302 X", "content-length: 0\r\n", b""),
            "status 302 without a location",
        ),
        (
            "a redirect to a file",
            |_, stream| head(stream, "302 X", "location: file:///etc/passwd\r\ncontent-length: 0\r\n", b""),
            "it redirects to \"file:///etc/passwd\"",
        ),
        (
            "no ETag",
            |_, stream| head(stream, "206 X", "content-range: bytes 0-0/5\r\ncontent-length: 1\r\n", b"x"),
            "no usable ETag",
        ),
        (
            "an ETag that leads elsewhere",
            |_, stream| {
                head(
                    stream,
                    "206 X",
                    "etag: \"../../../evil\"\r\ncontent-range: bytes 0-0/5\r\ncontent-length: 1\r\n",
                    b"x",
                )
            },
            "no usable ETag",
        ),
        (
            "no size",
            |_, stream| head(stream, "206 X", "etag: \"abc\"\r\ncontent-length: 1\r\n", b"x"),
            "does not tell the size",
        ),
        ("no HTTP", |_, stream| stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n"), ""),
        (
            "always other bytes",
            |request, stream| match request.from {
                None => describe(stream),
                Some(_) => head(stream, "200 OK", "content-length: 50000\r\n", &[0; 50_000]),
            },
            "other bytes than those whose SHA-256",
        ),
    ];
    for (name, fault, expected) in faults {
        let hub = hub(fault);
        let cache = tempfile::tempdir().unwrap();
        let start = Instant::now();
        let error = fetch(&hub, cache.path()).unwrap_err();
        assert!(matches!(error, DataError::Hub { .. }) && error.to_string().contains(expected), "{name}: {error}");
        assert!(start.elapsed() < Duration::from_secs(30), "{name}");
        nothing_is_kept(cache.path());
        assert!(hub.log.lock().unwrap().len() < 30, "{name}");
    }
}

/// A hub that sends a file from storage elsewhere: the storage gets no token.
#[test]
fn the_token_stays_with_the_hub() {
    let storage = hub(|request, stream| {
        assert!(!request.has_token);
        match request.from {
            None => describe(stream),
            Some(from) => send(stream, from, usize::MAX),
        }
    });
    let address = storage.address.clone();
    let tokens = Arc::<Mutex<Vec<bool>>>::default();
    let of_hub = Arc::clone(&tokens);
    let hub = hub(move |request, stream| {
        of_hub.lock().unwrap().push(request.has_token);
        let etag = sha256(&bytes());
        let headers = format!(
            "location: http://{address}{}\r\nx-linked-etag: \"{etag}\"\r\nx-linked-size: 50000\r\ncontent-length: 0\r\n",
            request.path
        );
        head(stream, "302 Found", &headers, b"")
    });
    let cache = tempfile::tempdir().unwrap();
    let folder = fetch(&hub, cache.path()).unwrap();
    assert_eq!(std::fs::read(folder.join("model.safetensors")).unwrap(), bytes());
    assert_eq!(*tokens.lock().unwrap(), [true, true]);
    assert_eq!(storage.log.lock().unwrap().len(), 2);
    // No file of the cache has the token.
    let mut folders = vec![cache.path().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert!(!String::from_utf8_lossy(&std::fs::read(&path).unwrap()).contains(TOKEN));
            }
        }
    }
}
