//! The run folder: stages that are done once, so that a killed run continues where it was.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use ser_core::durable;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::atomic_write::{entries, remove, sweep, write_file, write_folder, write_json};
use super::digest::{FileDigests, digest, digest_of, file_digests, read_checked, write_checked};
use super::manifest::{Manifest, StageRecord, current_settings, first_difference};
use crate::Error;

const LOCK: &str = ".lock";
pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const SETTINGS: &str = "settings.json";
pub(super) const LOG: &str = "metrics.jsonl";
/// Present [`Manifest::format`].
const FORMAT: u32 = 1;
/// Files that a folder without any result may have. The log of a training that was stopped before its first checkpoint is
/// no result.
const BOOKKEEPING: [&str; 4] = [LOCK, MANIFEST, SETTINGS, LOG];
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A run folder, locked by this process until the value is dropped.
///
/// Work is done in *stages*. A stage writes one file or folder under a temporary name and renames it once it is complete
/// and on the disk. Then the manifest, which is replaced in the same way, records the stage with its checksum. A process
/// that is killed at any time therefore leaves every recorded stage complete, and a resumed run does the other stages. A
/// stage must be a function of the settings, the data and earlier stages: then a resumed run ends with the same result as
/// one that was never stopped.
///
/// The iterations add their stages under `rounds` and `baselines`. A program with stages of its own (the training of a
/// base model, for instance) opens the folder itself.
#[derive(Debug)]
pub struct RunFolder {
    pub(super) path: PathBuf,
    pub(super) manifest: Manifest,
    settings: BTreeMap<String, Value>,
    resumed: bool,
    /// Open for its lock alone, which the system releases with the process.
    lock: File,
}

impl Drop for RunFolder {
    /// Closing the file is not enough: a child process that another thread starts has it open for a moment, too.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl RunFolder {
    /// Opens a run folder, and creates it if it does not exist.
    ///
    /// With `resume`, an existing run continues; if there is none, a new run starts. A folder without a finished stage and
    /// without a checkpoint contains no run: files that a rejected start left in it are removed.
    ///
    /// # Errors
    /// [`Error::Held`] if another process has the folder open; [`Error::NotARun`] if it contains other files;
    /// [`Error::Exists`] if it contains a run and `resume` is false; [`Error::Version`] if another version made the run;
    /// [`Error::Damaged`] if one of the run's own files is not as it was written.
    pub fn open(path: impl Into<PathBuf>, resume: bool) -> Result<Self, Error> {
        Self::open_with(path.into(), resume, None)
    }

    /// With `damaged`, damaged files of the run's own are added to it and begun anew instead of being an error.
    pub(super) fn open_with(
        path: PathBuf,
        resume: bool,
        mut damaged: Option<&mut Vec<PathBuf>>,
    ) -> Result<Self, Error> {
        durable::create_folders(&path).map_err(Error::io("create", &path))?;
        let lock_path = path.join(LOCK);
        // After a power loss the name of the lock file may be missing, and that of an incomplete file may be there.
        let is_ours = |entry: &PathBuf| {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            name == MANIFEST || name.starts_with(durable::INCOMPLETE)
        };
        if !lock_path.exists() && !entries(&path)?.iter().all(is_ours) {
            return Err(Error::NotARun { path });
        }
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(Error::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Held { path }),
            Err(TryLockError::Error(source)) => return Err(Error::Lock { path: lock_path, source }),
        }
        sweep(&path)?;
        // The manifest is written before any stage is recorded, so a folder without one has no results to lose.
        let begun = read_checked::<Manifest>(&path.join(MANIFEST), false)
            .or_else(|error| anew(error, &mut damaged))?
            .filter(|manifest| !manifest.stages.is_empty() || holds_work(&path));
        let (manifest, resumed) = match begun {
            Some(_) if !resume => return Err(Error::Exists { path }),
            Some(manifest) if manifest.version != VERSION => {
                return Err(Error::Version { path, theirs: manifest.version, ours: VERSION });
            }
            Some(manifest) => (manifest, true),
            None => {
                for name in BOOKKEEPING.iter().filter(|name| **name != LOCK) {
                    remove(&path.join(name))?;
                }
                (Manifest::new(VERSION, FORMAT), false)
            }
        };
        let settings = read_checked(&path.join(SETTINGS), manifest.format > 0)
            .or_else(|error| anew(error, &mut damaged))?
            .unwrap_or_default();
        tracing::info!(path = %path.display(), resumed, "run folder opened");
        let folder = RunFolder { path, manifest, settings, resumed, lock };
        if !resumed {
            folder.write_manifest()?;
        } else if let Some(log) = folder.damaged_log()? {
            let Some(damaged) = damaged else { return Err(Error::Damaged { path: log }) };
            damaged.push(log);
        }
        Ok(folder)
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it contained a run when it was opened.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// The path of a stage's file or folder.
    pub fn stage_path(&self, stage: &str) -> PathBuf {
        stage.split('/').fold(self.path.clone(), |path, part| path.join(part))
    }

