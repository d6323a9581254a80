//! Atomic writes: a file or folder is either complete or absent, even if the process is killed.
//!
//! Each is written under a temporary name beside its target, flushed to the disk, and renamed.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use ser_core::durable;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Error;
use crate::crash::crash_point;

/// Writes a file atomically; an existing one is replaced.
pub(crate) fn write_file<T, E: From<Error>>(
    target: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<T, E>,
) -> Result<T, E> {
    let making = durable::incomplete(target);
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
    let making = durable::incomplete(target);
    make_parent(target)?;
    remove(&making)?;
    fs::create_dir(&making).map_err(Error::io("create", &making))?;
    let result = fill(&making)?;
    durable::sync_tree(&making).map_err(Error::io("flush", &making))?;
    remove(target)?;
    move_to(&making, target)?;
    Ok(result)
}

/// Removes the incomplete files and folders that killed processes left under `root`.
pub(crate) fn sweep(root: &Path) -> Result<(), Error> {
    for path in entries(root)? {
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(durable::INCOMPLETE)) {
            remove(&path)?;
        } else if path.is_dir() {
            sweep(&path)?;
        }
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

/// Reads a JSON file; `None` if it does not exist.
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
    target.parent().map_or(Ok(()), |parent| durable::create_folders(parent).map_err(Error::io("create", parent)))
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
    durable::rename(making, target).map_err(Error::io("rename", making))?;
    crash_point("renamed", target);
    Ok(())
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
}
