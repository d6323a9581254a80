//! Checkpoints of a training that is under way: the newest is kept.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::durable::{entries, remove, write_folder};
use crate::run_folder::RunFolder;

impl RunFolder {
    /// Makes a checkpoint after `step` steps of what is called `name`, and drops the ones before. `fill` gets the
    /// folder, empty, under its temporary name.
    ///
    /// Whenever the process dies, the last checkpoint that was whole is there.
    pub fn save_checkpoint<E: From<Error>>(
        &self,
        name: &str,
        step: u64,
        fill: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let target = self.stage_path(name).join(format!("{step:08}"));
        write_folder(&target, fill)?;
        for (older, path) in self.checkpoints(name)? {
            if older != step {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// The newest checkpoint of what is called `name`, if there is one: its step and its folder.
    pub fn checkpoint(&self, name: &str) -> Result<Option<(u64, PathBuf)>, Error> {
        Ok(self.checkpoints(name)?.into_iter().max_by_key(|(step, _)| *step))
    }

    /// Drops all checkpoints of what is called `name`.
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
    fn the_newest_is_kept_and_survives_a_failed_one() {
        let root = tempfile::tempdir().unwrap();
        let run = RunFolder::open(root.path(), false).unwrap();
        assert_eq!(run.checkpoint("sft/checkpoints").unwrap(), None);
        let save = |step: u64, text: &str| {
            run.save_checkpoint("sft/checkpoints", step, |folder| {
                fs::write(folder.join("w"), text).map_err(Error::io("write", folder))
            })
            .unwrap();
        };
        save(9, "nine");
        save(10, "ten");
        let failed: Result<(), Error> = run.save_checkpoint("sft/checkpoints", 11, |folder| {
            fs::write(folder.join("w"), "half").unwrap();
            Err(Error::NotARun { path: folder.to_owned() })
        });
        assert!(failed.is_err());
        drop(run);
        let run = RunFolder::open(root.path(), true).unwrap();
        let (step, folder) = run.checkpoint("sft/checkpoints").unwrap().unwrap();
        assert_eq!((step, fs::read_to_string(folder.join("w")).unwrap().as_str()), (10, "ten"));
        assert_eq!(entries(&root.path().join("sft/checkpoints")).unwrap().len(), 1);
        run.drop_checkpoints("sft/checkpoints").unwrap();
        assert_eq!(run.checkpoint("sft/checkpoints").unwrap(), None);
    }
}
