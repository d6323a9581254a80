//! Reads files of preferences and splits them, in memory or by an index on disk.

use std::path::Path;

use ser_core::{Context, Observer, PreferenceSet};
use ser_data::{PairIndex, PreferenceFile, ReadSettings, ReadSummary, SplitSettings};
use ser_eval::{Count, DataCounts};

use super::split::{PreparedData, prepare, prepare_sets};
use crate::Error;

/// Reads a file of preferences and splits it. `test` is a file of held-out pairs; without it, a part of `train` is held
/// out. All pairs are in memory; see [`prepare_indexed`] for files that do not fit into it.
///
/// # Errors
/// Invalid files, with the line; shares that cannot be used.
pub fn prepare_files(
    train: &Path,
    test: Option<&Path>,
    read: &ReadSettings,
    settings: &SplitSettings,
) -> Result<PreparedData, Error> {
    let (preferences, summary) = PreferenceFile::open(train, read)?.read_all()?;
    let (held_out, of_test) = match test {
        Some(path) => {
            let (held_out, summary) = PreferenceFile::open(path, read)?.read_all()?;
            (Some(held_out), Some((path, summary)))
        }
        None => (None, None),
    };
    Ok(of_files(prepare(preferences, held_out, settings)?, train, summary, of_test))
}

/// Like [`prepare_files`], with the same result, for files that do not fit into memory: pairs are in [`PairIndex`]es below
/// `folder`, which are built first if there are none yet, and are read from there when they are needed. A build is reported as
/// the stage `index pairs`.
///
/// # Errors
/// As of [`prepare_files`] and [`PairIndex::open_or_build`].
pub fn prepare_indexed(
    train: &Path,
    test: Option<&Path>,
    read: &ReadSettings,
    settings: &SplitSettings,
    folder: &Path,
    observer: &mut dyn Observer,
) -> Result<PreparedData, Error> {
    let mut index = |data| PairIndex::open_or_build(data, read, folder, &mut Context::new("index pairs", observer));
    let train_index = index(train)?;
    let summary = train_index.summary().read.clone();
    let (held_out, of_test) = match test {
        Some(path) => {
            let index = index(path)?;
            let summary = index.summary().read.clone();
            (Some(PreferenceSet::new(index)), Some((path, summary)))
        }
        None => (None, None),
    };
    Ok(of_files(prepare_sets(PreferenceSet::new(train_index), held_out, settings)?, train, summary, of_test))
}

/// Adds the names of the files and the counts of their rows.
fn of_files(
    mut prepared: PreparedData,
    train: &Path,
    mut summary: ReadSummary,
    test: Option<(&Path, ReadSummary)>,
) -> PreparedData {
    let mut source = train.display().to_string();
    prepared.notes = summary.notes();
    if let Some((path, of_test)) = test {
        source = format!("{source}, test {}", path.display());
        prepared.notes.extend(of_test.notes().into_iter().map(|note| format!("test data: {note}")));
        summary = ReadSummary {
            rows: summary.rows + of_test.rows,
            skipped: summary.skipped + of_test.skipped,
            ties: summary.ties + of_test.ties,
            over_pair_limit: summary.over_pair_limit + of_test.over_pair_limit,
            ..summary
        };
    }
    let counts = &mut prepared.data.counts;
    // `prepare` counts pairs; the report counts the rows of the files.
    (counts.source, counts.rows) = (source, 0);
    count_rows(counts, &summary);
    prepared
}

/// Adds the rows that were read and those that were left out to the counts of a report.
pub fn count_rows(counts: &mut DataCounts, summary: &ReadSummary) {
    counts.rows += summary.rows;
    for (name, count) in [
        ("pairs over the limit of one question", summary.over_pair_limit),
        ("ties", summary.ties),
        ("rows that could not be read", summary.skipped),
    ] {
        match counts.left_out.iter_mut().find(|known| known.name == name) {
            Some(known) => known.count += count,
            None if count > 0 => counts.left_out.insert(0, Count::new(name, count)),
            None => {}
        }
    }
}
