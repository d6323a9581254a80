//! Building an index; a build can be interrupted at any time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::{Context, Pair, Preference, Screening, durable};
use serde::{Deserialize, Serialize};

use super::record::{RECORD, Record};
use super::{ABOUT, IndexSummary, PAIRS, TOKENS, TokenIndex, source};
use crate::{DataError, PairTokenizer, PreferenceFile, PromptKey, ReadSettings, TokenizedPair};

/// Number of pairs tokenized together.
const CHUNK: usize = 4096;

/// Number of chunks between checkpoints.
const CHUNKS_PER_CHECKPOINT: u64 = 32;

const CHECKPOINT: &str = "checkpoint.json";

/// Progress of a build at a checkpoint.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Checkpoint {
    /// Pairs taken from the files.
    taken: u64,
    summary: IndexSummary,
}

impl TokenIndex {
    /// Opens the index of `data` below `folder`, or builds it first. Its folder is named by a hash of the files (name,
    /// size, modification time), the tokenizer's files and all settings; if one of them changes, another index is built
    /// beside it.
    ///
    /// A build that is interrupted, by a request to stop or by a crash, continues from its last checkpoint; an incomplete
    /// index never has its final name. At most a few thousand pairs are in memory.
    ///
    /// # Errors
    /// Errors of the files; a full disk; another process at the same index; [`DataError::Stopped`].
    pub fn open_or_build(
        data: &Path,
        tokenizer: &PairTokenizer,
        read: &ReadSettings,
        folder: &Path,
        cx: &mut Context<'_>,
    ) -> Result<Self, DataError> {
        let whole = folder.join(source::key(data, tokenizer, read)?);
        if whole.join(ABOUT).exists() {
            return TokenIndex::open(whole);
        }
        let partial = whole.with_extension("partial");
        durable::create_folders(&partial).map_err(|error| DataError::io("create", &partial, error))?;
        let lock = lock(&partial)?;
        // Another process may have finished it meanwhile.
        if !whole.join(ABOUT).exists() {
            // A build that was killed between its last file and the new name is complete.
            if !partial.join(ABOUT).exists() {
                Build::resume(partial.clone())?.run(data, tokenizer, read, cx)?;
            }
            let _ = std::fs::remove_file(partial.join(CHECKPOINT));
            let renamed = durable::sync_folder(&partial).and_then(|()| durable::rename(&partial, &whole));
            renamed.map_err(|error| DataError::io("write", &whole, error))?;
            let _ = std::fs::remove_file(whole.join(LOCK));
        }
        drop(lock);
        TokenIndex::open(whole)
    }
}

const LOCK: &str = "lock";

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

struct Build {
    folder: PathBuf,
    tokens: BufWriter<File>,
    pairs: BufWriter<File>,
    checkpoint: Checkpoint,
}

impl Build {
    /// Returns to the last checkpoint: later data is cut off.
    fn resume(folder: PathBuf) -> Result<Self, DataError> {
        let path = folder.join(CHECKPOINT);
        let checkpoint: Checkpoint = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| DataError::Index { path: path.clone(), problem: error.to_string() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Checkpoint::default(),
            Err(error) => return Err(DataError::io("read", &path, error)),
        };
        let open = |name: &str, bytes: u64| {
            let path = folder.join(name);
            let fail = |error| DataError::io("write", &path, error);
            let options = OpenOptions::new().create(true).truncate(false).write(true).clone();
            let mut file = options.open(&path).map_err(fail)?;
            if file.metadata().map_err(fail)?.len() < bytes {
                let problem = "it is shorter than its checkpoint says; remove its folder".to_string();
                return Err(DataError::Index { path, problem });
            }
            file.set_len(bytes).map_err(fail)?;
            file.seek(SeekFrom::End(0)).map_err(fail)?;
            Ok(BufWriter::with_capacity(1 << 20, file))
        };
        let tokens = open(TOKENS, checkpoint.summary.tokens * 4)?;
        let pairs = open(PAIRS, checkpoint.summary.pairs * RECORD)?;
        // No checkpoint may be on the disk before the files that it describes.
        durable::sync_folder(&folder).map_err(|error| DataError::io("flush", &folder, error))?;
        Ok(Build { folder, tokens, pairs, checkpoint })
    }

