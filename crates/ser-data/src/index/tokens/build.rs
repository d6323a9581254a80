//! Building an index of tokens.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::{Context, Pair, Preference, Screening};

use super::record::{RECORD, Record};
use super::{IndexSummary, PAIRS, TOKENS, TokenIndex};
use crate::index::folder::{self, IndexWriter};
use crate::index::source;
use crate::{DataError, PairTokenizer, PromptKey, ReadSettings, ReadSummary, TokenizedPair};

/// Version of the index's file format and contents.
const FORMAT: &str = "tokens 1";

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
        let text = ("text".to_string(), format!("{:?}", tokenizer.settings()).into_bytes());
        let whole = folder.join(source::key(FORMAT, data, read, tokenizer.files()?.into_iter().chain([text]))?);
        folder::build::<Writer<'_>>(&whole, data, read, cx, |folder: &Path, summary: &IndexSummary| {
            Ok(Writer {
                folder: folder.to_path_buf(),
                tokenizer,
                tokens: folder::open_at(folder, TOKENS, summary.tokens * 4)?,
                pairs: folder::open_at(folder, PAIRS, summary.pairs * RECORD)?,
            })
        })?;
        TokenIndex::open(whole)
    }
}

struct Writer<'t> {
    folder: PathBuf,
    tokenizer: &'t PairTokenizer,
    tokens: BufWriter<File>,
    pairs: BufWriter<File>,
}

impl Writer<'_> {
    fn write(
        &mut self,
        preference: &Preference,
        tokens: &TokenizedPair,
        summary: &mut IndexSummary,
        bytes: &mut Vec<u8>,
    ) -> Result<(), DataError> {
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
}

impl IndexWriter for Writer<'_> {
    type Summary = IndexSummary;

    fn add(&mut self, chunk: &[Preference], summary: &mut IndexSummary) -> Result<(), DataError> {
        let pairs: Vec<Arc<Pair>> = chunk.iter().map(|preference| Arc::clone(&preference.pair)).collect();
        let tokenized = self.tokenizer.tokenize(&pairs)?;
        let screened = self.tokenizer.screen(&tokenized);
        let mut bytes = Vec::new();
        for ((preference, tokens), screening) in chunk.iter().zip(&tokenized).zip(screened) {
            let blank = preference.pair.responses.iter().any(|answer| answer.trim().is_empty());
            let left_out = match screening {
                _ if blank => Some(&mut summary.empty),
                Screening::Usable => None,
                Screening::Empty => Some(&mut summary.empty),
                Screening::TooLong => Some(&mut summary.too_long),
                Screening::Identical => Some(&mut summary.identical),
            };
            match left_out {
                Some(count) => *count += 1,
                None => self.write(preference, tokens, summary, &mut bytes)?,
            }
            if screening != Screening::Empty && !blank {
                summary.lengths.add(tokens.prompt.len() + tokens.answers[0].len());
                summary.lengths.add(tokens.prompt.len() + tokens.answers[1].len());
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DataError> {
        folder::flush(&self.folder, TOKENS, &mut self.tokens)?;
        folder::flush(&self.folder, PAIRS, &mut self.pairs)
    }

    fn read(summary: &mut IndexSummary, read: ReadSummary) {
        summary.read = read;
    }
}
