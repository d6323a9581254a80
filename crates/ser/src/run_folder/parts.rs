//! The parts of a long file that is being made. Each is appended and flushed, so that a killed process loses one at most.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ser_core::durable;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::digest::hex;
use crate::Error;

/// The most bytes of a header line.
const HEADER: u64 = 1 << 16;

/// A file of parts. In it, a line with the key, then for each part a line with its length and checksum, and the part.
pub(crate) struct Parts {
    path: PathBuf,
    file: File,
    done: usize,
}

/// The line before a part.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    bytes: u64,
    sha256: String,
}

impl Parts {
    /// Opens a file of parts, or makes it. What follows the last complete part is cut off; parts under another key are
    /// removed.
    pub(crate) fn open(path: &Path, key: &str) -> Result<Self, Error> {
        let error = || Error::io("write", path);
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(error())?;
        let key = format!("{}\n", serde_json::Value::from(key));
        let (mut end, mut done) = (key.len() as u64, 0);
        let mut reader = BufReader::new(&file);
        if line(&mut reader).map_err(error())?.is_some_and(|found| found == key) {
            while let Some(part) = next_part(&mut reader, &mut io::sink()).map_err(error())? {
                end += part;
                done += 1;
            }
        } else {
            file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).map_err(error())?;
            file.write_all(key.as_bytes()).map_err(error())?;
        }
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(error())?;
        // Its name, too, before any work that relies on it.
        let folder = path.parent().unwrap_or(path);
        file.sync_data().and_then(|()| durable::sync_folder(folder)).map_err(error())?;
        Ok(Parts { path: path.to_owned(), file, done })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The number of complete parts.
    pub(crate) fn len(&self) -> usize {
        self.done
    }

    /// Adds a part.
    pub(crate) fn append(&mut self, part: &[u8]) -> Result<(), Error> {
        let error = || Error::io("write", &self.path);
        let header = Header { bytes: part.len() as u64, sha256: hex(&Sha256::digest(part)) };
        let mut bytes = serde_json::to_vec(&header).map_err(|e| error()(e.into()))?;
        bytes.push(b'\n');
        bytes.extend(part);
        self.file.write_all(&bytes).and_then(|()| self.file.sync_data()).map_err(error())?;
        self.done += 1;
        Ok(())
    }

    /// Writes all parts, one after another.
    pub(crate) fn copy_to(mut self, out: &mut dyn Write) -> Result<(), Error> {
        let error = || Error::io("read", &self.path);
        self.file.seek(SeekFrom::Start(0)).map_err(error())?;
        let mut reader = BufReader::new(&self.file);
        line(&mut reader).map_err(error())?;
        for _ in 0..self.done {
            if next_part(&mut reader, out).map_err(error())?.is_none() {
                return Err(Error::Damaged { path: self.path });
            }
        }
        Ok(())
    }
}

/// The next line, with its end; `None` if it is not complete.
fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    reader.take(HEADER).read_until(b'\n', &mut line)?;
    Ok(String::from_utf8(line).ok().filter(|line| line.ends_with('\n')))
}

/// Copies the next part, and returns its bytes with those of its header; `None` if it is not complete and sound.
fn next_part(reader: &mut impl BufRead, out: &mut dyn Write) -> io::Result<Option<u64>> {
    let Some(line) = line(reader)? else { return Ok(None) };
    let Ok(Header { bytes, sha256 }) = serde_json::from_str(&line) else { return Ok(None) };
    let mut hasher = Sha256::new();
    let mut rest = reader.take(bytes);
    let (mut buffer, mut copied) = (vec![0; 1 << 16], 0);
    loop {
        let n = rest.read(&mut buffer)?;
        let read = buffer.get(..n).unwrap_or_default();
        if n == 0 {
            break;
        }
        hasher.update(read);
        out.write_all(read)?;
        copied += n as u64;
    }
    Ok((copied == bytes && hex(&hasher.finalize()) == sha256).then_some(line.len() as u64 + bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(path: &Path, key: &str) -> (usize, String) {
        let parts = Parts::open(path, key).unwrap();
        let (len, mut out) = (parts.len(), Vec::new());
        parts.copy_to(&mut out).unwrap();
        (len, String::from_utf8(out).unwrap())
    }

    #[test]
    fn complete_parts_are_kept_and_others_cut_off() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("parts");
        let mut parts = Parts::open(&path, "a").unwrap();
        parts.append(b"one\n").unwrap();
        parts.append(b"two\nthree\n").unwrap();
        drop(parts);
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(content(&path, "a"), (2, "one\ntwo\nthree\n".to_owned()));
        // Cut at every byte: the parts before the cut are there, and more can be appended.
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (len, text) = content(&path, "a");
            assert!(len < 2 && "one\n".starts_with(&text) && text.len() == 4 * len, "{cut}: {len} {text}");
            Parts::open(&path, "a").unwrap().append(b"new\n").unwrap();
            assert_eq!(content(&path, "a"), (len + 1, format!("{text}new\n")));
        }
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        std::fs::write(&path, changed).unwrap();
        assert_eq!(content(&path, "a"), (1, "one\n".to_owned()));
    }

    #[test]
    fn parts_under_another_key_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("parts");
        Parts::open(&path, "a").unwrap().append(b"one\n").unwrap();
        assert_eq!(content(&path, "b"), (0, String::new()));
        assert_eq!(content(&path, "a"), (0, String::new()));
    }
}
