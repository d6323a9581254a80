//! The labelled pairs of a dataset on disk.

mod build;
mod positioned;
mod record;

use std::fs::File;
use std::path::{Path, PathBuf};

use ser_core::{BoxError, Preference, PreferenceStore};
use serde::{Deserialize, Serialize};

use super::folder;
use crate::{DataError, ReadSummary};
use positioned::read_exact_at;

/// The records of all pairs, one after another.
const RECORDS: &str = "records.bin";
/// For each pair the end of its record and the record's checksum.
const ENDS: &str = "ends.bin";
/// Bytes of a pair in [`ENDS`].
const END: u64 = 12;

/// Pairs that are read together: so many, with at most so many others between two of them.
const TOGETHER: usize = 256;
const GAP: usize = 4;

/// Contents of a [`PairIndex`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairIndexSummary {
    /// Pairs in the index.
    pub pairs: u64,
    /// Bytes of their records.
    pub bytes: u64,
    /// Summary of the reading.
    pub read: ReadSummary,
}

/// The labelled pairs of a dataset, in files of their own: each is read when it is asked for, and none stays in memory.
///
/// [`open_or_build`](Self::open_or_build) makes it in one pass over the dataset. Pairs, ids and order are those of
/// [`PreferenceFile`](crate::PreferenceFile). Every pair is compared with its checksum when it is read.
#[derive(Debug)]
pub struct PairIndex {
    folder: PathBuf,
    summary: PairIndexSummary,
    records: File,
    ends: File,
}

/// The record of a pair in [`RECORDS`].
#[derive(Clone, Copy)]
struct Extent {
    start: u64,
    end: u64,
    checksum: u32,
}

impl PairIndex {
    /// Opens an index's folder.
    ///
    /// # Errors
    /// A file that is missing or has the wrong length.
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, DataError> {
        let folder = folder.as_ref().to_path_buf();
        let summary: PairIndexSummary = folder::summary(&folder)?;
        let open = |name: &str, expected: u64| {
            let path = folder.join(name);
            let fail = |error| DataError::io("read", &path, error);
            let file = File::open(&path).map_err(fail)?;
            folder::check_length(&folder, name, file.metadata().map_err(fail)?.len(), expected)?;
            Ok::<_, DataError>(file)
        };
        let records = open(RECORDS, summary.bytes)?;
        let ends = open(ENDS, summary.pairs.saturating_mul(END))?;
        Ok(PairIndex { folder, summary, records, ends })
    }

    /// Contents of the index.
    pub fn summary(&self) -> &PairIndexSummary {
        &self.summary
    }

    /// The index's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reads pairs at ascending positions, whose records are one part of the file.
    fn read_run(&self, run: &[usize], found: &mut Vec<Preference>) -> Result<(), DataError> {
        let (Some(&first), Some(&last)) = (run.first(), run.last()) else { return Ok(()) };
        let extents = self.extents(first, last)?;
        let (start, end) = (extents.first().map_or(0, |e| e.start), extents.last().map_or(0, |e| e.end));
        let bytes = self.bytes(&self.records, RECORDS, start, end - start)?;
        for &position in run {
            let preference = extents.get(position - first).and_then(|extent| {
                let record = bytes.get((extent.start - start) as usize..(extent.end - start) as usize)?;
                (record::checksum(record) == extent.checksum).then(|| record::decode(record)).flatten()
            });
            found.push(preference.ok_or_else(|| self.damaged(RECORDS, position))?);
        }
        Ok(())
    }

    /// The records of the pairs from `first` to `last`.
    fn extents(&self, first: usize, last: usize) -> Result<Vec<Extent>, DataError> {
        // A record starts where the one before it ends.
        let before = first.saturating_sub(1);
        let bytes = self.bytes(&self.ends, ENDS, before as u64 * END, (last - before + 1) as u64 * END)?;
        let mut ends = bytes.chunks_exact(END as usize).map(|entry| {
            let (end, checksum) = entry.split_at(8);
            (u64::from_le_bytes(end.try_into().unwrap_or_default()), checksum.try_into().map_or(0, u32::from_le_bytes))
        });
        let mut start = if first == 0 { 0 } else { ends.next().map_or(0, |(end, _)| end) };
        let mut extents = Vec::with_capacity(last - first + 1);
        for (position, (end, checksum)) in (first..).zip(ends) {
            if end < start || end > self.summary.bytes {
                return Err(self.damaged(ENDS, position));
            }
            extents.push(Extent { start, end, checksum });
            start = end;
        }
        Ok(extents)
    }

    fn bytes(&self, file: &File, name: &str, start: u64, len: u64) -> Result<Vec<u8>, DataError> {
        let mut bytes = vec![0; len as usize];
        read_exact_at(file, &mut bytes, start)
            .map_err(|error| DataError::io("read", &self.folder.join(name), error))?;
        Ok(bytes)
    }

    fn damaged(&self, name: &str, position: usize) -> DataError {
        let problem = format!("pair {position} is not as it was written");
        DataError::Index { path: self.folder.join(name), problem }
    }
}

impl PreferenceStore for PairIndex {
    fn len(&self) -> usize {
        self.summary.pairs as usize
    }

    fn read(&self, positions: &[usize]) -> Result<Vec<Preference>, BoxError> {
        let len = PreferenceStore::len(self);
        if let Some(position) = positions.iter().find(|position| **position >= len) {
            return Err(format!("position {position} is past the end of an index of {len} pairs").into());
        }
        let mut found = Vec::with_capacity(positions.len());
        let together = |a: &usize, b: &usize| b > a && b - a <= GAP + 1;
        for run in positions.chunk_by(together).flat_map(|run| run.chunks(TOGETHER)) {
            self.read_run(run, &mut found)?;
        }
        Ok(found)
    }
}
