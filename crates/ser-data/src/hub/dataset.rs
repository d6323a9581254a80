//! The data files of a dataset repository.

use std::path::{Path, PathBuf};

use super::address::Address;
use super::repository::{Kind, Repository};
use super::settings::HubSettings;
use crate::DataError;
use crate::data_names::{all_shards, drop_side_tables, is_data_file, one_split};

/// Fetches the data files of a dataset and returns their paths in the cache, sorted by name.
///
/// `address` is `hf://owner/name`, optionally with `@revision` and with a file, folder or glob after it
/// (`hf://owner/name/data/train-*.parquet`). Without one, all data files are taken; `split` selects a split if there
/// are several.
///
/// # Errors
/// An invalid address; a repository that does not exist or needs a token; several splits without a selection.
pub fn dataset_files(address: &str, split: Option<&str>, settings: &HubSettings) -> Result<Vec<PathBuf>, DataError> {
    let parsed = Address::parse(address, "datasets")?;
    let repository = Repository::open(&parsed, Kind::Dataset, settings)?;
    let mut names: Vec<String> =
        repository.files().iter().filter(|name| is_data_file(name) && is_in(name, &parsed.path)).cloned().collect();
    if names.is_empty() {
        return Err(DataError::NoDataFiles { path: Path::new(address).to_path_buf() });
    }
    if !parsed.path.contains(GLOB) {
        drop_side_tables(&mut names, String::as_str);
        let keep = one_split(Path::new(address), &names, split)?;
        let mut keep = keep.into_iter();
        names.retain(|_| keep.next().unwrap_or(false));
        all_shards(Path::new(address), names.iter().map(String::as_str))?;
    }
    names.iter().map(|name| repository.fetch(name)).collect()
}

const GLOB: [char; 3] = ['*', '?', '['];

/// Whether a file is named by a path, lies in the folder it names, or matches it as a glob.
fn is_in(name: &str, path: &str) -> bool {
    let below = || name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let options = glob::MatchOptions { require_literal_separator: true, ..glob::MatchOptions::default() };
    let matches = || glob::Pattern::new(path).is_ok_and(|pattern| pattern.matches_with(name, options));
    path.is_empty() || below() || (path.contains(GLOB) && matches())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_files_folders_or_globs() {
        for (path, is) in [
            ("", true),
            ("data", true),
            ("data/train-0.parquet", true),
            ("data/train-*.parquet", true),
            ("**/*.parquet", true),
            ("*.parquet", false),
            ("dat", false),
            ("data/train", false),
        ] {
            assert_eq!(is_in("data/train-0.parquet", path), is, "{path}");
        }
    }
}