    /// Records a section of the settings; in a resumed run, compares it with the recorded one. The settings of checkpoints
    /// (`save_steps`, `save_total_limit`) may differ, because the result does not depend on them.
    ///
    /// # Errors
    /// [`Error::OtherSettings`] with the first field that differs.
    pub fn record_or_verify_settings<T: Serialize + ?Sized>(
        &mut self,
        section: &str,
        settings: &T,
    ) -> Result<(), Error> {
        let is = self.to_value(SETTINGS, settings)?;
        match self.settings.get(section) {
            Some(was) => match first_difference(section, &current_settings(was), &current_settings(&is)) {
                Some((field, was, is)) => Err(Error::OtherSettings { field, was, is }),
                None => Ok(()),
            },
            None => {
                self.settings.insert(section.to_owned(), is);
                self.write_own(SETTINGS, &self.settings)
            }
        }
    }

    /// Records a fingerprint of the data; in a resumed run, compares it with the recorded one.
    ///
    /// # Errors
    /// [`Error::OtherData`] with the first value that differs.
    pub fn record_or_verify_data<T: Serialize + ?Sized>(&mut self, name: &str, fingerprint: &T) -> Result<(), Error> {
        let is = self.to_value(MANIFEST, fingerprint)?;
        match self.manifest.fingerprints.get(name) {
            Some(was) => match first_difference(name, was, &is) {
                Some((field, was, is)) => Err(Error::OtherData { field, was, is }),
                None => Ok(()),
            },
            None => {
                self.manifest.fingerprints.insert(name.to_owned(), is);
                self.write_manifest()
            }
        }
    }

    /// Does a stage that writes a folder, unless it is done. `work` gets the folder, empty, under its temporary name.
    ///
    /// The manifest keeps the result of `work` as JSON (without NaN); a resumed run returns it again.
    ///
    /// # Errors
    /// The errors of `work`; [`Error::Damaged`] if the stage is done and its folder has changed since.
    pub fn folder_stage<T, E>(&mut self, stage: &str, work: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        self.stage(stage, |_, target| Ok((write_folder(target, work)?, 0.0)))
    }

    /// Does a stage that writes a folder in two parts, unless it is done: `train` may write checkpoints into the run, and
    /// `save` writes the result into the folder. `train` also returns the seconds that earlier processes spent on this
    /// stage.
    pub(crate) fn training_stage<S, T, E>(
        &mut self,
        stage: &str,
        train: impl FnOnce(&Self) -> Result<(S, f64), E>,
        save: impl FnOnce(S, &Path) -> Result<T, E>,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        self.stage(stage, |run, target| {
            let (trained, seconds) = train(run)?;
            Ok((write_folder(target, |folder| save(trained, folder))?, seconds))
        })
    }