    fn run(
        mut self,
        data: &Path,
        tokenizer: &PairTokenizer,
        read: &ReadSettings,
        cx: &mut Context<'_>,
    ) -> Result<(), DataError> {
        let mut stopped = cx.resume(self.checkpoint.taken, None, "pairs").is_err();
        let mut source = PreferenceFile::open(data, read)?;
        for _ in 0..self.checkpoint.taken {
            source.next_preference()?;
        }
        for chunk_number in 1u64.. {
            let chunk = take(&mut source, CHUNK)?;
            if chunk.is_empty() {
                break;
            }
            self.add(&chunk, tokenizer)?;
            stopped |= cx.advance(chunk.len() as u64).is_err();
            if stopped || chunk_number.is_multiple_of(CHUNKS_PER_CHECKPOINT) {
                self.save()?;
            }
            if stopped {
                return Err(DataError::Stopped { folder: self.folder });
            }
        }
        self.checkpoint.summary.read = source.summary().clone();
        self.save()?;
        write_whole(&self.folder, ABOUT, &self.checkpoint.summary)?;
        Ok(())
    }

    fn add(&mut self, chunk: &[Preference], tokenizer: &PairTokenizer) -> Result<(), DataError> {
        let pairs: Vec<Arc<Pair>> = chunk.iter().map(|preference| Arc::clone(&preference.pair)).collect();
        let tokenized = tokenizer.tokenize(&pairs)?;
        let screened = tokenizer.screen(&tokenized);
        let mut bytes = Vec::new();
        for ((preference, tokens), screening) in chunk.iter().zip(&tokenized).zip(screened) {
            let summary = &mut self.checkpoint.summary;
            let blank = preference.pair.responses.iter().any(|answer| answer.trim().is_empty());
            let left_out = match screening {
                _ if blank => Some(&mut summary.empty),
                Screening::Usable => None,
                Screening::Empty => Some(&mut summary.empty),
                Screening::TooLong => Some(&mut summary.too_long),
                Screening::Identical => Some(&mut summary.identical),
            };
            if screening != Screening::Empty && !blank {
                summary.lengths.add(tokens.prompt.len() + tokens.answers[0].len());
                summary.lengths.add(tokens.prompt.len() + tokens.answers[1].len());
            }
            match left_out {
                Some(count) => *count += 1,
                None => self.write(preference, tokens, &mut bytes)?,
            }
        }
        self.checkpoint.taken += chunk.len() as u64;
        Ok(())
    }

    fn write(&mut self, preference: &Preference, tokens: &TokenizedPair, bytes: &mut Vec<u8>) -> Result<(), DataError> {
        let summary = &mut self.checkpoint.summary;
        let (p, a, b) = tokens.lengths();
        // A text of four billion tokens does not fit a record.
        let lengths = [p, a, b].map(|length| u32::try_from(length).unwrap_or(u32::MAX));
        let Preference { pair, preferred, margin, .. } = preference;
        let (start, prompt) = (summary.tokens, PromptKey::of(pair));
        bytes.clear();
        Record { start, lengths, preferred: *preferred, margin: *margin, id: pair.id, prompt }.write(bytes);
        self.pairs.write_all(bytes).map_err(|error| DataError::io("write", &self.folder.join(PAIRS), error))?;
        bytes.clear();
        let [first, second] = &tokens.answers;
        bytes.extend(tokens.prompt.iter().chain(first).chain(second).flat_map(|token| token.to_le_bytes()));
        self.tokens.write_all(bytes).map_err(|error| DataError::io("write", &self.folder.join(TOKENS), error))?;
        summary.pairs += 1;
        summary.tokens += (p + a + b) as u64;
        Ok(())
    }

    /// Syncs all data, then writes the checkpoint.
    fn save(&mut self) -> Result<(), DataError> {
        for (name, file) in [(TOKENS, &mut self.tokens), (PAIRS, &mut self.pairs)] {
            let saved = file.flush().and_then(|()| file.get_ref().sync_data());
            saved.map_err(|error| DataError::io("write", &self.folder.join(name), error))?;
        }
        write_whole(&self.folder, CHECKPOINT, &self.checkpoint)
    }
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

/// Writes a JSON file atomically.
fn write_whole(folder: &Path, name: &str, value: &impl Serialize) -> Result<(), DataError> {
    let path = folder.join(name);
    durable::replace(&path, |out| Ok(serde_json::to_writer(out, value)?))
        .map_err(|error| DataError::io("write", &path, error))
}
