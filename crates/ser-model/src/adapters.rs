//! Several named adapters on one network: one of them computes, or none.

use std::cell::Cell;

use tch::Tensor;

use crate::layer::Layer;
use crate::lora::{BaseMap, Change, Linear};
use crate::network::Network;
use crate::source::AdapterSource;
use crate::targets::Targets;
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

    /// Lets none compute, which is the base model and PPO's reference, until [`resume`](Adapters::resume) gets what this
    /// returns. Costs nothing.
    pub(crate) fn pause(&self) -> Option<usize> {
        self.active.replace(None)
    }

    /// Ends a pause.
    pub(crate) fn resume(&self, paused: Option<usize>) {
        self.active.set(paused);
    }

    /// Runs `work` with no adapter: the base model, which is a policy's reference. Costs nothing.
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
    /// Gives the projections that the settings name an update under a new adapter's name, which then computes.
    pub(crate) fn add_adapter(
        &mut self,
        name: &str,
        settings: &LoraSettings,
        source: &mut dyn AdapterSource,
    ) -> Result<(), ModelError> {
        settings.check()?;
        if self.adapters.place(name).is_ok() {
            return Err(ModelError::AdapterExists { name: name.to_owned() });
        }
        let targets = Targets::new(settings)?;
        let modules: Vec<String> = self.linears().map(|(module, _)| module).collect();
        let updates = modules.iter().map(|module| targets.update(module)).collect::<Result<Vec<_>, _>>()?;
        if updates.iter().all(Option::is_none) {
            return Err(ModelError::NoTarget { name: name.to_owned() });
        }
        let linears = self.layers.iter().flat_map(Layer::linears).map(|(_, linear)| linear);
        let mut changes = Vec::with_capacity(modules.len());
        for ((linear, module), update) in linears.zip(&modules).zip(updates) {
            let (out, input) = linear.weight.size2()?;
            let base = BaseMap {
                shape: [out, input],
                device: linear.weight.device(),
                weight: Some(&linear.weight),
                bias: linear.bias.as_ref(),
            };
            changes.push(Change::new(module, &base, update, settings, source)?);
        }
        // Only now, so that a file that does not fit leaves the network as it was.
        for ((_, linear), change) in self.layers.iter_mut().flat_map(Layer::linears_mut).zip(changes) {
            linear.add_change(change);
        }
        self.adapters.list.push((name.to_owned(), settings.clone()));
        self.adapters.activate(Some(name))
    }

    /// Takes back the last [`add_adapter`](Self::add_adapter); the adapter at `active` computes again.
    pub(crate) fn remove_last_adapter(&mut self, active: Option<usize>) {
        self.layers.iter_mut().flat_map(Layer::linears_mut).for_each(|(_, linear)| linear.remove_last_change());
        self.adapters.list.pop();
        self.adapters.resume(active);
    }

    /// What an adapter trains, under PEFT's names without the `base_model.model.` in front. All f32.
    pub(crate) fn adapter_tensors(&self, name: &str) -> Result<Vec<(String, &Tensor)>, ModelError> {
        let place = self.adapters.place(name)?;
        let mut tensors = Vec::new();
        for (module, linear) in self.linears() {
            let Some(change) = linear.change(place) else { continue };
            if let Some(lora) = &change.lora {
                tensors.push((format!("{module}.lora_A.weight"), &lora.a));
                tensors.push((format!("{module}.lora_B.weight"), &lora.b));
                tensors.extend(lora.bias.as_ref().map(|bias| (format!("{module}.lora_B.bias"), bias)));
                let magnitude = lora.magnitude.as_ref();
                tensors.extend(magnitude.map(|m| (format!("{module}.lora_magnitude_vector"), m)));
            }
            let name = Change::bias_name(&module, change.lora.is_some());
            tensors.extend(change.bias.as_ref().map(|bias| (name, bias)));
        }
        Ok(tensors)
    }

    /// Works the active adapter into a copy of each weight it changes, until [`unmerge`](Self::unmerge): faster, for
    /// their memory. The base's own weights stay as they are. It must not be trained meanwhile.
    pub(crate) fn merge(&mut self) -> Result<(), ModelError> {
        let place = self.adapters.active().ok_or(ModelError::NoActiveAdapter)?;
        self.set_merged(Some(place))
    }

    /// Drops what [`merge`](Self::merge) made.
    pub(crate) fn unmerge(&mut self) -> Result<(), ModelError> {
        self.set_merged(None)
    }

    fn set_merged(&mut self, place: Option<usize>) -> Result<(), ModelError> {
        let linears = self.layers.iter_mut().flat_map(Layer::linears_mut);
        tch::no_grad(|| linears.map(|(_, linear)| linear).try_for_each(|linear| linear.merge(place)))
    }

    /// The linear maps by their whole names, such as `model.layers.0.self_attn.q_proj`.
    fn linears(&self) -> impl Iterator<Item = (String, &Linear)> {
        self.layers.iter().enumerate().flat_map(|(i, layer)| {
            layer.linears().map(move |(path, linear)| (format!("model.layers.{i}.{path}"), linear))
        })
    }
}
