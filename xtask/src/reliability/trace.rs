//! The trace of a process's changes to files, as the shim writes it.

use anyhow::{Context, Result, bail};

/// A change of files below the followed folder. Handles name open files; paths are relative to the folder.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Change {
    /// A file or folder that exists is opened. The only record that is no operation.
    Open {
        handle: u64,
        path: String,
    },
    Create {
        handle: u64,
        path: String,
    },
    Truncate {
        handle: u64,
        length: u64,
    },
    Write {
        handle: u64,
        offset: u64,
        data: Vec<u8>,
    },
    Sync {
        handle: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    MakeFolder {
        path: String,
    },
    RemoveFile {
        path: String,
    },
    RemoveFolder {
        path: String,
    },
    /// The operation failed by itself, for instance because the file does not exist.
    Failed {
        path: String,
    },
}

impl Change {
    /// Whether it has a number.
    pub(super) fn is_operation(&self) -> bool {
        !matches!(self, Change::Open { .. })
    }

    /// Whether it fails on a full disk.
    pub(super) fn takes_space(&self) -> bool {
        matches!(self, Change::Create { .. } | Change::Write { .. } | Change::MakeFolder { .. } | Change::Link { .. })
    }

    pub(super) fn is_write(&self) -> bool {
        matches!(self, Change::Write { .. })
    }

    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Change::Sync { .. })
    }
}

/// Reads a trace.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Change>> {
    let mut left = bytes;
    let mut changes = Vec::new();
    while !left.is_empty() {
        changes.push(record(&mut left).context("the trace of the shim ends within a record")?);
    }
    Ok(changes)
}

fn record(left: &mut &[u8]) -> Result<Change> {
    let kind = take(left, 1)?.first().copied().unwrap_or_default();
    let (handle, number) = (integer(left)?, integer(left)?);
    let path = integer(left)?;
    let path = String::from_utf8(take(left, path)?.to_vec()).context("a path in the trace is not UTF-8")?;
    let length = integer(left)?;
    let data = take(left, length)?.to_vec();
    Ok(match kind {
        b'o' => Change::Open { handle, path },
        b'c' => Change::Create { handle, path },
        b't' => Change::Truncate { handle, length: number },
        b'w' => Change::Write { handle, offset: number, data },
        b's' => Change::Sync { handle },
        b'r' => Change::Rename { from: path, to: String::from_utf8(data)? },
        b'l' => Change::Link { from: path, to: String::from_utf8(data)? },
        b'm' => Change::MakeFolder { path },
        b'u' => Change::RemoveFile { path },
        b'd' => Change::RemoveFolder { path },
        b'x' => Change::Failed { path },
        other => bail!("the trace has a record of the unknown kind {other}"),
    })
}

fn take<'a>(left: &mut &'a [u8], length: u64) -> Result<&'a [u8]> {
    let (head, tail) = left.split_at_checked(usize::try_from(length)?).context("the record is cut off")?;
    *left = tail;
    Ok(head)
}

fn integer(left: &mut &[u8]) -> Result<u64> {
    Ok(u64::from_le_bytes(take(left, 8)?.try_into()?))
}