    /// Does a stage that writes a file, unless it is done; like [`folder_stage`](RunFolder::folder_stage).
    pub fn file_stage<T, E>(&mut self, stage: &str, work: impl FnOnce(&mut dyn Write) -> Result<T, E>) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        self.stage(stage, |_, target| Ok((write_file(target, work)?, 0.0)))
    }

    /// Whether a stage is done.
    pub fn is_done(&self, stage: &str) -> bool {
        self.manifest.stages.iter().any(|record| record.stage == stage && !record.damaged)
    }

    /// The SHA-256 of a finished stage; `None` if it is not done.
    pub(crate) fn checksum(&self, stage: &str) -> Option<&str> {
        let done = self.manifest.stages.iter().find(|record| record.stage == stage && !record.damaged);
        done.map(|record| record.sha256.as_str())
    }

    /// All recorded sections of the settings.
    pub fn settings(&self) -> &BTreeMap<String, Value> {
        &self.settings
    }

    /// Writes a file that is derived from the stages and may be replaced at any time.
    pub fn write<E: From<Error>>(
        &self,
        name: &str,
        work: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        write_file(&self.stage_path(name), work)
    }

    /// Like [`write`](RunFolder::write), for a text.
    pub(crate) fn write_text(&self, name: &str, text: &str) -> Result<(), Error> {
        self.write(name, |out| out.write_all(text.as_bytes()).map_err(Error::io("write", &self.stage_path(name))))
    }

    /// Like [`write`](RunFolder::write), for a value as JSON.
    pub(crate) fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        write_json(&self.stage_path(name), value)
    }

    /// The finished stages with the seconds that each took, oldest first.
    pub fn timing(&self) -> impl Iterator<Item = (&str, f64)> {
        self.manifest.stages.iter().map(|record| (record.stage.as_str(), record.seconds))
    }

    /// Removes the files of a finished stage to save space. The stage stays done.
    pub(crate) fn prune(&mut self, stage: &str) -> Result<(), Error> {
        let target = self.stage_path(stage);
        let Some(record) = self.manifest.stages.iter_mut().find(|record| record.stage == stage) else {
            return Ok(());
        };
        if !record.pruned {
            record.pruned = true;
            self.write_manifest()?;
        }
        remove(&target)
    }

    /// Whether the files of a finished stage were removed to save space.
    pub(crate) fn is_pruned(&self, stage: &str) -> bool {
        self.manifest.stages.iter().any(|record| record.stage == stage && record.pruned)
    }

    /// `work` gets this run and the stage's path; it returns the stage's summary and the seconds that earlier processes
    /// spent on it.
    fn stage<T, E>(&mut self, stage: &str, work: impl FnOnce(&Self, &Path) -> Result<(T, f64), E>) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        debug_assert!(Path::new(stage).components().all(|c| matches!(c, Component::Normal(_))));
        let target = self.stage_path(stage);
        if let Some(record) = self.manifest.stages.iter().find(|record| record.stage == stage && !record.damaged) {
            if let Some(path) = record.damage(&target)? {
                return Err(Error::Damaged { path }.into());
            }
            tracing::debug!(stage, "the stage is done");
            return Ok(self.to_summary(record.summary.clone())?);
        }
        let _span = tracing::debug_span!("run_folder_stage", stage).entered();
        let started = Instant::now();
        self.check_presence()?;
        let (summary, earlier) = work(self, &target)?;
        let summary = self.to_value(MANIFEST, &summary)?;
        // Converted to JSON and back, so that every run gets what a resumed run reads.
        let result = self.to_summary(summary.clone())?;
        let (sha256, files) = if target.is_dir() {
            let files = file_digests(&target)?;
            (digest_of(&files), files)
        } else {
            (digest(&target)?, FileDigests::new())
        };
        let seconds = earlier + started.elapsed().as_secs_f64();
        self.sync_names(&target)?;
        self.sync_log()?;
        self.record_log()?;
        let record =
            StageRecord { stage: stage.to_owned(), sha256, files, seconds, summary, pruned: false, damaged: false };
        self.record(record);
        self.write_manifest()?;
        tracing::debug!(seconds, "stage saved");
        Ok(result)
    }

    pub(super) fn write_manifest(&self) -> Result<(), Error> {
        self.write_own(MANIFEST, &self.manifest)
    }

    fn write_own<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        self.check_presence()?;
        let path = self.path.join(name);
        if self.manifest.format > 0 { write_checked(&path, value) } else { write_json(&path, value) }
    }

    /// Flushes the names of the folders in which a stage lies. A process that was killed may have made them without that.
    fn sync_names(&self, target: &Path) -> Result<(), Error> {
        let folders = target.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.path));
        folders.into_iter().try_for_each(|folder| durable::sync_folder(folder).map_err(Error::io("flush", folder)))
    }

    /// Refuses to write into a folder that is not the one that was opened.
    pub(super) fn check_presence(&self) -> Result<(), Error> {
        if is_file_at(&self.lock, &self.path.join(LOCK)) {
            Ok(())
        } else {
            Err(Error::Gone { path: self.path.clone() })
        }
    }

    fn to_value<T: Serialize + ?Sized>(&self, file: &str, value: &T) -> Result<Value, Error> {
        serde_json::to_value(value).map_err(|e| Error::Format { path: self.path.join(file), message: e.to_string() })
    }

    fn to_summary<T: DeserializeOwned>(&self, value: Value) -> Result<T, Error> {
        serde_json::from_value(value)
            .map_err(|e| Error::Format { path: self.path.join(MANIFEST), message: e.to_string() })
    }
}

/// Removes a damaged file of the run's own, if such files are to be collected.
fn anew<T>(error: Error, damaged: &mut Option<&mut Vec<PathBuf>>) -> Result<Option<T>, Error> {
    match (error, damaged) {
        (Error::Damaged { path } | Error::Format { path, .. }, Some(damaged)) => {
            remove(&path)?;
            damaged.push(path);
            Ok(None)
        }
        (error, _) => Err(error),
    }
}

/// Whether an open file is the one that has this path.
fn is_file_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let same = |(a, b): (fs::Metadata, fs::Metadata)| (a.dev(), a.ino()) == (b.dev(), b.ino());
        file.metadata().and_then(|open| Ok((open, fs::metadata(path)?))).is_ok_and(same)
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Whether a run folder contains any result, that is any file except [`BOOKKEEPING`].
fn holds_work(folder: &Path) -> bool {
    fn holds_file(path: &Path) -> bool {
        // A folder that cannot be listed counts as a result, so that nothing is lost.
        !path.is_dir() || entries(path).map_or(true, |inside| inside.iter().any(|path| holds_file(path)))
    }
    let is_bookkeeping = |path: &PathBuf| BOOKKEEPING.iter().any(|name| path.file_name().is_some_and(|n| n == *name));
    entries(folder).map_or(true, |inside| inside.iter().any(|path| !is_bookkeeping(path) && holds_file(path)))
}
