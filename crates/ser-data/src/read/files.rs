//! What a path stands for: a file, a folder of shards, a glob, or a repository of a hub.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::DataError;

/// What a data file's name ends in, before `.gz` or `.zst`.
const EXTENSIONS: [&str; 6] = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet"];

/// Files about a dataset, which hold none of its rows.
const NOT_DATA: [&str; 7] = [
    "dataset_info.json",
    "dataset_infos.json",
    "dataset_dict.json",
    "state.json",
    "config.json",
    "package.json",
    "metadata.json",
];

/// The data files that a path stands for, sorted by name: the order in which shards are read, whatever order the disk or
/// a hub lists them in.
///
/// A path is a file; a folder, whose files (`.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, `.parquet`, with or without `.gz`
/// or `.zst`; tables only where there is nothing else) are taken at any depth; a glob (`data/train-*.parquet`, `**`); or, with the feature `hub`, `hf://owner/name`, as for
/// `hub::dataset_files`. Where a folder or repository holds several splits, `split` names one.
///
/// # Errors
/// A path that stands for nothing; several splits, none of them named.
pub fn data_files(path: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, DataError> {
    let text = path.to_string_lossy();
    if text.starts_with("hf://") {
        #[cfg(feature = "hub")]
        return crate::hub::dataset_files(&text, split, &crate::hub::HubSettings::from_env());
        #[cfg(not(feature = "hub"))]
        return Err(DataError::NeedsFeature { what: text.into_owned(), feature: "hub" });
    }
    if path.is_dir() {
        let files = files_below(path)?;
        if files.is_empty() {
            let path = path.to_path_buf();
            return Err(if is_saved_to_disk(&path) {
                DataError::SavedToDisk { path }
            } else {
                DataError::NoDataFiles { path }
            });
        }
        let below = |file: &PathBuf| file.strip_prefix(path).unwrap_or(file).to_string_lossy().into_owned();
        let names: Vec<String> = files.iter().map(below).collect();
        let keep = one_split(path, &names, split)?;
        all_shards(path, names.iter().zip(&keep).filter_map(|(name, keep)| keep.then_some(name.as_str())))?;
        return Ok(files.into_iter().zip(keep).filter_map(|(file, keep)| keep.then_some(file)).collect());
    }
    if !path.exists() && text.contains(['*', '?', '[']) {
        return glob_files(path, &text);
    }
    Ok(vec![path.to_path_buf()])
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let fail = |error| DataError::io("read", &folder, error);
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let path = entry.path();
            // A link to a folder is not followed: it may lead back. One to a file is how a hub's cache holds files.
            if entry.file_type().map_err(fail)?.is_dir() {
                if !entry.file_name().to_string_lossy().starts_with('.') {
                    folders.push(path);
                }
            } else if is_data_file(&entry.file_name().to_string_lossy()) && path.is_file() {
                files.push(path);
            }
        }
    }
    files.sort();
    drop_side_tables(&mut files, |file| file.to_str().unwrap_or_default());
    Ok(files)
}

/// Drops tables that lie beside files of another kind: there they are about the data (`metadata.csv`) or hold it again.
pub(crate) fn drop_side_tables<T>(files: &mut Vec<T>, name: impl Fn(&T) -> &str) {
    let is_table = |file: &T| [".csv", ".tsv"].iter().any(|end| bare_name(name(file)).ends_with(end));
    if !files.iter().all(is_table) {
        files.retain(|file| !is_table(file));
    }
}

/// A file's name without what it is packed by.
fn bare_name(name: &str) -> &str {
    name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name)
}

/// Whether Hugging Face datasets' `save_to_disk` wrote a folder: a dataset, or several splits of one.
fn is_saved_to_disk(folder: &Path) -> bool {
    let described = folder.join("dataset_info.json").is_file() && folder.join("state.json").is_file();
    described || folder.join("dataset_dict.json").is_file()
}

