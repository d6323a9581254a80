//! The folder of an index. It has its final name once it is complete; a build can be interrupted at any time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use ser_core::{Context, Preference, durable};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{DataError, PreferenceFile, ReadSettings, ReadSummary};

/// The file of an index's summary, which is written last.
pub(super) const ABOUT: &str = "index.json";
const CHECKPOINT: &str = "checkpoint.json";
const LOCK: &str = "lock";

/// Number of pairs added together.
const CHUNK: usize = 4096;
/// Number of chunks between checkpoints.
const CHUNKS_PER_CHECKPOINT: u64 = 32;

/// Adds pairs to the files of an index.
pub(super) trait IndexWriter: Sized {
    /// The contents of the files so far. Files are cut to what the summary of a checkpoint says.
    type Summary: Default + Serialize + DeserializeOwned;

    /// Adds pairs to files and summary.
    fn add(&mut self, chunk: &[Preference], summary: &mut Self::Summary) -> Result<(), DataError>;

    /// Writes all bytes to the disk.
    fn flush(&mut self) -> Result<(), DataError>;

    /// Puts the summary of the reading into that of the index.
    fn read(summary: &mut Self::Summary, read: ReadSummary);
}

/// Progress of a build at a checkpoint.
#[derive(Default, Serialize, Deserialize)]
struct Checkpoint<S> {
    /// Pairs taken from the files.
    taken: u64,
    summary: S,
}

/// Builds the index `whole` of `data`, unless it is complete. `open` opens the files of a folder, each as long as a summary
/// says.
///
/// An interrupted build continues from its last checkpoint, after reading the data up to it again. A build that ends is the end
/// of the context's stage; an index that is there reports nothing.
pub(super) fn build<W: IndexWriter>(
    whole: &Path,
    data: &Path,
    read: &ReadSettings,
    cx: &mut Context<'_>,
    open: impl FnOnce(&Path, &W::Summary) -> Result<W, DataError>,
) -> Result<(), DataError> {
    if whole.join(ABOUT).exists() {
        return Ok(());
    }
    let partial = whole.with_extension("partial");
    durable::create_folders(&partial).map_err(|error| DataError::io("create", &partial, error))?;
    let lock = lock(&partial)?;
    // Another process may have finished it meanwhile.
    if !whole.join(ABOUT).exists() {
        // A build that was killed between its last file and the new name is complete.
        if !partial.join(ABOUT).exists() {
            let checkpoint: Checkpoint<W::Summary> = checkpoint(&partial)?;
            let writer = open(&partial, &checkpoint.summary)?;
            // No checkpoint may be on the disk before the files that it describes.
            durable::sync_folder(&partial).map_err(|error| DataError::io("flush", &partial, error))?;
            fill(&partial, writer, checkpoint, data, read, cx)?;
        }
        let _ = std::fs::remove_file(partial.join(CHECKPOINT));
        let renamed = durable::sync_folder(&partial).and_then(|()| durable::rename(&partial, whole));
        renamed.map_err(|error| DataError::io("write", whole, error))?;
        let _ = std::fs::remove_file(whole.join(LOCK));
    }
    drop(lock);
    cx.finish();
    Ok(())
}

/// Adds the pairs after the checkpoint.
fn fill<W: IndexWriter>(
    folder: &Path,
    mut writer: W,
    mut checkpoint: Checkpoint<W::Summary>,
    data: &Path,
    read: &ReadSettings,
    cx: &mut Context<'_>,
) -> Result<(), DataError> {
    let mut stopped = cx.resume(checkpoint.taken, None, "pairs").is_err();
    let mut source = PreferenceFile::open(data, read)?;
    for _ in 0..checkpoint.taken {
        source.next_preference()?;
    }
    for chunk_number in 1u64.. {
        let chunk = take(&mut source, CHUNK)?;
        if chunk.is_empty() {
            break;
        }
        writer.add(&chunk, &mut checkpoint.summary)?;
        checkpoint.taken += chunk.len() as u64;
        stopped |= cx.advance(chunk.len() as u64).is_err();
        if stopped || chunk_number.is_multiple_of(CHUNKS_PER_CHECKPOINT) {
            writer.flush()?;
            write_json(folder, CHECKPOINT, &checkpoint)?;
        }
        if stopped {
            return Err(DataError::Stopped { folder: folder.to_path_buf() });
        }
    }
    W::read(&mut checkpoint.summary, source.summary().clone());
    writer.flush()?;
    write_json(folder, ABOUT, &checkpoint.summary)
}

fn take(source: &mut PreferenceFile, most: usize) -> Result<Vec<Preference>, DataError> {
    let mut chunk = Vec::with_capacity(most);
    while chunk.len() < most
        && let Some(preference) = source.next_preference()?
    {
        chunk.push(preference);
    }
    Ok(chunk)
}

/// The lock is released with the process, however it ends.
fn lock(folder: &Path) -> Result<File, DataError> {
    let path = folder.join(LOCK);
    let file = File::create(&path).map_err(|error| DataError::io("create", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataError::IndexInUse { folder: folder.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(DataError::io("write", &path, error)),
    }
}

fn checkpoint<S: Default + DeserializeOwned>(folder: &Path) -> Result<Checkpoint<S>, DataError> {
    let path = folder.join(CHECKPOINT);
    match std::fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|error| DataError::Index { path, problem: error.to_string() })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Checkpoint::default()),
        Err(error) => Err(DataError::io("read", &path, error)),
    }
}

/// Opens a file of an index for writing after its first `bytes`; later ones are cut off.
pub(super) fn open_at(folder: &Path, name: &str, bytes: u64) -> Result<BufWriter<File>, DataError> {
    let path = folder.join(name);
    let fail = |error| DataError::io("write", &path, error);
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
    if file.metadata().map_err(fail)?.len() < bytes {
        let problem = "it is shorter than its checkpoint says; remove its folder".to_string();
        return Err(DataError::Index { path, problem });
    }
    file.set_len(bytes).map_err(fail)?;
    file.seek(SeekFrom::End(0)).map_err(fail)?;
    Ok(BufWriter::with_capacity(1 << 20, file))
}

/// Writes all bytes of a file to the disk.
pub(super) fn flush(folder: &Path, name: &str, file: &mut BufWriter<File>) -> Result<(), DataError> {
    let flushed = file.flush().and_then(|()| file.get_ref().sync_data());
    flushed.map_err(|error| DataError::io("write", &folder.join(name), error))
}

/// Reads the summary of a complete index.
pub(super) fn summary<S: DeserializeOwned>(folder: &Path) -> Result<S, DataError> {
    let path = folder.join(ABOUT);
    let text = std::fs::read_to_string(&path).map_err(|error| DataError::io("read", &path, error))?;
    serde_json::from_str(&text).map_err(|error| DataError::Index { path, problem: error.to_string() })
}

/// Refuses a file of another length than its index's summary says.
pub(super) fn check_length(folder: &Path, name: &str, bytes: u64, expected: u64) -> Result<(), DataError> {
    if bytes == expected {
        return Ok(());
    }
    let problem = format!("it has {bytes} bytes, {expected} are expected");
    Err(DataError::Index { path: folder.join(name), problem })
}

/// Writes a JSON file atomically.
fn write_json(folder: &Path, name: &str, value: &impl Serialize) -> Result<(), DataError> {
    let path = folder.join(name);
    durable::replace(&path, |out| Ok(serde_json::to_writer(out, value)?))
        .map_err(|error| DataError::io("write", &path, error))
}
