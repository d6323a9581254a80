//! Building an index of pairs.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use ser_core::{Context, Preference};

use super::{END, ENDS, PairIndex, PairIndexSummary, RECORDS, record};
use crate::index::folder::{self, IndexWriter};
use crate::index::source;
use crate::{DataError, ReadSettings, ReadSummary};

/// Version of the index's file format and contents.
const FORMAT: &str = "pairs 1";

/// The largest number of pairs, which sets of pairs number with 32 bits.
const MOST_PAIRS: u64 = u32::MAX as u64;

impl PairIndex {
    /// Opens the index of `data` below `folder`, or builds it first. Its folder is named by a hash of the files (name,
    /// size, modification time) and the settings of reading; if one of them changes, another index is built beside it.
    ///
    /// A build that is interrupted, by a request to stop or by a crash, continues from its last checkpoint; an incomplete
    /// index never has its final name. At most a few thousand pairs are in memory.
    ///
    /// # Errors
    /// Errors of the files; a full disk; another process at the same index; [`DataError::Stopped`].
    pub fn open_or_build(
        data: &Path,
        read: &ReadSettings,
        folder: &Path,
        cx: &mut Context<'_>,
    ) -> Result<Self, DataError> {
        let whole = folder.join(source::key(FORMAT, data, read, [])?);
        folder::build::<Writer>(&whole, data, read, cx, |folder: &Path, summary: &PairIndexSummary| {
            Ok(Writer {
                folder: folder.to_path_buf(),
                records: folder::open_at(folder, RECORDS, summary.bytes)?,
                ends: folder::open_at(folder, ENDS, summary.pairs * END)?,
            })
        })?;
        PairIndex::open(whole)
    }
}

struct Writer {
    folder: PathBuf,
    records: BufWriter<File>,
    ends: BufWriter<File>,
}

impl IndexWriter for Writer {
    type Summary = PairIndexSummary;

    fn add(&mut self, chunk: &[Preference], summary: &mut PairIndexSummary) -> Result<(), DataError> {
        let mut bytes = Vec::new();
        for preference in chunk {
            bytes.clear();
            record::encode(preference, &mut bytes);
            summary.pairs += 1;
            summary.bytes += bytes.len() as u64;
            if summary.pairs > MOST_PAIRS {
                let problem = "is the most that an index of pairs holds; give the data in parts";
                return Err(DataError::Setting { name: "pairs", value: MOST_PAIRS.to_string(), problem });
            }
            let checksum = record::checksum(&bytes);
            let written = self.records.write_all(&bytes);
            written.map_err(|error| DataError::io("write", &self.folder.join(RECORDS), error))?;
            let end = [&summary.bytes.to_le_bytes()[..], &checksum.to_le_bytes()[..]].concat();
            let written = self.ends.write_all(&end);
            written.map_err(|error| DataError::io("write", &self.folder.join(ENDS), error))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DataError> {
        folder::flush(&self.folder, RECORDS, &mut self.records)?;
        folder::flush(&self.folder, ENDS, &mut self.ends)
    }

    fn read(summary: &mut PairIndexSummary, read: ReadSummary) {
        summary.read = read;
    }
}
