//! The names and settings of a network's adapters, and which of them is active.

use std::cell::Cell;

use crate::ModelError;
use crate::config::LoraSettings;

/// The adapters of a network, in the order of their slots in its linear maps.
#[derive(Debug, Default)]
pub(crate) struct Adapters {
    list: Vec<(String, LoraSettings)>,
    active: Cell<Option<usize>>,
}

impl Adapters {
    /// The slot of the active adapter; `None` if the adapters are disabled.
    pub(crate) fn active(&self) -> Option<usize> {
        self.active.get()
    }

    /// The name of the active adapter.
    pub(crate) fn active_name(&self) -> Option<&str> {
        self.list.get(self.active.get()?).map(|(name, _)| name.as_str())
    }

    /// The names of all adapters, in the order of their slots.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.list.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The settings of an adapter.
    pub(crate) fn settings(&self, name: &str) -> Result<&LoraSettings, ModelError> {
        let slot = self.slot(name)?;
        self.list.get(slot).map(|(_, settings)| settings).ok_or_else(|| self.unknown(name))
    }

    /// Adds an adapter in the next slot.
    pub(crate) fn push(&mut self, name: &str, settings: &LoraSettings) {
        self.list.push((name.to_owned(), settings.clone()));
    }

    /// Removes the adapter of the last slot.
    pub(crate) fn pop(&mut self) {
        self.list.pop();
    }

    /// Makes the adapter `name` the active one, or disables all.
    pub(crate) fn activate(&self, name: Option<&str>) -> Result<(), ModelError> {
        self.active.set(name.map(|name| self.slot(name)).transpose()?);
        Ok(())
    }

    /// Disables all adapters, so that the base model computes. Returns the slot that was active, for
    /// [`set_active`](Self::set_active). No weights are copied.
    pub(crate) fn disable(&self) -> Option<usize> {
        self.active.replace(None)
    }

    /// Makes the adapter in `slot` the active one, or disables all.
    pub(crate) fn set_active(&self, slot: Option<usize>) {
        self.active.set(slot);
    }

    /// Runs `work` with all adapters disabled: the base model, which is a policy's reference.
    pub(crate) fn with_disabled<T>(&self, work: impl FnOnce() -> T) -> T {
        let active = self.disable();
        let result = work();
        self.set_active(active);
        result
    }

    /// The slot of the adapter `name`.
    pub(crate) fn slot(&self, name: &str) -> Result<usize, ModelError> {
        self.list.iter().position(|(known, _)| known == name).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> ModelError {
        let known = if self.list.is_empty() { "none".to_owned() } else { self.names().join(", ") };
        ModelError::NoAdapter { name: name.to_owned(), known }
    }
}
