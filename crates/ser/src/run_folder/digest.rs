//! Digests of files and folders, and JSON files with a checksum of their own contents.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::atomic_write::{entries, write_json};
use crate::Error;

/// The field that holds the checksum of the others.
const CHECKSUM: &str = "checksum";

/// The SHA-256, in hex, of each file in a folder, by its relative path with slashes.
pub(super) type FileDigests = BTreeMap<String, String>;

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// SHA-256, in hex, of a file, or of a folder's relative names and contents in the order of names.
pub(crate) fn digest(path: &Path) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    digest_into(path, &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}

fn digest_into(path: &Path, hasher: &mut Sha256) -> Result<(), Error> {
    if path.is_dir() {
        for entry in entries(path)? {
            hasher.update(entry.file_name().unwrap_or_default().as_encoded_bytes());
            hasher.update([0]);
            digest_into(&entry, hasher)?;
        }
        hasher.update([1]);
    } else {
        let mut file = File::open(path).map_err(Error::io("read", path))?;
        let mut buffer = vec![0; 1 << 16];
        let mut length = 0u64;
        loop {
            let n = file.read(&mut buffer).map_err(Error::io("read", path))?;
            if n == 0 {
                break;
            }
            length += n as u64;
            hasher.update(buffer.get(..n).unwrap_or_default());
        }
        hasher.update(length.to_le_bytes());
    }
    Ok(())
}

/// The digest of each file in a folder.
pub(super) fn file_digests(folder: &Path) -> Result<FileDigests, Error> {
    fn add(folder: &Path, prefix: &str, all: &mut FileDigests) -> Result<(), Error> {
        for path in entries(folder)? {
            let name = format!("{prefix}{}", path.file_name().unwrap_or_default().to_string_lossy());
            if path.is_dir() {
                add(&path, &format!("{name}/"), all)?;
            } else {
                all.insert(name, sha256(&path, u64::MAX)?.1);
            }
        }
        Ok(())
    }
    let mut all = FileDigests::new();
    add(folder, "", &mut all)?;
    Ok(all)
}

/// The digest of the digests of a folder's files.
pub(super) fn digest_of(files: &FileDigests) -> String {
    let mut hasher = Sha256::new();
    files.iter().for_each(|(name, sha256)| hasher.update(format!("{name}\0{sha256}\n")));
    hex(&hasher.finalize())
}

/// The first file of a folder that is missing, other than recorded, or not recorded.
pub(super) fn first_damage(folder: &Path, recorded: &FileDigests) -> Result<Option<PathBuf>, Error> {
    let found = file_digests(folder)?;
    let names = recorded.keys().chain(found.keys());
    Ok(names.filter(|name| recorded.get(*name) != found.get(*name)).min().map(|name| folder.join(name)))
}

/// The number of bytes and the SHA-256, in hex, of the first `most` bytes of a file.
pub(super) fn sha256(path: &Path, most: u64) -> Result<(u64, String), Error> {
    let mut hasher = Sha256::new();
    let copied = File::open(path).and_then(|file| io::copy(&mut file.take(most), &mut hasher));
    let length = copied.map_err(Error::io("read", path))?;
    Ok((length, hex(&hasher.finalize())))
}

/// Writes a value that is an object in JSON, with a checksum as its last field.
pub(super) fn write_checked<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    let format = |e: serde_json::Error| Error::Format { path: path.to_owned(), message: e.to_string() };
    let mut value = serde_json::to_value(value).map_err(format)?;
    let sum = checksum(&value);
    if let Some(fields) = value.as_object_mut() {
        fields.insert(CHECKSUM.to_owned(), sum.into());
    }
    write_json(path, &value)
}

/// Reads a file of [`write_checked`]; `None` if the file does not exist. Files of earlier versions have no checksum.
///
/// # Errors
/// [`Error::Damaged`] if the contents are not those that were written.
pub(super) fn read_checked<T: DeserializeOwned>(path: &Path, must_have_checksum: bool) -> Result<Option<T>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    let damaged = || Error::Damaged { path: path.to_owned() };
    let mut value: Value = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    match value.as_object_mut().and_then(|fields| fields.shift_remove(CHECKSUM)) {
        Some(sum) if sum != checksum(&value) => return Err(damaged()),
        None if must_have_checksum => return Err(damaged()),
        _ => {}
    }
    serde_json::from_value(value).map(Some).map_err(|e| Error::Format { path: path.to_owned(), message: e.to_string() })
}

fn checksum(value: &Value) -> String {
    hex(&Sha256::digest(value.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::atomic_write::write_folder;
    use super::*;

    #[test]
    fn a_folders_digest_sees_names_contents_and_nesting() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[(&str, &str)]| {
            let target = root.path().join(name);
            write_folder(&target, |dir| {
                for (path, text) in files {
                    let path = dir.join(path);
                    fs::create_dir_all(path.parent().unwrap()).unwrap();
                    fs::write(path, text).unwrap();
                }
                Ok::<_, Error>(())
            })
            .unwrap();
            digest(&target).unwrap()
        };
        let one = make("one", &[("a", "1"), ("b/c", "2")]);
        assert_eq!(one, make("two", &[("b/c", "2"), ("a", "1")]));
        assert_eq!(one, make("one", &[("a", "1"), ("b/c", "2")]), "replaced by itself");
        assert_ne!(one, make("three", &[("a", "1"), ("b/c", "3")]));
        assert_ne!(one, make("four", &[("a", "1"), ("c", "2")]));
        assert_ne!(make("five", &[("a", "12"), ("b", "")]), make("six", &[("a", "1"), ("b", "2")]));
    }
}
