//! The key of an index: a hash of files, tokenizer and settings.

use std::path::Path;
use std::time::UNIX_EPOCH;

use sha2::{Digest, Sha256};

use crate::{DataError, PairTokenizer, ReadSettings, data_files};

/// Version of the index's file format and contents.
const FORMAT: u32 = 1;

/// The key of an index: the data files by name, size and modification time, the tokenizer's files by content, and all
/// settings by value.
pub(crate) fn key(data: &Path, tokenizer: &PairTokenizer, read: &ReadSettings) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    let mut add = |name: &str, bytes: &[u8]| {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add("format", &FORMAT.to_le_bytes());
    for file in data_files(data, read.split.as_deref())? {
        let fail = |error| DataError::io("read", &file, error);
        let about = std::fs::metadata(&file).map_err(fail)?;
        let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        add(&file.to_string_lossy(), &about.len().to_le_bytes());
        add("changed", &changed.as_nanos().to_le_bytes());
    }
    for (name, bytes) in tokenizer.files()? {
        add(&name, &bytes);
    }
    add("text", format!("{:?}", tokenizer.settings()).as_bytes());
    add("read", format!("{read:?}").as_bytes());
    Ok(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}
