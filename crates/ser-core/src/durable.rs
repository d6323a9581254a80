//! Changes of files that survive a power loss.
//!
//! A file system may keep written bytes and changed names in memory, and may write them in any order. Bytes are on the disk once
//! their file is flushed, names once their folder is. These functions flush folders, too, which [`std::fs`] does not.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// The prefix of names of incomplete files and folders.
pub const INCOMPLETE: &str = ".tmp-";

/// The name, beside `target`, under which it is written until it is complete.
pub fn incomplete(target: &Path) -> PathBuf {
    let mut name = OsString::from(INCOMPLETE);
    name.push(target.file_name().unwrap_or_default());
    target.with_file_name(name)
}

/// Replaces a file by what `write` writes: after a crash at any time the old file is there, or the new one.
///
/// # Errors
/// Those of the system. The incomplete file is then removed, as far as possible.
pub fn replace(target: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> io::Result<()> {
    let making = incomplete(target);
    let written = || {
        let mut out = BufWriter::new(File::create(&making)?);
        write(&mut out)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        rename(&making, target)
    };
    written().inspect_err(|_| {
        // The first error tells why.
        let _ = fs::remove_file(&making);
    })
}

/// Renames a file or folder whose bytes are flushed, and flushes its new name.
///
/// # Errors
/// Those of the system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder(parent(to))
}

/// Creates a folder with all that are missing above it, and flushes their names.
///
/// # Errors
/// Those of the system.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    // The parent of a file's bare name is the empty path, which is the current folder.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    create_folders(parent(folder))?;
    match fs::create_dir(folder) {
        Err(_) if folder.is_dir() => Ok(()),
        result => result.and_then(|()| sync_folder(parent(folder))),
    }
}

/// Flushes all files and names in a folder.
///
/// # Errors
/// Those of the system.
pub fn sync_tree(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            sync_tree(&entry?.path())?;
        }
        sync_folder(path)
    } else {
        sync_file(path)
    }
}

/// Flushes a file's bytes, whichever handle wrote them.
///
/// # Errors
/// Those of the system.
pub fn sync_file(path: &Path) -> io::Result<()> {
    // Windows flushes only through a handle that may write.
    let file = if cfg!(windows) { File::options().write(true).open(path) } else { File::open(path) };
    file?.sync_all()
}

/// Flushes the names in a folder. Only Unix can open a folder for that.
///
/// # Errors
/// Those of the system.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// The folder that a path lies in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        // `/` is its own parent.
        Some(_) => Path::new("."),
        None => path,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_replaced_or_stays() {
        let folder = std::env::temp_dir().join(format!("ser-core-durable-{}", std::process::id()));
        let file = folder.join("deep/er/file");
        create_folders(parent(&file)).unwrap();
        create_folders(parent(&file)).unwrap();
        create_folders(Path::new("")).unwrap();
        replace(&file, |out| out.write_all(b"old")).unwrap();
        let failed = replace(&file, |out| {
            out.write_all(b"half")?;
            Err(io::Error::other("no"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no");
        assert_eq!(fs::read(&file).unwrap(), b"old");
        assert_eq!(fs::read_dir(parent(&file)).unwrap().count(), 1, "nothing incomplete is left");
        replace(&file, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        sync_tree(&folder).unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
