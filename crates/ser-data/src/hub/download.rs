//! Fetching a file into the cache: resumed after interruptions, and checked by its length and its SHA-256 where the hub tells it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG};
use ureq::http::{HeaderMap, StatusCode};

use super::client::{Answer, Client, Failure};

/// Tries that follow each other without progress.
const TRIES: u32 = 4;
/// Fewer bytes than these are no progress.
const PROGRESS: u64 = 1024;

/// Length and checksum of a file, from the headers of the hub's answer.
struct Description {
    /// Its name among the blobs: the SHA-256 of large files, a hash of git of others.
    etag: String,
    size: u64,
}

/// The folder of a repository in the cache.
pub(super) struct CacheFolder {
    pub(super) path: PathBuf,
    pub(super) progress: bool,
}

impl CacheFolder {
    /// Fetches a file of the hub as a blob, and makes `target`, in a snapshot, a link to it.
    pub(super) fn fetch(&self, client: &Client, url: &str, name: &str, target: &Path) -> Result<(), Failure> {
        let description = again(|| Description::of(client, url))?;
        let blobs = self.path.join("blobs");
        fs::create_dir_all(&blobs).map_err(Failure::broken)?;
        let blob = blobs.join(&description.etag);
        let lock_path = blobs.join(format!("{}.lock", description.etag));
        let lock =
            File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(Failure::broken)?;
        // On a file system without locks two processes may fetch the same bytes.
        let _ = lock.lock();
        if fs::metadata(&blob).is_ok_and(|found| found.len() != description.size) {
            fs::remove_file(&blob).map_err(Failure::broken)?;
        }
        if !blob.exists() {
            let bar = self.bar(name, description.size);
            let part = Part { path: blobs.join(format!("{}.sync.part", description.etag)), bar };
            part.fill(client, url, &description)?;
            part.bar.finish_and_clear();
            fs::rename(&part.path, &blob).map_err(Failure::broken)?;
        }
        let _ = lock.unlock();
        link(&blob, target).map_err(Failure::broken)
    }

    fn bar(&self, name: &str, size: u64) -> ProgressBar {
        let bar = if self.progress { ProgressBar::new(size) } else { ProgressBar::hidden() };
        let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(name.to_owned());
        bar
    }
}

/// Repeats a request whose failure may pass.
pub(super) fn again<T>(mut request: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    let mut failures = 0;
    loop {
        match request() {
            Err(failure) if failure.may_pass && failures + 1 < TRIES => {
                tracing::debug!(problem = failure.problem, "retrying a request to the hub");
                std::thread::sleep(failure.wait(failures));
                failures += 1;
            }
            result => return result,
        }
    }
}

