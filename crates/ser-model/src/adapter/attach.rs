//! Named adapters on one network; at most one is active.

use tch::Tensor;

use crate::ModelError;
use crate::checkpoint::AdapterSource;
use crate::config::{LoraSettings, Targets};
use crate::network::{AdapterDelta, BaseLinear, Layer, Linear, Network};

impl Network {
    /// Adds an adapter with updates of the projections that the settings name, and makes it the active one.
    pub(crate) fn add_adapter(
        &mut self,
        name: &str,
        settings: &LoraSettings,
        source: &mut dyn AdapterSource,
    ) -> Result<(), ModelError> {
        let settings = &settings.for_network(self.config.layers)?;
        if self.adapters.slot(name).is_ok() {
            return Err(ModelError::AdapterExists { name: name.to_owned() });
        }
        let targets = Targets::new(settings)?;
        let modules: Vec<String> = self.linears().map(|(module, _)| module).collect();
        let specs = modules.iter().map(|module| targets.spec(module)).collect::<Result<Vec<_>, _>>()?;
        if specs.iter().all(Option::is_none) {
            return Err(ModelError::NoTarget { name: name.to_owned() });
        }
        let linears = self.layers.iter().flat_map(Layer::linears).map(|(_, linear)| linear);
        let mut deltas = Vec::with_capacity(modules.len());
        for ((linear, module), spec) in linears.zip(&modules).zip(specs) {
            let (out, input) = linear.weight.size2()?;
            let base = BaseLinear {
                shape: [out, input],
                device: linear.weight.device(),
                weight: Some(&linear.weight),
                bias: linear.bias.as_ref(),
            };
            deltas.push(AdapterDelta::new(module, &base, spec, settings, source)?);
        }
        // Added last, so that an error above leaves the network unchanged.
        for ((_, linear), delta) in self.layers.iter_mut().flat_map(Layer::linears_mut).zip(deltas) {
            linear.add_delta(delta);
        }
        self.adapters.push(name, settings);
        self.adapters.activate(Some(name))
    }

    /// Undoes the last [`add_adapter`](Self::add_adapter) and makes the adapter in slot `active` the active one.
    pub(crate) fn remove_last_adapter(&mut self, active: Option<usize>) {
        self.layers.iter_mut().flat_map(Layer::linears_mut).for_each(|(_, linear)| linear.remove_last_delta());
        self.adapters.pop();
        self.adapters.set_active(active);
    }

    /// The tensors that an adapter trains, under PEFT's names without the prefix `base_model.model.`. All are f32.
    pub(crate) fn adapter_tensors(&self, name: &str) -> Result<Vec<(String, &Tensor)>, ModelError> {
        let slot = self.adapters.slot(name)?;
        let mut tensors = Vec::new();
        for (module, linear) in self.linears() {
            let Some(delta) = linear.delta(slot) else { continue };
            if let Some(lora) = &delta.lora {
                tensors.push((format!("{module}.lora_A.weight"), &lora.a));
                tensors.push((format!("{module}.lora_B.weight"), &lora.b));
                tensors.extend(lora.bias.as_ref().map(|bias| (format!("{module}.lora_B.bias"), bias)));
                let magnitude = lora.magnitude.as_ref();
                tensors.extend(magnitude.map(|m| (format!("{module}.lora_magnitude_vector"), m)));
            }
            let name = AdapterDelta::bias_name(&module, delta.lora.is_some());
            tensors.extend(delta.bias.as_ref().map(|bias| (name, bias)));
        }
        Ok(tensors)
    }

    /// Adds the active adapter to a copy of each weight that it changes, until [`unmerge`](Self::unmerge). Forward passes
    /// are faster, at the cost of the copies' memory. The base weights do not change. Do not train a merged adapter.
    pub(crate) fn merge(&mut self) -> Result<(), ModelError> {
        let slot = self.adapters.active().ok_or(ModelError::NoActiveAdapter)?;
        self.set_merged(Some(slot))
    }

    /// Drops the copies that [`merge`](Self::merge) made.
    pub(crate) fn unmerge(&mut self) -> Result<(), ModelError> {
        self.set_merged(None)
    }

    /// Whether a map has the copy of a merged adapter.
    pub(crate) fn is_merged(&self) -> bool {
        self.linears().any(|(_, linear)| linear.is_merged())
    }

    fn set_merged(&mut self, slot: Option<usize>) -> Result<(), ModelError> {
        let linears = self.layers.iter_mut().flat_map(Layer::linears_mut);
        tch::no_grad(|| linears.map(|(_, linear)| linear).try_for_each(|linear| linear.merge(slot)))
    }

    /// The linear maps by their full names, such as `model.layers.0.self_attn.q_proj`.
    fn linears(&self) -> impl Iterator<Item = (String, &Linear)> {
        self.layers.iter().enumerate().flat_map(|(i, layer)| {
            layer.linears().map(move |(path, linear)| (format!("model.layers.{i}.{path}"), linear))
        })
    }
}
