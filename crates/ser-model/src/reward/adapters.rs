//! A reward model's adapters: each with a head of its own.

use std::path::Path;

use tch::Tensor;

use super::RewardModel;
use crate::adapter::{load_adapter, read_settings, save_adapter};
use crate::seeds::Seeds;
use crate::{LoraSettings, ModelError};

impl RewardModel {
    /// The names of its adapters. A new model has one, `default`.
    pub fn adapters(&self) -> Vec<&str> {
        self.network.adapters.names()
    }

    /// The adapter that computes, is trained, and is written.
    pub fn active_adapter(&self) -> Option<&str> {
        self.network.adapters.active_name()
    }

    /// Lets another adapter compute, with its own head.
    pub fn set_adapter(&mut self, name: &str) -> Result<(), ModelError> {
        self.network.adapters.activate(Some(name))
    }

    /// Adds a fresh adapter with a copy of the base model's head; it becomes the active one.
    pub fn add_adapter(&mut self, name: &str, settings: &LoraSettings, seed: u64) -> Result<(), ModelError> {
        self.network.add_adapter(name, settings, &Seeds::new(seed))?;
        self.heads.insert(name.to_owned(), self.base_head.f_copy()?);
        Ok(())
    }

    /// Adds the adapter of a folder in PEFT's layout under a name; it becomes the active one.
    pub fn load_adapter(&mut self, folder: &Path, name: &str) -> Result<(), ModelError> {
        self.add_adapter(name, &read_settings(folder)?, 0)?;
        self.fill_adapter(folder, name)
    }

    /// Runs `work` with the adapters off: the base model and its own head.
    pub fn without_adapter<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let paused = self.network.adapters.pause();
        let result = work(self);
        self.network.adapters.resume(paused);
        result
    }

    /// Writes the active adapter and its head into a folder, in PEFT's layout.
    pub fn save_adapter(&self, folder: &Path) -> Result<(), ModelError> {
        let name = self.active()?;
        std::fs::create_dir_all(folder).map_err(|e| ModelError::file(folder, e))?;
        save_adapter(folder, &self.network, name, self.head(), &self.folder.to_string_lossy())
    }

    /// Brings back what [`save_adapter`](Self::save_adapter) wrote, into the active adapter.
    pub(super) fn restore_adapter(&mut self, folder: &Path) -> Result<(), ModelError> {
        let name = self.active()?.to_owned();
        let found = read_settings(folder)?;
        let settings = self.network.adapters.settings(&name)?;
        let same = |a: &LoraSettings, b: &LoraSettings| {
            let sorted = |s: &LoraSettings| {
                let mut names = s.target_modules.clone();
                names.sort();
                names
            };
            a.rank == b.rank && a.alpha == b.alpha && sorted(a) == sorted(b)
        };
        if !same(&found, settings) {
            return Err(ModelError::Adapter {
                path: folder.to_owned(),
                problem: format!("it was made with {found:?}, adapter {name:?} of this model with {settings:?}"),
            });
        }
        self.fill_adapter(folder, &name)
    }

    /// Copies a folder's weights into the adapter `name`, which has its settings.
    pub(super) fn fill_adapter(&mut self, folder: &Path, name: &str) -> Result<(), ModelError> {
        if let Some(loaded) = load_adapter(folder, &self.network, name)? {
            if let Some(head) = self.heads.get_mut(name) {
                tch::no_grad(|| head.f_copy_(&loaded))?;
            }
        }
        Ok(())
    }

    /// The head that scores: the active adapter's, else the base model's. [1, hidden] in f32.
    pub(super) fn head(&self) -> &Tensor {
        self.active_adapter().and_then(|name| self.heads.get(name)).unwrap_or(&self.base_head)
    }

    /// What is trained: the active adapter's A and B, then its head.
    pub(super) fn trained(&self) -> Result<Vec<Tensor>, ModelError> {
        let tensors = self.network.lora_tensors(self.active()?)?;
        let mut leaves: Vec<Tensor> = tensors.into_iter().map(|(_, tensor)| tensor.shallow_clone()).collect();
        leaves.push(self.head().shallow_clone());
        Ok(leaves)
    }

    fn active(&self) -> Result<&str, ModelError> {
        self.active_adapter().ok_or(ModelError::NoActiveAdapter)
    }
}
