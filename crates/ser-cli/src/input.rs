//! Files that may be standard input.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A file to read. `-` is standard input, which is copied into a temporary file, as files are read more than once.
pub(crate) struct Input {
    path: PathBuf,
    /// Removed when the value is dropped.
    _folder: Option<tempfile::TempDir>,
}

impl Input {
    pub(crate) fn open(path: &Path) -> anyhow::Result<Self> {
        if path != Path::new("-") {
            return Ok(Input { path: path.to_owned(), _folder: None });
        }
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let path = folder.path().join("stdin.jsonl");
        let mut file = std::fs::File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        io::copy(&mut io::stdin().lock(), &mut file).context("standard input cannot be read")?;
        Ok(Input { path, _folder: Some(folder) })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}
