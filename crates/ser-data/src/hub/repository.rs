//! A repository at one commit: its list of files, and the files.

use std::path::{Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};

use super::address::{Address, is_safe_path};
use super::settings::HubSettings;
use crate::DataError;

/// Number of times an interrupted download is resumed.
const RETRIES: usize = 3;

/// A repository at a fixed revision.
pub(crate) struct Repository {
    name: String,
    settings: HubSettings,
    /// The folder of the commit in the cache.
    snapshot: PathBuf,
    /// Paths of its files, sorted.
    files: Vec<String>,
    /// `None` if only the cache is used.
    remote: Option<ApiRepo>,
}

impl Repository {
    /// Asks the hub for the commit of a revision and its files; offline, uses the cache.
    pub(crate) fn open(address: &Address, kind: RepoType, settings: &HubSettings) -> Result<Self, DataError> {
        let cache = Cache::new(settings.cache.clone());
        let repo = Repo::with_revision(address.name.clone(), kind, address.revision.clone());
        let in_cache = cache.repo(repo.clone());
        let (name, settings) = (address.name.clone(), settings.clone());
        if settings.offline {
            let missing = || DataError::HubOffline { name: name.clone(), cache: settings.cache.clone() };
            let folder = settings.cache.join(repo.folder_name());
            let commit = std::fs::read_to_string(folder.join("refs").join(&address.revision));
            let snapshot = in_cache.pointer_path(commit.as_deref().unwrap_or(&address.revision).trim());
            let files = files_below(&snapshot).ok().filter(|files| !files.is_empty()).ok_or_else(missing)?;
            return Ok(Repository { name, settings, snapshot, files, remote: None });
        }
        let failed = |error: ApiError| failed(&address.name, &settings, &error);
        let api: Api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(settings.endpoint.clone())
            .with_token(settings.token.clone())
            .with_progress(settings.progress)
            .with_retries(RETRIES)
            .build()
            .map_err(failed)?;
        let info = api.repo(repo).info().map_err(failed)?;
        if info.sha.is_empty() || !info.sha.chars().all(|c| c.is_ascii_alphanumeric()) {
            return Err(DataError::Hub {
                name,
                endpoint: settings.endpoint,
                problem: format!("it names {:?} as the commit", info.sha),
            });
        }
        let mut files: Vec<String> = info.siblings.into_iter().map(|file| file.rfilename).collect();
        files.retain(|file| !file.is_empty() && is_safe_path(file));
        files.sort();
        // From now on the branch refers to this commit, as for the Python tools.
        in_cache.create_ref(&info.sha).map_err(|error| DataError::io("write", &settings.cache, error))?;
        let snapshot = in_cache.pointer_path(&info.sha);
        let at_commit = Repo::with_revision(name.clone(), kind, info.sha);
        let remote = Some(api.repo(at_commit));
        Ok(Repository { name, settings, snapshot, files, remote })
    }

    /// The paths of the files.
    pub(crate) fn files(&self) -> &[String] {
        &self.files
    }

    /// The folder of the fetched files.
    pub(crate) fn snapshot(&self) -> &Path {
        &self.snapshot
    }

    /// Fetches a file unless it is in the cache.
    pub(crate) fn fetch(&self, file: &str) -> Result<PathBuf, DataError> {
        let path = self.snapshot.join(file);
        if path.exists() {
            return Ok(path);
        }
        match &self.remote {
            Some(remote) => remote.download(file).map_err(|error| failed(&self.name, &self.settings, &error)),
            None => {
                let name = format!("{file} of {}", self.name);
                Err(DataError::HubOffline { name, cache: self.settings.cache.clone() })
            }
        }
    }
}

fn failed(name: &str, settings: &HubSettings, error: &ApiError) -> DataError {
    let (name, endpoint, problem) = (name.to_string(), settings.endpoint.clone(), error.to_string().replace('\n', " "));
    if ["401", "403", "404"].iter().any(|code| problem.ends_with(code)) {
        DataError::HubRefused { name, endpoint, problem }
    } else {
        DataError::Hub { name, endpoint, problem }
    }
}

/// The paths of a snapshot's files.
fn files_below(snapshot: &Path) -> std::io::Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![(snapshot.to_path_buf(), String::new())];
    while let Some((folder, below)) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let name = format!("{below}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                folders.push((entry.path(), format!("{name}/")));
            } else if entry.path().exists() {
                files.push(name);
            }
        }
    }
    files.sort();
    Ok(files)
}