impl Description {
    fn of(client: &Client, url: &str) -> Result<Self, Failure> {
        let answer = client.get(url, Some("bytes=0-0"))?;
        let text = |headers: &HeaderMap, name: &str| {
            headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let etag = text(&answer.first, "x-linked-etag").or_else(|| text(&answer.first, ETAG.as_str()));
        let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_owned());
        let is_name = |etag: &String| {
            !etag.is_empty()
                && etag.len() <= 128
                && etag.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let etag = etag.filter(is_name).ok_or_else(|| Failure::reply("it names no usable ETag of a file"))?;
        let linked = text(&answer.first, "x-linked-size").and_then(|size| size.parse().ok());
        let ranged = content_range(&answer.headers).map(|(_, size)| size);
        let whole = || text(&answer.headers, CONTENT_LENGTH.as_str())?.parse().ok();
        let size = linked.or(ranged).or_else(|| (answer.status == StatusCode::OK).then(whole).flatten());
        Ok(Description { etag, size: size.ok_or_else(|| Failure::reply("it does not tell the size of a file"))? })
    }

    /// The SHA-256 of the file, if the hub tells it.
    fn sha256(&self) -> Option<&str> {
        Some(self.etag.as_str()).filter(|etag| etag.len() == 64 && etag.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}

/// The first byte and the whole size of `bytes 5-9/10` or `bytes */10`.
fn content_range(headers: &HeaderMap) -> Option<(Option<u64>, u64)> {
    let value = headers.get(CONTENT_RANGE)?.to_str().ok()?.strip_prefix("bytes ")?;
    let (range, size) = value.split_once('/')?;
    Some((range.split_once('-').and_then(|(from, _)| from.parse().ok()), size.parse().ok()?))
}

/// An incomplete file.
struct Part {
    path: PathBuf,
    bar: ProgressBar,
}

impl Part {
    /// Fetches what is missing until the file is complete.
    fn fill(&self, client: &Client, url: &str, description: &Description) -> Result<(), Failure> {
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&self.path)
            .map_err(Failure::broken)?;
        let mut failures = 0;
        let mut starts = 0;
        loop {
            let before = file.metadata().map_err(Failure::broken)?.len();
            let result = self.fetch_rest(client, url, description, &mut file).and_then(|()| {
                let found = check(&mut file, description);
                if found.is_err() {
                    // Begin anew: nothing tells which bytes are wrong.
                    file.set_len(0).map_err(Failure::broken)?;
                    starts += 1;
                }
                found
            });
            let failure = match result {
                Ok(()) => return file.sync_all().map_err(Failure::broken),
                Err(failure) => failure,
            };
            let after = file.metadata().map_err(Failure::broken)?.len();
            failures = if after >= before + PROGRESS && starts == 0 { 0 } else { failures + 1 };
            if !failure.may_pass || failures >= TRIES || starts > 1 {
                return Err(failure);
            }
            tracing::debug!(problem = failure.problem, bytes = after, "a download is continued");
            std::thread::sleep(failure.wait(failures));
        }
    }

    /// Appends the bytes that are missing.
    fn fetch_rest(
        &self,
        client: &Client,
        url: &str,
        description: &Description,
        file: &mut File,
    ) -> Result<(), Failure> {
        let size = description.size;
        let mut from = file.metadata().map_err(Failure::broken)?.len();
        if from > size {
            file.set_len(0).map_err(Failure::broken)?;
            from = 0;
        }
        if from == size {
            return Ok(());
        }
        let answer = client.get(url, Some(&format!("bytes={from}-")))?;
        from = self.start(&answer, from, size)?;
        file.set_len(from).and_then(|()| file.seek(SeekFrom::Start(from))).map_err(Failure::broken)?;
        self.bar.set_position(from);
        // One byte more than there should be, so that a body that is too long is noticed.
        let mut body = self.bar.wrap_read(answer.reader().take(size - from + 1));
        let mut buffer = vec![0; 1 << 16];
        let mut at = from;
        while at <= size {
            let n = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Failure::broken(error)),
            };
            file.write_all(buffer.get(..n).unwrap_or_default()).map_err(Failure::broken)?;
            at += n as u64;
        }
        match at {
            at if at == size => Ok(()),
            at if at > size => {
                file.set_len(0).map_err(Failure::broken)?;
                Err(Failure::broken(format!("it sends more than the {size} bytes that it names")))
            }
            at => Err(Failure::broken(format!("it ends after {at} of {size} bytes"))),
        }
    }

    /// The first byte of an answer's body.
    fn start(&self, answer: &Answer, asked: u64, size: u64) -> Result<u64, Failure> {
        if answer.status != StatusCode::PARTIAL_CONTENT {
            // The whole file, whatever was asked for.
            return Ok(0);
        }
        match content_range(&answer.headers) {
            Some((Some(from), whole)) if from == asked && whole == size => Ok(from),
            _ => Err(Failure::broken(format!("it does not send the bytes from {asked} on"))),
        }
    }
}

/// Compares a complete file with its SHA-256.
fn check(file: &mut File, description: &Description) -> Result<(), Failure> {
    let Some(expected) = description.sha256() else { return Ok(()) };
    file.seek(SeekFrom::Start(0)).map_err(Failure::broken)?;
    let mut hasher = Sha256::new();
    io::copy(file, &mut hasher).map_err(Failure::broken)?;
    let found = hasher.finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    if found.eq_ignore_ascii_case(expected) {
        Ok(())
    } else {
        Err(Failure::broken("it sends other bytes than those whose SHA-256 it names"))
    }
}

/// Makes a file of a snapshot a relative link to its blob; another name of it, or a copy, where there are no such links.
fn link(blob: &Path, target: &Path) -> io::Result<()> {
    let parent = target.parent().unwrap_or(target);
    fs::create_dir_all(parent)?;
    if target.symlink_metadata().is_ok() {
        fs::remove_file(target)?;
    }
    #[cfg(unix)]
    {
        // snapshots/COMMIT/a/b -> ../../../blobs/ETAG
        let snapshots = blob.parent().and_then(Path::parent).unwrap_or(blob);
        let depth = parent.strip_prefix(snapshots).map_or(0, |below| below.components().count());
        let mut relative: PathBuf = std::iter::repeat_n("..", depth).collect();
        relative.push("blobs");
        relative.push(blob.file_name().unwrap_or_default());
        std::os::unix::fs::symlink(relative, target)
    }
    #[cfg(not(unix))]
    {
        fs::hard_link(blob, target).or_else(|_| fs::copy(blob, target).map(|_| ()))
    }
}
