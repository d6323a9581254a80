//! A repository at one commit: its list of files, and the files.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::address::{Address, is_safe_path};
use super::client::{Client, Failure};
use super::download::{CacheFolder, again};
use super::settings::HubSettings;
use crate::DataError;

/// The kind of a repository, which is part of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Model,
    Dataset,
}

impl Kind {
    /// As in the hub's interface and the cache's folders.
    fn plural(self) -> &'static str {
        match self {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        }
    }

    /// Before a repository's name in the addresses of files.
    fn prefix(self) -> &'static str {
        match self {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        }
    }
}

/// A repository at a fixed revision.
pub(crate) struct Repository {
    name: String,
    settings: HubSettings,
    folder: CacheFolder,
    /// The folder of the commit in the cache.
    snapshot: PathBuf,
    /// Paths of its files, sorted.
    files: Vec<String>,
    /// `None` if only the cache is used.
    remote: Option<Remote>,
}

/// Where files are fetched from.
struct Remote {
    client: Client,
    /// The path of the commit's files on the hub.
    path: String,
}

impl Repository {
    /// Asks the hub for the commit of a revision and its files; offline, uses the cache.
    pub(crate) fn open(address: &Address, kind: Kind, settings: &HubSettings) -> Result<Self, DataError> {
        let (name, settings) = (address.name.clone(), settings.clone());
        let path = settings.cache.join(format!("{}--{}", kind.plural(), name.replace('/', "--")));
        let folder = CacheFolder { path, progress: settings.progress };
        let reference = folder.path.join("refs").join(&address.revision);
        let snapshots = folder.path.join("snapshots");
        if settings.offline {
            let missing = || DataError::HubOffline { name: name.clone(), cache: settings.cache.clone() };
            let commit = std::fs::read_to_string(&reference);
            let snapshot = snapshots.join(commit.as_deref().unwrap_or(&address.revision).trim());
            let files = files_below(&snapshot).ok().filter(|files| !files.is_empty()).ok_or_else(missing)?;
            return Ok(Repository { name, settings, folder, snapshot, files, remote: None });
        }
        let failed = |failure| failed(&name, &settings, failure);
        let client = Client::new(&settings).map_err(failed)?;
        let revision = address.revision.replace('/', "%2F");
        let info =
            again(|| client.json(&format!("/api/{}/{name}/revision/{revision}", kind.plural()))).map_err(failed)?;
        let (commit, files) = commit_and_files(&info).map_err(failed)?;
        // From now on the branch refers to this commit, as for the Python tools.
        let write = || {
            std::fs::create_dir_all(reference.parent().unwrap_or(&reference))?;
            ser_core::durable::replace(&reference, |out| std::io::Write::write_all(out, commit.as_bytes()))
        };
        write().map_err(|error| DataError::io("write", &settings.cache, error))?;
        let snapshot = snapshots.join(&commit);
        let path = format!("/{}{name}/resolve/{commit}", kind.prefix());
        Ok(Repository { name, settings, folder, snapshot, files, remote: Some(Remote { client, path }) })
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
        let Some(Remote { client, path: of_commit }) = &self.remote else {
            let name = format!("{file} of {}", self.name);
            return Err(DataError::HubOffline { name, cache: self.settings.cache.clone() });
        };
        let url = format!("{of_commit}/{}", escaped(file));
        let name = format!("{file} of {}", self.name);
        self.folder.fetch(client, &url, file, &path).map_err(|failure| failed(&name, &self.settings, failure))?;
        Ok(path)
    }
}

/// The commit, and the paths of its files, sorted, as far as they stay in their folder.
fn commit_and_files(info: &Value) -> Result<(String, Vec<String>), Failure> {
    let commit = info.get("sha").and_then(Value::as_str).unwrap_or_default();
    if commit.is_empty() || !commit.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(Failure::reply(format!("it names {commit:?} as the commit")));
    }
    let siblings = info.get("siblings").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names = siblings.iter().filter_map(|file| file.get("rfilename")?.as_str().map(str::to_owned));
    let mut files: Vec<String> = names.filter(|file| !file.is_empty() && is_safe_path(file)).collect();
    files.sort();
    Ok((commit.to_owned(), files))
}

/// A path as part of an address: bytes other than letters, digits and `-_.~/` as %XX.
fn escaped(path: &str) -> String {
    path.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
        text
    })
}

fn failed(name: &str, settings: &HubSettings, failure: Failure) -> DataError {
    let (name, endpoint, problem) = (name.to_string(), settings.endpoint.clone(), failure.problem.replace('\n', " "));
    if matches!(failure.status, Some(401 | 403 | 404)) {
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
