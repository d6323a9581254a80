//! A language model that several processes train.

use ser_libtorch::{ProcessGroup, clear_gradients};
use tch::Tensor;

use super::causal_lm::{CausalLm, CausalLmSettings};
use crate::parallel::{self, Message, ModelToLoad, TrainedPart, Workers, broadcast_into, fingerprint};
use crate::train::Parameter;
use crate::{Device, ModelError};

impl CausalLm {
    /// Shares SFT and DPO with the processes of `workers`, which load the same model: `workers` must find its folder under the
    /// same path. Generation stays in this process.
    ///
    /// # Errors
    /// As of [`RewardModel::share_with`](crate::RewardModel::share_with).
    pub fn share_with(&mut self, workers: &Workers) -> Result<(), ModelError> {
        let folder = self.tokenizer.folder().to_owned();
        let settings = serde_json::to_value(&self.settings)
            .map_err(|error| ModelError::json(&folder, format!("settings cannot be written: {error}")))?;
        let activations = self.settings.activations.clone();
        let message = Message::LoadCausal(ModelToLoad { folder, settings, activations });
        workers.exchange(&message, |group| self.compare_base(group).map(Ok))?;
        self.workers = Some(workers.clone());
        Ok(())
    }

    /// The model that rank 0 shares by [`share_with`](Self::share_with), in another process.
    pub(crate) fn shared(load: ModelToLoad, device: Device, group: &ProcessGroup) -> Result<Self, ModelError> {
        let settings: CausalLmSettings = serde_json::from_value(load.settings)
            .map_err(|error| ModelError::Workers(format!("rank 0 has other settings of a language model: {error}")))?;
        let settings = CausalLmSettings { activations: load.activations, force_text: true, ..settings };
        let model = Self::from_folder(&load.folder, &settings, device)?;
        model.compare_base(group)?;
        Ok(model)
    }

    fn compare_base(&self, group: &ProcessGroup) -> Result<(), ModelError> {
        Ok(group.require_equal(&[("base models", fingerprint(&self.network)?)])?)
    }

    /// The active adapter, or all weights.
    pub(crate) fn trained_part(&self, adapter: bool) -> Result<TrainedPart, ModelError> {
        let adapters = &self.network.adapters;
        match adapters.active_name() {
            _ if !adapter => Ok(TrainedPart::Whole),
            Some(name) => {
                Ok(TrainedPart::Adapter { name: name.to_owned(), settings: Box::new(adapters.settings(name)?.clone()) })
            }
            None => Ok(TrainedPart::Nothing),
        }
    }

    /// Gives the other processes, if there are any, the weights of what is trained.
    pub(crate) fn send_weights(&self, part: &TrainedPart) -> Result<(), ModelError> {
        let Some(workers) = &self.workers else { return Ok(()) };
        let tensors = tensors(&self.parameters_of(part)?);
        workers.exchange(&Message::CausalWeights(part.clone()), |group| broadcast_into(group, &tensors).map(Ok))
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
        let Some(workers) = &self.workers else { return Ok(()) };
        let message = Message::CausalGradients(part.clone());
        workers.exchange(&message, |group| self.sum_gradients(part, group).map(Ok))
    }

    /// Adds the gradients of all processes up in those of rank 0, and drops them in the others.
    pub(crate) fn sum_gradients(&self, part: &TrainedPart, group: &ProcessGroup) -> Result<(), ModelError> {
        let parameters = self.parameters_of(part)?;
        parallel::reduce_gradients(group, &parameters)?;
        if group.rank() > 0 { Ok(clear_gradients(&mut tensors(&parameters))?) } else { Ok(()) }
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
