//! A language model that several processes train.

use ser_libtorch::ProcessGroup;
use tch::Tensor;

use super::causal_lm::{CausalLm, CausalLmSettings};
use crate::parallel::{
    ModelKind, ModelToLoad, SharedModel, TrainedPart, Work, Workers, broadcast_into, compare_base, sum_gradients,
};
use crate::train::Parameter;
use crate::{Device, ModelError};

impl CausalLm {
    /// Shares SFT and DPO with the processes of `workers`, which load the same model: `workers` must find its folder under the
    /// same path. Generation stays in this process.
    ///
    /// # Errors
    /// As of [`RewardModel::share_with`](crate::RewardModel::share_with).
    pub fn share_with(&mut self, workers: &Workers) -> Result<(), ModelError> {
        let activations = &self.settings.activations;
        let load = ModelToLoad::new(ModelKind::Causal, self.tokenizer.folder(), &self.settings, activations)?;
        self.shared = Some(SharedModel::new(workers, load, &self.network)?);
        Ok(())
    }

    /// The model that rank 0 shares by [`share_with`](Self::share_with), in another process.
    pub(crate) fn shared(load: &ModelToLoad, device: Device, group: &ProcessGroup) -> Result<Self, ModelError> {
        let settings: CausalLmSettings = load.settings()?;
        let settings = CausalLmSettings { activations: load.activations.clone(), force_text: true, ..settings };
        let model = Self::from_folder(&load.folder, &settings, device)?;
        compare_base(group, &model.network)?;
        Ok(model)
    }

    /// The active adapter, or all weights.
    pub(crate) fn trained_part(&self, adapter: bool) -> Result<TrainedPart, ModelError> {
        if adapter { TrainedPart::active(&self.network) } else { Ok(TrainedPart::Whole) }
    }

    /// Gives the other processes, if there are any, the weights of what is trained.
    pub(crate) fn send_weights(&self, part: &TrainedPart) -> Result<(), ModelError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let work = Work::Weights { part: part.clone(), merged: false };
        shared.exchange(&work, |group| broadcast_into(group, &tensors(&self.parameters_of(part)?)).map(Ok))
    }

    /// Takes over the weights that rank 0 gives.
    pub(crate) fn receive_weights(&mut self, part: &TrainedPart, group: &ProcessGroup) -> Result<(), ModelError> {
        match part {
            TrainedPart::Adapter { name, settings } => {
                if !self.network.adapters.names().contains(&name.as_str()) {
                    // Its weights come now.
                    self.add_adapter(name, settings, 0)?;
                }
                self.network.adapters.activate(Some(name))?;
            }
            TrainedPart::Whole => drop(self.parameters(false)?),
            TrainedPart::Nothing => self.network.adapters.activate(None)?,
        }
        let parameters = self.parameters_of(part)?;
        for parameter in &parameters {
            let _ = parameter.tensor.f_set_requires_grad(true)?;
        }
        broadcast_into(group, &tensors(&parameters))
    }

    /// Adds the gradients of all processes up in those of this one, rank 0.
    pub(crate) fn reduce_gradients(&self, part: &TrainedPart) -> Result<(), ModelError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        shared.exchange(&Work::Gradients(part.clone()), |group| self.sum_gradients(part, group).map(Ok))
    }

    /// The part of every process in [`reduce_gradients`](Self::reduce_gradients).
    pub(crate) fn sum_gradients(&self, part: &TrainedPart, group: &ProcessGroup) -> Result<(), ModelError> {
        sum_gradients(group, &self.parameters_of(part)?)
    }

    fn parameters_of(&self, part: &TrainedPart) -> Result<Vec<Parameter>, ModelError> {
        let tensors = match part {
            TrainedPart::Adapter { name, .. } => self.network.adapter_tensors(name)?,
            TrainedPart::Whole => self.network.tensors(),
            TrainedPart::Nothing => Vec::new(),
        };
        Ok(tensors.into_iter().map(|(name, tensor)| Parameter::new(name, tensor)).collect())
    }
}

fn tensors(parameters: &[Parameter]) -> Vec<Tensor> {
    parameters.iter().map(|parameter| parameter.tensor.shallow_clone()).collect()
}
