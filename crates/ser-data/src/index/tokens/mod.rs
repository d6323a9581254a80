//! The tokens of a dataset on disk.

mod build;
mod mapped;
mod part;
mod record;

use std::path::{Path, PathBuf};

use ser_core::{PairId, Side};
use serde::{Deserialize, Serialize};

use mapped::Mapped;
pub use part::IndexSplit;
use record::{RECORD, Record};

use super::folder;
use crate::{DataError, LengthCounts, PromptKey, ReadSummary, TokenizedPair};

const TOKENS: &str = "tokens.bin";
const PAIRS: &str = "pairs.bin";

/// Contents of an index, and the pairs left out of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IndexSummary {
    /// Pairs in the index.
    pub pairs: u64,
    /// Tokens in the index; the common prefix of two texts is stored once.
    pub tokens: u64,
    /// Pairs left out because a text is over the length limit.
    pub too_long: u64,
    /// Pairs left out because both texts are the same.
    pub identical: u64,
    /// Pairs left out because an answer is empty.
    pub empty: u64,
    /// Lengths of the texts in tokens, including those over the limit.
    pub lengths: LengthCounts,
    /// Summary of the reading.
    pub read: ReadSummary,
}

/// A pair of the index.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexedPair {
    /// Its id in the source.
    pub id: PairId,
    /// The better answer.
    pub preferred: Side,
    /// The margin, if the data has one.
    pub margin: Option<f64>,
    /// Its prompt's key.
    pub prompt: PromptKey,
    /// Its tokens.
    pub tokens: TokenizedPair,
}

/// The pairs of a dataset as tokens, memory-mapped: only what is accessed is in memory, whatever the size.
///
/// [`open_or_build`](Self::open_or_build) creates it.
#[derive(Debug)]
pub struct TokenIndex {
    folder: PathBuf,
    summary: IndexSummary,
    tokens: Mapped,
    pairs: Mapped,
}

impl TokenIndex {
    /// Opens an index's folder.
    ///
    /// # Errors
    /// A file that is missing or has the wrong length.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, DataError> {
        let folder = folder.as_ref().to_path_buf();
        let summary: IndexSummary = folder::summary(&folder)?;
        let tokens = Mapped::open(&folder.join(TOKENS))?;
        let pairs = Mapped::open(&folder.join(PAIRS))?;
        folder::check_length(&folder, TOKENS, tokens.len(), summary.tokens.saturating_mul(4))?;
        folder::check_length(&folder, PAIRS, pairs.len(), summary.pairs.saturating_mul(RECORD))?;
        Ok(TokenIndex { folder, summary, tokens, pairs })
    }

    /// The number of pairs.
    pub fn len(&self) -> u64 {
        self.summary.pairs
    }

    /// Returns true if there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.summary.pairs == 0
    }

    /// Contents of the index, and the pairs left out.
    pub fn summary(&self) -> &IndexSummary {
        &self.summary
    }

    /// The index's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A pair; `None` beyond the end.
    ///
    /// # Errors
    /// A record that points outside the tokens.
    pub fn get(&self, position: u64) -> Result<Option<IndexedPair>, DataError> {
        let Some(record) = self.record(position) else { return Ok(None) };
        let tokens = self.tokens_of(&record).ok_or_else(|| DataError::Index {
            path: self.folder.join(PAIRS),
            problem: format!("pair {position} points outside the tokens"),
        })?;
        let Record { id, preferred, margin, prompt, .. } = record;
        Ok(Some(IndexedPair { id, preferred, margin, prompt, tokens }))
    }

    /// (P, A, B) of a pair: number of tokens of the common prefix and of each answer; `None` beyond the end.
    pub fn lengths(&self, position: u64) -> Option<(usize, usize, usize)> {
        let [p, a, b] = self.record(position)?.lengths.map(|length| length as usize);
        Some((p, a, b))
    }

    /// The key of a pair's prompt; `None` beyond the end.
    pub fn prompt_key(&self, position: u64) -> Option<PromptKey> {
        self.record(position).map(|record| record.prompt)
    }

    fn record(&self, position: u64) -> Option<Record> {
        if position >= self.summary.pairs {
            return None;
        }
        Record::read(self.pairs.get(position.checked_mul(RECORD)?, RECORD)?)
    }

    fn tokens_of(&self, record: &Record) -> Option<TokenizedPair> {
        let [p, a, b] = record.lengths.map(u64::from);
        let read = |from: u64, count: u64| {
            let bytes = self.tokens.get(from.checked_mul(4)?, count * 4)?;
            let token = |four: &[u8]| four.try_into().map_or(0, u32::from_le_bytes);
            Some(bytes.chunks_exact(4).map(token).collect())
        };
        let start = record.start;
        Some(TokenizedPair {
            prompt: read(start, p)?,
            answers: [read(start.checked_add(p)?, a)?, read(start.checked_add(p + a)?, b)?],
        })
    }
}
