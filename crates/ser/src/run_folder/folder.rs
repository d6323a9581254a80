//! The run folder: stages that are done once, so that a killed run continues where it was.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::atomic_write::{digest, entries, read_json, remove, sweep, write_file, write_folder, write_json};
use super::manifest::{Manifest, StageRecord, current_settings, first_difference};
use crate::Error;

const LOCK: &str = ".lock";
pub(super) const MANIFEST: &str = "manifest.json";
const SETTINGS: &str = "settings.json";
/// Files that a folder without any result may have. The log of a training that was stopped before its first checkpoint is
/// no result.
const BOOKKEEPING: [&str; 4] = [LOCK, MANIFEST, SETTINGS, "metrics.jsonl"];
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
    path: PathBuf,
    manifest: Manifest,
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
    /// [`Error::Exists`] if it contains a run and `resume` is false; [`Error::Version`] if another version made the run.
    pub fn open(path: impl Into<PathBuf>, resume: bool) -> Result<Self, Error> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        let lock_path = path.join(LOCK);
        if !lock_path.exists() && !entries(&path)?.is_empty() {
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
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", &lock_path)(e)),
        }
        sweep(&path)?;
        // The manifest is written before any stage is recorded, so a folder without one has no results to lose.
        let begun = read_json::<Manifest>(&path.join(MANIFEST))?
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
                (Manifest { version: VERSION.to_owned(), fingerprints: BTreeMap::new(), stages: Vec::new() }, false)
            }
        };
        let settings = read_json(&path.join(SETTINGS))?.unwrap_or_default();
        tracing::info!(path = %path.display(), resumed, "run folder opened");
        let folder = RunFolder { path, manifest, settings, resumed, lock };
        if !resumed {
            folder.write_manifest()?;
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
                write_json(&self.path.join(SETTINGS), &self.settings)
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
        self.manifest.stages.iter().any(|record| record.stage == stage)
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
        if let Some(record) = self.manifest.stages.iter().find(|record| record.stage == stage) {
            if !record.pruned && (!target.exists() || digest(&target)? != record.sha256) {
                return Err(Error::Damaged { path: target }.into());
            }
            tracing::debug!(stage, "the stage is done");
            return Ok(self.to_summary(record.summary.clone())?);
        }
        let _span = tracing::debug_span!("run_folder_stage", stage).entered();
        let started = Instant::now();
        let (summary, earlier) = work(self, &target)?;
        let summary = self.to_value(MANIFEST, &summary)?;
        // Converted to JSON and back, so that every run gets what a resumed run reads.
        let result = self.to_summary(summary.clone())?;
        let sha256 = digest(&target)?;
        let seconds = earlier + started.elapsed().as_secs_f64();
        self.manifest.stages.push(StageRecord { stage: stage.to_owned(), sha256, seconds, summary, pruned: false });
        self.write_manifest()?;
        tracing::debug!(seconds, "stage saved");
        Ok(result)
    }

    fn write_manifest(&self) -> Result<(), Error> {
        write_json(&self.path.join(MANIFEST), &self.manifest)
    }

    fn to_value<T: Serialize + ?Sized>(&self, file: &str, value: &T) -> Result<Value, Error> {
        serde_json::to_value(value).map_err(|e| Error::Format { path: self.path.join(file), message: e.to_string() })
    }

    fn to_summary<T: DeserializeOwned>(&self, value: Value) -> Result<T, Error> {
        serde_json::from_value(value)
            .map_err(|e| Error::Format { path: self.path.join(MANIFEST), message: e.to_string() })
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
