//! Checkpoints of a running training: the newest ones are kept.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::atomic_write::{entries, remove, write_folder};
use super::digest::{FileDigests, file_digests, first_damage, read_checked, write_checked};
use super::folder::RunFolder;
use crate::Error;

/// The file that the run adds to a checkpoint; all others are the training's.
const FILE: &str = "checkpoint.json";

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// Seconds of the training up to the checkpoint, in all processes.
    seconds: f64,
    /// The SHA-256 of each other file. Earlier versions recorded none.
    #[serde(default)]
    files: FileDigests,
}

impl RunFolder {
    /// Writes a checkpoint after `step` steps, which took `seconds`, as `{name}/{step}`, and removes the oldest ones so that
    /// at most `limit` are left. `fill` gets the folder, empty, under its temporary name.
    ///
    /// If the process is killed, the last complete checkpoint remains.
    ///
    /// # Errors
    /// The errors of `fill`; [`Error::Io`].
    pub fn save_checkpoint<E: From<Error>>(
        &self,
        name: &str,
        step: u64,
        limit: usize,
        seconds: f64,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check_presence()?;
        self.sync_log()?;
        let target = self.stage_path(name).join(format!("{step:08}"));
        write_folder(&target, |folder| {
            fill(folder)?;
            let record = Record { seconds, files: file_digests(folder)? };
            Ok::<(), E>(write_checked(&folder.join(FILE), &record)?)
        })?;
        let mut all = self.checkpoints(name)?;
        all.sort();
        let surplus = all.len().saturating_sub(limit.max(1));
        for (_, path) in all.into_iter().take(surplus) {
            remove(&path)?;
        }
        Ok(())
    }

    /// The seconds that the training took up to a checkpoint, over all processes.
    pub(crate) fn checkpoint_seconds(folder: &Path) -> Result<f64, Error> {
        Ok(read_checked::<Record>(&folder.join(FILE), false)?.unwrap_or_default().seconds)
    }

    /// The file of a checkpoint that is not as it was written, if any.
    pub(super) fn damaged_checkpoint(folder: &Path) -> Result<Option<PathBuf>, Error> {
        let path = folder.join(FILE);
        let mut files = match read_checked::<Record>(&path, false) {
            // Of an earlier version.
            Ok(Some(record)) if record.files.is_empty() => return Ok(None),
            Ok(Some(record)) => record.files,
            Ok(None) | Err(Error::Damaged { .. } | Error::Format { .. }) => return Ok(Some(path)),
            Err(error) => return Err(error),
        };
        // It has a checksum of its own.
        files.extend(file_digests(folder)?.remove_entry(FILE));
        first_damage(folder, &files)
    }

    /// The newest checkpoint in `name`, if any: its step and its folder.
    ///
    /// # Errors
    /// [`Error::Io`] if the folder cannot be listed; [`Error::Damaged`] if a file of the checkpoint is not as it was written.
    pub fn checkpoint(&self, name: &str) -> Result<Option<(u64, PathBuf)>, Error> {
        let newest = self.checkpoints(name)?.into_iter().max_by_key(|(step, _)| *step);
        match newest.as_ref().map(|(_, folder)| Self::damaged_checkpoint(folder)).transpose()?.flatten() {
            Some(path) => Err(Error::Damaged { path }),
            None => Ok(newest),
        }
    }

    /// Removes all checkpoints in `name`.
    ///
    /// # Errors
    /// [`Error::Io`] if they cannot be removed.
    pub fn drop_checkpoints(&self, name: &str) -> Result<(), Error> {
        remove(&self.stage_path(name))
    }

    fn checkpoints(&self, name: &str) -> Result<Vec<(u64, PathBuf)>, Error> {
        let folder = self.stage_path(name);
        if !fs::exists(&folder).map_err(Error::io("read", &folder))? {
            return Ok(Vec::new());
        }
        let step = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse().ok());
        Ok(entries(&folder)?.into_iter().filter_map(|path| step(&path).map(|step| (step, path))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_survive_a_failed_one() {
        let root = tempfile::tempdir().unwrap();
        let run = RunFolder::open(root.path(), false).unwrap();
        assert_eq!(run.checkpoint("sft/checkpoints").unwrap(), None);
        let save = |step: u64, limit: usize, text: &str| {
            run.save_checkpoint("sft/checkpoints", step, limit, 2.5, |folder| {
                fs::write(folder.join("w"), text).map_err(Error::io("write", folder))
            })
            .unwrap();
        };
        let count = || entries(&root.path().join("sft/checkpoints")).unwrap().len();
        for step in 7..10 {
            save(step, 2, "before");
        }
        assert_eq!(count(), 2);
        save(10, 1, "ten");
        let failed: Result<(), Error> = run.save_checkpoint("sft/checkpoints", 11, 1, 2.5, |folder| {
            fs::write(folder.join("w"), "half").unwrap();
            Err(Error::NotARun { path: folder.to_owned() })
        });
        assert!(failed.is_err());
        drop(run);
        let run = RunFolder::open(root.path(), true).unwrap();
        let (step, folder) = run.checkpoint("sft/checkpoints").unwrap().unwrap();
        assert_eq!((step, fs::read_to_string(folder.join("w")).unwrap().as_str()), (10, "ten"));
        assert_eq!((count(), RunFolder::checkpoint_seconds(&folder).unwrap()), (1, 2.5));
        run.drop_checkpoints("sft/checkpoints").unwrap();
        assert_eq!(run.checkpoint("sft/checkpoints").unwrap(), None);
    }
}
