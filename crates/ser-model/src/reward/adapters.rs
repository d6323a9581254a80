//! The adapters of a reward model, each with its own head.

use std::path::Path;

use tch::Tensor;

use super::model::RewardModel;
use crate::adapter::{load_adapter, restore_adapter, save_adapter};
use crate::checkpoint::{FreshAdapter, TextRecord};
use crate::seeds::Seeds;
use crate::train::Parameter;
use crate::{LoraSettings, ModelError};

impl RewardModel {
    /// The names of its adapters. A new model has one, `default`.
    pub fn adapters(&self) -> Vec<&str> {
        self.network.adapters.names()
    }

    /// The active adapter, which scores, is trained and is saved.
    pub fn active_adapter(&self) -> Option<&str> {
        self.network.adapters.active_name()
    }

    /// Makes another adapter the active one, with its own head.
    pub fn set_adapter(&mut self, name: &str) -> Result<(), ModelError> {
        self.network.adapters.activate(Some(name))
    }

    /// Adds a fresh adapter with a copy of the base model's head and makes it the active one.
    pub fn add_adapter(&mut self, name: &str, settings: &LoraSettings, seed: u64) -> Result<(), ModelError> {
        let device = self.network.device;
        self.network.add_adapter(name, settings, &mut FreshAdapter { seeds: &Seeds::new(seed), device })?;
        self.heads.insert(name.to_owned(), self.base_head.f_detach_copy()?);
        Ok(())
    }

    /// Adds the adapter of a folder in PEFT's layout under a name and makes it the active one.
    ///
    /// # Errors
    /// As [`with_adapter`](Self::with_adapter).
    pub fn load_adapter(&mut self, folder: &Path, name: &str) -> Result<(), ModelError> {
        self.check_text(folder)?;
        let _span = tracing::debug_span!("load_adapter", folder = %folder.display(), name).entered();
        let head = load_adapter(folder, &mut self.network, name)?;
        let head = head.map_or_else(|| self.base_head.f_detach_copy(), Ok)?;
        self.heads.insert(name.to_owned(), head);
        Ok(())
    }

    /// Runs `work` with the adapters disabled: the base model with its own head.
    pub fn with_adapter_disabled<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let active = self.network.adapters.disable();
        let result = work(self);
        self.network.adapters.set_active(active);
        result
    }

    /// Writes the active adapter and its head into a folder, in PEFT's layout, and `ser.json`, the record of the text settings.
    pub fn save_adapter(&self, folder: &Path) -> Result<(), ModelError> {
        save_adapter(folder, &self.network, self.active()?, Some(self.head()), &self.folder.to_string_lossy())?;
        TextRecord::new(&self.tokenizer)?.write(folder)
    }

    fn check_text(&self, folder: &Path) -> Result<(), ModelError> {
        if self.settings.force_text { Ok(()) } else { TextRecord::check(folder, &self.tokenizer) }
    }

    /// Adds the active adapter to a copy of the weights that it changes, so that scoring is faster, until
    /// [`unmerge_adapter`](Self::unmerge_adapter) or the next fit. The base weights do not change.
    pub fn merge_adapter(&mut self) -> Result<(), ModelError> {
        self.network.merge()
    }

    /// Drops the copies of [`merge_adapter`](Self::merge_adapter). Scores equal those before it bit for bit.
    pub fn unmerge_adapter(&mut self) -> Result<(), ModelError> {
        self.network.unmerge()
    }

    /// Restores the files of [`save_adapter`](Self::save_adapter) into the active adapter.
    pub(super) fn restore_adapter(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.check_text(folder)?;
        self.network.unmerge()?;
        let name = self.active()?.to_owned();
        let loaded = restore_adapter(folder, &self.network, &name)?;
        if let (Some(loaded), Some(head)) = (loaded, self.heads.get_mut(&name)) {
            tch::no_grad(|| head.f_copy_(&loaded))?;
        }
        Ok(())
    }

    /// The head that scores: the active adapter's, else the base model's. [1, hidden] in f32.
    pub(super) fn head(&self) -> &Tensor {
        self.active_adapter().and_then(|name| self.heads.get(name)).unwrap_or(&self.base_head)
    }

    /// The trained parameters: those of the active adapter, then its head.
    pub(super) fn parameters(&self) -> Result<Vec<Parameter>, ModelError> {
        let tensors = self.network.adapter_tensors(self.active()?)?;
        let head = ("score.weight".to_owned(), self.head());
        Ok(tensors.into_iter().chain([head]).map(|(name, tensor)| Parameter::new(name, tensor)).collect())
    }

    fn active(&self) -> Result<&str, ModelError> {
        self.active_adapter().ok_or(ModelError::NoActiveAdapter)
    }
}
