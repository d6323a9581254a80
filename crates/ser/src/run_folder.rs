//! A run is a folder, and a run that was killed goes on where it was.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Error;
use crate::durable::{digest, entries, read_json, remove, sweep, write_file, write_folder, write_json};
use crate::manifest::{Manifest, StageRecord, first_difference, without_saving};

#[cfg(test)]
mod tests;

const LOCK: &str = ".lock";
const MANIFEST: &str = "manifest.json";
const SETTINGS: &str = "settings.json";
/// What is in a folder before anything was done in it: the log of a training that was stopped before it was saved once
/// is no work either.
const BOOKKEEPING: [&str; 4] = [LOCK, MANIFEST, SETTINGS, "metrics.jsonl"];
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A run folder, held by this process until the value is dropped.
///
/// Work is done in *stages*. A stage makes one file or folder, under a temporary name that is renamed when it is
/// whole and on the disk; then the manifest, which is replaced in the same way, notes it with its checksum. A
/// process that dies at any instant therefore leaves every noted stage whole, and whoever resumes the run does the
/// others. A stage must be a function of the settings, the data and earlier stages: then a resumed run ends as one
/// that was never stopped.
///
/// The loop adds its own stages, under `rounds` and `baselines`, to a folder that may hold others (the training of a
/// base model, say), so a program with more to do than the loop opens the folder itself.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    manifest: Manifest,
    settings: BTreeMap<String, Value>,
    resumed: bool,
    /// Held for its lock alone, which the system drops with the process.
    lock: File,
}

impl Drop for RunFolder {
    /// Closing the file is not enough: a child that another thread is just starting has it open for a moment, too.
    fn drop(&mut self) {
        let _ = self.lock.unlock();
    }
}

impl RunFolder {
    /// Opens a run folder, which is made where there is none.
    ///
    /// `resume` goes on with a run that is there, and starts one where there is none: a program can always ask for it. A
    /// folder in which no stage was finished and no checkpoint made holds no run: what a start left in it that was refused
    /// is dropped.
    ///
    /// # Errors
    /// If the folder is held by another process, holds something else than a run, holds a run and `resume` is
    /// false, or was made by another version.
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
        // The manifest is written first and noted stages later, so without one nothing is lost by starting anew.
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
                (Manifest { version: VERSION.to_owned(), facts: BTreeMap::new(), stages: Vec::new() }, false)
            }
        };
        let settings = read_json(&path.join(SETTINGS))?.unwrap_or_default();
        let folder = RunFolder { path, manifest, settings, resumed, lock };
        if !resumed {
            folder.write_manifest()?;
        }
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it held a run when it was opened.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Where a stage's file or folder is.
    pub fn stage_path(&self, stage: &str) -> PathBuf {
        stage.split('/').fold(self.path.clone(), |path, part| path.join(part))
    }

    /// Notes a section of the settings, or, in a resumed run, holds it against the one noted. When checkpoints are written
    /// (`save_steps`, `save_total_limit`) may differ: the result does not depend on it.
    ///
    /// # Errors
    /// [`Error::OtherSettings`] names the first field that differs.
    pub fn agree_on_settings<T: Serialize + ?Sized>(&mut self, section: &str, settings: &T) -> Result<(), Error> {
        let is = self.to_value(SETTINGS, settings)?;
        match self.settings.get(section) {
            Some(was) => match first_difference(section, &without_saving(was), &without_saving(&is)) {
                Some((field, was, is)) => Err(Error::OtherSettings { field, was, is }),
                None => Ok(()),
            },
            None => {
                self.settings.insert(section.to_owned(), is);
                write_json(&self.path.join(SETTINGS), &self.settings)
            }
        }
    }

    /// Notes a fact about the data, or, in a resumed run, holds it against the one noted.
    ///
    /// # Errors
    /// [`Error::OtherData`] names the first fact that differs.
    pub fn agree_on_data<T: Serialize + ?Sized>(&mut self, name: &str, fact: &T) -> Result<(), Error> {
        let is = self.to_value(MANIFEST, fact)?;
        match self.manifest.facts.get(name) {
            Some(was) => match first_difference(name, was, &is) {
                Some((field, was, is)) => Err(Error::OtherData { field, was, is }),
                None => Ok(()),
            },
            None => {
                self.manifest.facts.insert(name.to_owned(), is);
                self.write_manifest()
            }
        }
    }

    /// Does a stage that makes a folder, unless it is done. `work` gets the folder, empty, under its temporary name.
    ///
    /// What `work` returns is kept in the manifest, as JSON (so no NaN), and returned again when the run is resumed.
    pub fn folder_stage<T, E>(&mut self, stage: &str, work: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<Error>,
    {
        self.stage(stage, |_, target| Ok((write_folder(target, work)?, 0.0)))
    }

    /// Does a stage that makes a folder in two parts, unless it is done: `train`, which may write checkpoints into the run,
    /// and `save`, which fills the folder with the result. `train` also returns the seconds that earlier processes spent on
    /// this stage.
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

    /// Does a stage that makes a file, unless it is done; like [`folder_stage`](RunFolder::folder_stage).
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

    /// All sections of the settings noted.
    pub fn settings(&self) -> &BTreeMap<String, Value> {
        &self.settings
    }

    /// Puts a file in its place that follows from the stages and may be written again and again.
    pub fn write<E: From<Error>>(
        &self,
        name: &str,
        work: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        write_file(&self.stage_path(name), work)
    }

    /// Like [`write`](RunFolder::write), a text.
    pub(crate) fn write_text(&self, name: &str, text: &str) -> Result<(), Error> {
        self.write(name, |out| out.write_all(text.as_bytes()).map_err(Error::io("write", &self.stage_path(name))))
    }

    /// Like [`write`](RunFolder::write), anything as JSON.
    pub(crate) fn write_json<T: Serialize>(&self, name: &str, value: &T) -> Result<(), Error> {
        write_json(&self.stage_path(name), value)
    }

    /// The stages done with the seconds each took, in the order they were done.
    pub fn timing(&self) -> impl Iterator<Item = (&str, f64)> {
        self.manifest.stages.iter().map(|record| (record.stage.as_str(), record.seconds))
    }

    /// Removes what a finished stage made, to save space. The stage stays done.
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

    /// Whether what a finished stage made was removed to save space.
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
            return Ok(self.to_summary(record.summary.clone())?);
        }
        let started = Instant::now();
        let (summary, earlier) = work(self, &target)?;
        let summary = self.to_value(MANIFEST, &summary)?;
        // What comes back is what a resumed run reads, whether this run is one or not.
        let result = self.to_summary(summary.clone())?;
        let sha256 = digest(&target)?;
        let seconds = earlier + started.elapsed().as_secs_f64();
        self.manifest.stages.push(StageRecord { stage: stage.to_owned(), sha256, seconds, summary, pruned: false });
        self.write_manifest()?;
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

/// Whether a run's folder holds anything that was computed: any file beside the bookkeeping.
fn holds_work(folder: &Path) -> bool {
    fn holds_file(path: &Path) -> bool {
        // What cannot be looked into is taken for work, so that nothing is lost.
        !path.is_dir() || entries(path).map_or(true, |inside| inside.iter().any(|path| holds_file(path)))
    }
    let is_bookkeeping = |path: &PathBuf| BOOKKEEPING.iter().any(|name| path.file_name().is_some_and(|n| n == *name));
    entries(folder).map_or(true, |inside| inside.iter().any(|path| !is_bookkeeping(path) && holds_file(path)))
}
