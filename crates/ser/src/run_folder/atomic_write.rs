//! Atomic writes: a file or folder is either complete or absent, even if the process is killed.
//!
//! Each is written under a temporary name beside its target, flushed to the disk, and renamed.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::crash::crash_point;

/// The prefix of temporary names.
const TEMPORARY: &str = ".tmp-";

/// The temporary name beside `target`.
fn temporary(target: &Path) -> PathBuf {
    let mut name = OsString::from(TEMPORARY);
    name.push(target.file_name().unwrap_or_default());
    target.with_file_name(name)
}

/// Writes a file atomically; an existing one is replaced.
pub(crate) fn write_file<T, E: From<Error>>(
    target: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let making = temporary(target);
    make_parent(target)?;
    let file = File::create(&making).map_err(Error::io("create", &making))?;
    let mut out = BufWriter::new(file);
    let result = write(&mut out)?;
    let file = out.into_inner().map_err(|e| Error::io("write", &making)(e.into_error()))?;
    file.sync_all().map_err(Error::io("flush", &making))?;
    move_to(&making, target)?;
    Ok(result)
}

/// Writes a folder atomically.
///
/// An existing folder is removed first: it is left from a process that was killed before it recorded the stage.
pub(crate) fn write_folder<T, E: From<Error>>(target: &Path, fill: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
    let making = temporary(target);
    make_parent(target)?;
    remove(&making)?;
    fs::create_dir(&making).map_err(Error::io("create", &making))?;
    let result = fill(&making)?;
    sync_tree(&making)?;
    remove(target)?;
    move_to(&making, target)?;
    Ok(result)
}

/// Removes the incomplete files and folders that killed processes left under `root`.
pub(crate) fn sweep(root: &Path) -> Result<(), Error> {
    for path in entries(root)? {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(TEMPORARY)) {
            remove(&path)?;
        } else if path.is_dir() {
            sweep(&path)?;
        }
    }
    Ok(())
}

/// SHA-256, in hex, of a file, or of a folder's relative names and contents in the order of names.
pub(crate) fn digest(path: &Path) -> Result<String, Error> {
    let mut hasher = Sha256::new();
    digest_into(path, &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}

/// Bytes as lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
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

/// The paths in a folder, in the order of names.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<io::Result<Vec<_>>>())
        .map_err(Error::io("list", folder))?;
    paths.sort();
    Ok(paths)
}

/// Reads a JSON file; `None` if there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("read", path)(e)),
    };
    let value =
        serde_json::from_str(&text).map_err(|e| Error::Format { path: path.to_owned(), message: e.to_string() })?;
    Ok(Some(value))
}

/// Writes a value as a JSON file.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), Error> {
    write_file(path, |mut out| {
        serde_json::to_writer_pretty(&mut out, value).map_err(|e| Error::io("write", path)(e.into()))?;
        out.write_all(b"\n").map_err(Error::io("write", path))
    })
}

/// Creates the parent folders of `target` and flushes each to the disk.
fn make_parent(target: &Path) -> Result<(), Error> {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() && !parent.is_dir() => {
            make_parent(parent)?;
            fs::create_dir(parent).map_err(Error::io("create", parent))?;
            parent.parent().filter(|p| !p.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
        }
        _ => Ok(()),
    }
}

pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    let result = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match result {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
        _ => Ok(()),
    }
}

fn move_to(making: &Path, target: &Path) -> Result<(), Error> {
    crash_point("incomplete", target);
    fs::rename(making, target).map_err(Error::io("rename", making))?;
    if let Some(parent) = target.parent() {
        sync_folder(parent)?;
    }
    crash_point("renamed", target);
    Ok(())
}

fn sync_tree(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        for entry in entries(path)? {
            sync_tree(&entry)?;
        }
        sync_folder(path)
    } else {
        File::open(path).and_then(|f| f.sync_all()).map_err(Error::io("flush", path))
    }
}

/// Flushes a rename inside the folder to the disk. Only Unix can open a folder for that.
fn sync_folder(path: &Path) -> Result<(), Error> {
    if cfg!(unix) { File::open(path).and_then(|f| f.sync_all()).map_err(Error::io("flush", path)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("a.txt");
        write_file(&target, |out| out.write_all(b"old").map_err(Error::io("write", &target))).unwrap();
        let failed: Result<(), Error> = write_file(&target, |out| {
            out.write_all(b"half").unwrap();
            Err(Error::NotARun { path: target.clone() })
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&target).unwrap(), b"old");
        sweep(root.path()).unwrap();
        assert_eq!(entries(root.path()).unwrap(), [target]);
    }

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
