//! The key of an index: a hash of files and settings.

use std::path::Path;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::{DataError, ReadSettings, data_files};

/// The key of an index: its format, the data files by name, size and modification time, the settings of reading by value,
/// and what else its contents depend on, by name and content.
pub(super) fn key(
    format: &str,
    data: &Path,
    read: &ReadSettings,
    more: impl IntoIterator<Item = (String, Vec<u8>)>,
) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    let mut add = |name: &str, bytes: &[u8]| {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add("format", format.as_bytes());
    for file in data_files(data, read.split.as_deref())? {
        let fail = |error| DataError::io("read", &file, error);
        // One name, from whichever folder it is given.
        let path = std::fs::canonicalize(&file).map_err(fail)?;
        let about = std::fs::metadata(&path).map_err(fail)?;
        let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        add(&path.to_string_lossy(), &about.len().to_le_bytes());
        add("changed", &changed.as_nanos().to_le_bytes());
    }
    for (name, bytes) in more {
        add(&name, &bytes);
    }
    add("read", format!("{read:?}").as_bytes());
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}
