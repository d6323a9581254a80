//! Repairing a run: what is damaged is made again from what is not.

use std::path::{Path, PathBuf};

use super::atomic_write::{entries, remove};
use super::folder::RunFolder;
use super::manifest::StageRecord;
use crate::Error;

/// The name of folders with checkpoints.
const CHECKPOINTS: &str = "checkpoints";

impl RunFolder {
    /// Opens a run folder to continue it, like [`open`](RunFolder::open) with `resume`, after comparing every file with its
    /// checksum. A damaged or missing stage counts as not done: it is made again from the stages before it. Damaged checkpoints
    /// are removed; the training continues from an older one, or begins anew. Damaged settings are recorded anew. If the
    /// manifest itself is damaged, every stage is made again. A damaged log of metrics stays as it is.
    ///
    /// Returns the run and the damaged files.
    ///
    /// # Errors
    /// As of [`open`](RunFolder::open).
    pub fn repair(path: impl Into<PathBuf>) -> Result<(Self, Vec<PathBuf>), Error> {
        let mut damaged = Vec::new();
        let mut run = Self::open_with(path.into(), true, Some(&mut damaged))?;
        for i in 0..run.manifest.stages.len() {
            let Some(record) = run.manifest.stages.get(i).filter(|record| !record.damaged) else { continue };
            let damage = record.damage(&run.stage_path(&record.stage))?;
            if let (Some(path), Some(record)) = (damage, run.manifest.stages.get_mut(i)) {
                tracing::info!(path = %path.display(), stage = record.stage, "damaged: the stage is made again");
                record.damaged = true;
                damaged.push(path);
            }
        }
        remove_damaged_checkpoints(&run.path, &mut damaged)?;
        // The log as it is.
        if run.manifest.log.is_some() {
            run.record_log()?;
        }
        if !damaged.is_empty() {
            run.write_manifest()?;
        }
        Ok((run, damaged))
    }

    /// Adds a finished stage to the manifest. One that was made again takes its old place; if it is not what it was, for
    /// instance on another machine, the stages after it are not done.
    pub(super) fn record(&mut self, record: StageRecord) {
        let stages = &mut self.manifest.stages;
        match stages.iter().position(|old| old.stage == record.stage) {
            Some(index) => {
                if stages.get(index).is_some_and(|old| old.sha256 != record.sha256) {
                    tracing::warn!(
                        stage = record.stage,
                        "made again, it differs: the stages after it are made again, too"
                    );
                    stages.truncate(index + 1);
                }
                if let Some(old) = stages.get_mut(index) {
                    *old = record;
                }
            }
            None => stages.push(record),
        }
    }
}

fn remove_damaged_checkpoints(folder: &Path, damaged: &mut Vec<PathBuf>) -> Result<(), Error> {
    for path in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        if path.file_name().is_none_or(|name| name != CHECKPOINTS) {
            remove_damaged_checkpoints(&path, damaged)?;
            continue;
        }
        for checkpoint in entries(&path)? {
            if let Some(file) = RunFolder::damaged_checkpoint(&checkpoint)? {
                remove(&checkpoint)?;
                damaged.push(file);
            }
        }
    }
    Ok(())
}
