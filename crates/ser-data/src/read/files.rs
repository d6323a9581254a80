//! The files of a path: a file, a folder of shards, a glob, or a repository on a hub.

use std::path::{Path, PathBuf};

use crate::DataError;
use crate::data_names::{all_shards, drop_side_tables, is_data_file, one_split};

/// The data files of a path, sorted by name. This is the order in which shards are read, independent of the order in
/// which the disk or a hub lists them.
///
/// A path is a file; a folder, whose files (`.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, `.parquet`, optionally with
/// `.gz` or `.zst`; tables only if there is nothing else) are taken at any depth; a glob (`data/train-*.parquet`,
/// `**`); or, with the feature `hub`, `hf://owner/name`, as for `hub::dataset_files`. If a folder or repository has
/// several splits, `split` selects one.
///
/// # Errors
/// A path without data files; several splits without a selection.
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

/// The bytes of the [`data_files`] of a path, compressed as they are.
///
/// # Errors
/// As of [`data_files`]; a file that does not exist.
pub fn data_size(path: &Path, split: Option<&str>) -> Result<u64, DataError> {
    let size = |file: PathBuf| match std::fs::metadata(&file) {
        Ok(about) => Ok(about.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(DataError::Missing { path: file }),
        Err(error) => Err(DataError::io("read", &file, error)),
    };
    data_files(path, split)?.into_iter().map(size).sum()
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let fail = |error| DataError::io("read", &folder, error);
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let path = entry.path();
            // Links to folders are not followed, as they may be cyclic. Links to files are: a hub's cache consists of
            // them.
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

/// Whether Hugging Face datasets' `save_to_disk` wrote a folder: a dataset, or several splits of one.
fn is_saved_to_disk(folder: &Path) -> bool {
    let described = folder.join("dataset_info.json").is_file() && folder.join("state.json").is_file();
    described || folder.join("dataset_dict.json").is_file()
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(data_files(&at("**/*.json*"), None).unwrap().len(), 4, "a glob takes every match");
        assert_eq!(data_files(&at("data/b.jsonl"), None).unwrap(), [at("data/b.jsonl")]);
        let error = data_files(&at("data/*.zst"), None).unwrap_err().to_string();
        assert!(error.contains("data/*.zst has no data files"), "{error}");
        assert!(data_files(&at("a["), None).unwrap_err().to_string().contains("is not a valid pattern"));

        std::fs::write(at("data/train-00001-of-00002.jsonl"), "").unwrap();
        let error = data_files(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("1 of the 2 shards of data/train"), "{error}");
        std::fs::rename(at("data/train-00001-of-00002.jsonl"), at("data/train-00000-of-00001.jsonl")).unwrap();
        std::fs::write(at("data/test-00000-of-00001.jsonl"), "").unwrap();
        let error = data_files(folder.path(), None).unwrap_err().to_string();
        assert!(error.contains("has several splits (test, train)"), "{error}");
        assert_eq!(data_files(folder.path(), Some("test")).unwrap(), [at("data/test-00000-of-00001.jsonl")]);
        let error = data_files(folder.path(), Some("dev")).unwrap_err().to_string();
        assert!(error.contains("no split `dev` (it has test, train)"), "{error}");
    }
}
