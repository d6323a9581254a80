//! Several named adapters on one network: one of them computes, or none.

use std::cell::Cell;

use tch::Tensor;

use crate::layer::Layer;
use crate::network::Network;
use crate::seeds::Seeds;
use crate::{LoraSettings, ModelError};

/// The name an adapter has where none is given, as in PEFT.
pub(crate) const DEFAULT_ADAPTER: &str = "default";

/// The adapters of a network, in the order of their places in its linear maps.
#[derive(Debug, Default)]
pub(crate) struct Adapters {
    list: Vec<(String, LoraSettings)>,
    active: Cell<Option<usize>>,
}

impl Adapters {
    /// The place of the adapter that computes.
    pub(crate) fn active(&self) -> Option<usize> {
        self.active.get()
    }

    /// The name of the adapter that computes.
    pub(crate) fn active_name(&self) -> Option<&str> {
        self.list.get(self.active.get()?).map(|(name, _)| name.as_str())
    }

    /// All names.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.list.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// The settings an adapter was made with.
    pub(crate) fn settings(&self, name: &str) -> Result<&LoraSettings, ModelError> {
        let place = self.place(name)?;
        self.list.get(place).map(|(_, settings)| settings).ok_or_else(|| self.unknown(name))
    }

    /// Lets the adapter `name` compute, or none.
    pub(crate) fn activate(&self, name: Option<&str>) -> Result<(), ModelError> {
        self.active.set(name.map(|name| self.place(name)).transpose()?);
        Ok(())
    }

    /// Lets none compute until [`resume`](Adapters::resume) gets what this returns.
    pub(crate) fn pause(&self) -> Option<usize> {
        self.active.replace(None)
    }

    /// Ends a pause.
    pub(crate) fn resume(&self, paused: Option<usize>) {
        self.active.set(paused);
    }

    /// Runs `work` with no adapter: the base model, which is PPO's reference. Costs nothing.
    pub(crate) fn disabled<T>(&self, work: impl FnOnce() -> T) -> T {
        let paused = self.pause();
        let result = work();
        self.resume(paused);
        result
    }

    fn place(&self, name: &str) -> Result<usize, ModelError> {
        self.list.iter().position(|(known, _)| known == name).ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> ModelError {
        let known = if self.list.is_empty() { "none".to_owned() } else { self.names().join(", ") };
        ModelError::NoAdapter { name: name.to_owned(), known }
    }
}

impl Network {
    /// Gives the projections that the settings name a fresh update under a new adapter's name, which then computes.
    pub(crate) fn add_adapter(&mut self, name: &str, settings: &LoraSettings, seeds: &Seeds) -> Result<(), ModelError> {
        settings.check()?;
        if self.adapters.place(name).is_ok() {
            return Err(ModelError::AdapterExists { name: name.to_owned() });
        }
        for (path, linear) in self.layers.iter_mut().flat_map(Layer::linears_mut) {
            let lora = settings.covers(path).then(|| linear.fresh_lora(settings, seeds)).transpose()?;
            linear.loras.push(lora);
        }
        self.adapters.list.push((name.to_owned(), settings.clone()));
        self.adapters.activate(Some(name))
    }

    /// An adapter's A and B under PEFT's names, without the `base_model.model.` in front.
    pub(crate) fn lora_tensors(&self, name: &str) -> Result<Vec<(String, &Tensor)>, ModelError> {
        let place = self.adapters.place(name)?;
        let mut tensors = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            for (path, linear) in layer.linears() {
                if let Some(lora) = linear.lora(place) {
                    tensors.push((format!("model.layers.{i}.{path}.lora_A.weight"), &lora.a));
                    tensors.push((format!("model.layers.{i}.{path}.lora_B.weight"), &lora.b));
                }
            }
        }
        Ok(tensors)
    }
}