/// Whether a file's name says that it holds rows.
pub(crate) fn is_data_file(name: &str) -> bool {
    let name = name.rsplit('/').next().unwrap_or(name);
    let bare = bare_name(name);
    let known = bare.rsplit_once('.').is_some_and(|(stem, end)| !stem.is_empty() && EXTENSIONS.contains(&end));
    known && !name.starts_with('.') && !NOT_DATA.contains(&bare)
}

fn glob_files(path: &Path, pattern: &str) -> Result<Vec<PathBuf>, DataError> {
    let bad = |problem: String| DataError::BadGlob { pattern: pattern.to_string(), problem };
    let mut files = Vec::new();
    for entry in glob::glob(pattern).map_err(|error| bad(error.msg.to_string()))? {
        let file = entry.map_err(|error| DataError::io("read", path, error.into()))?;
        if file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() { Err(DataError::NoDataFiles { path: path.to_path_buf() }) } else { Ok(files) }
}

/// Which of the files belong to the split asked for. Without one, all do, unless they are of several.
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

/// Refuses a set of shards (`train-00000-of-00004.parquet`) of which some are not there.
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

/// The split that a file's path names: `data/train_prefs-00000-of-00001.parquet` is `train_prefs`, `base/test.jsonl.gz`
/// is `test`, and so is every file in a folder `test`. Shards of any other name (`raw-00000-of-00001.parquet`) are splits
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

/// What a shard's name (`train-00000-of-00004`, mostly with more behind) begins with.
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

    #[test]
    fn folders_of_save_to_disk_are_named() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["dataset_info.json", "state.json", "data-00000-of-00001.arrow"] {
            std::fs::write(folder.path().join(name), "{}").unwrap();
        }
        let error = data_files(folder.path(), None).unwrap_err();
        assert!(matches!(error, DataError::SavedToDisk { .. }), "{error}");
        assert!(error.to_string().contains("load_from_disk(FOLDER).to_json"), "{error}");
        let splits = tempfile::tempdir().unwrap();
        std::fs::write(splits.path().join("dataset_dict.json"), "{}").unwrap();
        assert!(matches!(data_files(splits.path(), None), Err(DataError::SavedToDisk { .. })));
    }

    #[test]
    fn folders_globs_and_files_are_found_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("data/.cache")).unwrap();
        std::fs::write(at("b.csv"), "").unwrap();
        std::fs::write(at("a.tsv.gz"), "").unwrap();
        assert_eq!(data_files(folder.path(), None).unwrap(), [at("a.tsv.gz"), at("b.csv")]);
        for name in
            ["data/b.jsonl", "data/a.parquet", "c.json.gz", "README.md", "dataset_infos.json", "data/.cache/x.jsonl"]
        {
            std::fs::write(at(name), "").unwrap();
        }
        assert_eq!(
            data_files(folder.path(), None).unwrap(),
            [at("c.json.gz"), at("data/a.parquet"), at("data/b.jsonl")]
        );
        assert_eq!(data_files(&at("**/*.json*"), None).unwrap().len(), 4, "a glob takes what it says");
        assert_eq!(data_files(&at("data/b.jsonl"), None).unwrap(), [at("data/b.jsonl")]);
        let error = data_files(&at("data/*.zst"), None).unwrap_err().to_string();
        assert!(error.contains("data/*.zst holds no data files"), "{error}");
        assert!(data_files(&at("a["), None).unwrap_err().to_string().contains("is no pattern"));

        std::fs::write(at("data/train-00001-of-00002.jsonl"), "").unwrap();
        let error = data_files(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("1 of the 2 shards of data/train"), "{error}");
        std::fs::rename(at("data/train-00001-of-00002.jsonl"), at("data/train-00000-of-00001.jsonl")).unwrap();
        std::fs::write(at("data/test-00000-of-00001.jsonl"), "").unwrap();
        let error = data_files(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("holds several splits (test, train)"), "{error}");
        assert_eq!(data_files(folder.path(), Some("test")).unwrap(), [at("data/test-00000-of-00001.jsonl")]);
        let error = data_files(folder.path(), Some("dev")).unwrap_err().to_string();
        assert!(error.contains("no split `dev` (it has test, train)"), "{error}");
    }
}
