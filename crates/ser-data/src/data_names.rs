//! Names of data files: their formats, shards and splits.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::DataError;

/// Extensions of data files, before `.gz` or `.zst`.
const EXTENSIONS: [&str; 6] = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet"];

/// Files about a dataset that contain no rows.
const NOT_DATA: [&str; 7] = [
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "config.json",
    "package.json",
    "metadata.json",
];

/// Drops tables beside files of another format: they describe the data (`metadata.csv`) or duplicate it.
pub(crate) fn drop_side_tables<T>(files: &mut Vec<T>, name: impl Fn(&T) -> &str) {
    let is_table = |file: &T| [".csv", ".tsv"].iter().any(|end| bare_name(name(file)).ends_with(end));
    if !files.iter().all(is_table) {
        files.retain(|file| !is_table(file));
    }
}

/// A file's name without its compression suffix.
fn bare_name(name: &str) -> &str {
    name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name)
}

/// Whether a file's name is that of a data file.
pub(crate) fn is_data_file(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let bare = bare_name(name);
    let known = bare.rsplit_once('.').is_some_and(|(stem, end)| !stem.is_empty() && EXTENSIONS.contains(&end));
    known && !name.starts_with('.') && !NOT_DATA.contains(&bare)
}

/// Marks the files of the requested split. Without a request all files are taken, unless they belong to several splits.
pub(crate) fn one_split(path: &Path, names: &[String], split: Option<&str>) -> Result<Vec<bool>, DataError> {
    let splits: Vec<Option<&str>> = names.iter().map(|name| split_of(name)).collect();
    let found: BTreeSet<&str> = splits.iter().flatten().copied().collect();
    let list = || found.iter().copied().collect::<Vec<_>>().join(", ");
    match split {
        Some(split) if found.contains(split) => Ok(splits.iter().map(|other| *other == Some(split)).collect()),
        Some(split) => Err(DataError::NoSuchSplit {
            path: path.to_path_buf(),
            split: split.to_string(),
            found: if found.is_empty() { "none".to_string() } else { list() },
        }),
        None if found.len() > 1 => Err(DataError::SeveralSplits { path: path.to_path_buf(), found: list() }),
        None => Ok(vec![true; names.len()]),
    }
}

/// Refuses an incomplete set of shards (`train-00000-of-00004.parquet`).
pub(crate) fn all_shards<'a>(path: &Path, names: impl Iterator<Item = &'a str>) -> Result<(), DataError> {
    let mut sets: BTreeMap<(&str, usize), usize> = BTreeMap::new();
    for name in names {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        if let Some((before, after)) = name.split_once("-of-")
            && let Ok(of) = after.split_at(digits(after)).0.parse()
            && let Some((stem, number)) = before.rsplit_once('-')
            && number.parse::<usize>().is_ok()
        {
            *sets.entry((stem, of)).or_default() += 1;
        }
    }
    match sets.into_iter().find(|((_, of), found)| found < of) {
        Some(((set, of), found)) => {
            Err(DataError::MissingShards { path: path.to_path_buf(), set: set.to_string(), found, of })
        }
        None => Ok(()),
    }
}

/// The split in a file's path: `data/train_prefs-00000-of-00001.parquet` is `train_prefs`, `base/test.jsonl.gz` is
/// `test`, and so is every file in a folder `test`. Shards with another name (`raw-00000-of-00001.parquet`) are splits
/// of that name, as on the hub.
fn split_of(name: &str) -> Option<&str> {
    const KNOWN: [&str; 7] = ["train", "test", "validation", "valid", "val", "dev", "eval"];
    let parts = || name.rsplit(['/', '\\']).map(|part| part.split_once('.').map_or(part, |(stem, _)| stem));
    let known = parts().map(|part| shard_of(part).unwrap_or(part)).find(|stem| {
        let first = stem.split(['-', '_', '.']).next().unwrap_or(stem).to_ascii_lowercase();
        KNOWN.contains(&first.as_str())
    });
    known.or_else(|| parts().next().and_then(shard_of))
}

/// The start of a shard's name (`train-00000-of-00004`, usually with a suffix).
fn shard_of(part: &str) -> Option<&str> {
    let (before, _) = part.split_once("-of-")?;
    let stem = before.trim_end_matches(|c: char| c.is_ascii_digit());
    stem.strip_suffix('-').filter(|name| !name.is_empty() && stem.len() < before.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_are_named_by_files_and_folders() {
        for (name, split) in [
            ("data/train-00000-of-00004.parquet", Some("train")),
            ("data/test_prefs-00000-of-00001-abc123.parquet", Some("test_prefs")),
            ("helpful-base/test.jsonl.gz", Some("test")),
            ("validation/a.jsonl", Some("validation")),
            ("test/part-00000-of-00002.jsonl", Some("test")),
            ("data/filtered-00000-of-00001.parquet", Some("filtered")),
            ("best-of-16.jsonl", None),
            ("trainer.jsonl", None),
            ("hh.jsonl.zst", None),
        ] {
            assert_eq!(split_of(name), split, "{name}");
        }
    }
}
