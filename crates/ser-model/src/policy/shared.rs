//! A policy that several processes train: their rollouts, and the passes of PPO.

use ser_core::ndarray::Array1;
use ser_core::{Context, Response, Rollout, Sampling};
use ser_data::balance;
use ser_libtorch::ProcessGroup;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::evaluate::PolicyPass;
use super::model::PolicyModel;
use super::settings::PolicySettings;
use crate::generate::{GenerateOptions, occurrences};
use crate::language_model::{CausalLm, CausalLmSettings, ForwardOptions};
use crate::parallel::{
    ModelKind, ModelToLoad, RolloutRequest, SharedModel, TextRequest, TrainedPart, Work, Workers, broadcast_into,
    compare_base, gather_bytes, sum_gradients,
};
use crate::seeds::Seeds;
use crate::sft::{CausalExample, examples_of, options_of, places_of, request_of, share};
use crate::train::Parameter;
use crate::{Device, ModelError};

/// The settings of a policy and its language model in [`ModelToLoad`].
#[derive(Serialize, Deserialize)]
struct SharedSettings {
    model: CausalLmSettings,
    policy: PolicySettings,
}

/// A rollout among processes. The numbers are the bits of f32, whatever they are.
#[derive(Serialize, Deserialize)]
struct RolloutRecord {
    prompt: usize,
    response: Response,
    log_probs: Vec<u32>,
    reference_log_probs: Vec<u32>,
    full_kl: Option<Vec<u32>>,
    values: Vec<u32>,
}

impl From<&Rollout> for RolloutRecord {
    fn from(rollout: &Rollout) -> Self {
        let bits = |numbers: &Array1<f64>| numbers.iter().map(|number| (*number as f32).to_bits()).collect();
        RolloutRecord {
            prompt: rollout.prompt,
            response: rollout.response.clone(),
            log_probs: bits(&rollout.log_probs),
            reference_log_probs: bits(&rollout.reference_log_probs),
            full_kl: rollout.full_kl.as_ref().map(bits),
            values: bits(&rollout.values),
        }
    }
}

impl RolloutRecord {
    fn rollout(self, request: &RolloutRequest) -> Rollout {
        let numbers = |bits: Vec<u32>| bits.into_iter().map(|bits| f64::from(f32::from_bits(bits))).collect();
        Rollout {
            prompt: self.prompt,
            prompt_tokens: request.prompts.get(self.prompt).cloned().unwrap_or_default(),
            response: self.response,
            min_new_tokens: request.sampling.min_new_tokens,
            log_probs: numbers(self.log_probs),
            reference_log_probs: numbers(self.reference_log_probs),
            full_kl: self.full_kl.map(numbers),
            values: numbers(self.values),
        }
    }
}

impl PolicyModel {
    /// Shares rollouts and PPO's passes with the processes of `workers`, which load the same base model: `workers` must find its
    /// folder under the same path. Answers that are not trained on stay in this process.
    ///
    /// # Errors
    /// As of [`RewardModel::share_with`](crate::RewardModel::share_with).
    pub fn share_with(&mut self, workers: &Workers) -> Result<(), ModelError> {
        let CausalLm { tokenizer, settings, network, .. } = &self.model;
        let both = SharedSettings { model: settings.clone(), policy: self.settings.clone() };
        let load = ModelToLoad::new(ModelKind::Policy, tokenizer.folder(), &both, &settings.activations)?;
        self.shared = Some(SharedModel::new(workers, load, network)?);
        self.weights_sent.set(false);
        Ok(())
    }

    /// The policy that rank 0 shares by [`share_with`](Self::share_with), in another process.
    pub(crate) fn shared(load: &ModelToLoad, device: Device, group: &ProcessGroup) -> Result<Self, ModelError> {
        let SharedSettings { model, policy } = load.settings()?;
        let model = CausalLmSettings { activations: load.activations.clone(), force_text: true, ..model };
        let policy = PolicyModel::new(CausalLm::from_folder(&load.folder, &model, device)?, &policy)?;
        compare_base(group, &policy.model.network)?;
        Ok(policy)
    }

    /// Gives the other processes the weights, unless they have them.
    fn send_weights(&self, shared: &SharedModel) -> Result<(), ModelError> {
        if !self.weights_sent.get() {
            let work = Work::Weights { part: TrainedPart::active(&self.model.network)?, merged: false };
            shared.exchange(&work, |group| self.broadcast_weights(group).map(Ok))?;
            self.weights_sent.set(true);
        }
        Ok(())
    }

    /// Makes the weights of adapter and value head those of rank 0, in every process.
    pub(crate) fn broadcast_weights(&self, group: &ProcessGroup) -> Result<(), ModelError> {
        let tensors: Vec<Tensor> = self.trained()?.into_iter().map(|parameter| parameter.tensor).collect();
        broadcast_into(group, &tensors)
    }

    /// Adds the gradients of all processes, if there are others, up in those of this one, rank 0.
    pub(super) fn reduce_gradients(&self) -> Result<(), ModelError> {
        let Some(shared) = &self.shared else { return Ok(()) };
        let work = Work::Gradients(TrainedPart::active(&self.model.network)?);
        shared.exchange(&work, |group| self.sum_gradients(group).map(Ok))
    }

    /// The part of every process in [`reduce_gradients`](Self::reduce_gradients).
    pub(crate) fn sum_gradients(&self, group: &ProcessGroup) -> Result<(), ModelError> {
        sum_gradients(group, &self.trained()?)
    }

    /// The parameters of adapter and value head.
    fn trained(&self) -> Result<Vec<Parameter>, ModelError> {
        let adapter = self.model.network.adapters.active_name().ok_or(ModelError::NoActiveAdapter)?;
        let adapter = self.model.network.adapter_tensors(adapter)?;
        let mut parameters: Vec<Parameter> =
            adapter.into_iter().map(|(name, tensor)| Parameter::new(name, tensor)).collect();
        parameters.extend(self.values.named().map(|(name, tensor)| Parameter::new(name, tensor)));
        Ok(parameters)
    }

    /// One rollout per prompt, in order: each process answers a share of them.
    pub(super) fn shared_rollout(
        &self,
        shared: &SharedModel,
        prompts: Vec<Vec<u32>>,
        sampling: &Sampling,
        full_kl: bool,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Rollout>, ModelError> {
        cx.start(Some(prompts.len() as u64), "answers")?;
        self.send_weights(shared)?;
        let ranks = balance(&prompts.iter().map(Vec::len).collect::<Vec<usize>>(), shared.size());
        let (occurrences, sampling) = (occurrences(&prompts), sampling.clone());
        let work = Work::Rollout(RolloutRequest { prompts, occurrences, ranks, sampling, full_kl });
        shared.exchange(&work, |group| {
            let Work::Rollout(request) = &work else { return Ok(Ok(Vec::new())) };
            let own = self.own_rollouts(request, 0, cx);
            // Also after a request to stop: the others wait for it.
            let mut all = self.gather_rollouts(group, request, own.as_deref().unwrap_or_default())?;
            all.sort_by_key(|rollout| rollout.prompt);
            Ok(own.map(|_| all))
        })
    }

    /// The part of another rank than 0 in [`shared_rollout`](Self::shared_rollout).
    pub(crate) fn rollout_part(&self, request: &RolloutRequest, group: &ProcessGroup) -> Result<(), ModelError> {
        let own = self.own_rollouts(request, group.rank(), &mut Context::silent())?;
        self.gather_rollouts(group, request, &own).map(|_| ())
    }

    fn own_rollouts(
        &self,
        request: &RolloutRequest,
        rank: usize,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Rollout>, ModelError> {
        let indices: Vec<usize> = (0..request.prompts.len()).filter(|&i| request.ranks.get(i) == Some(&rank)).collect();
        let prompts: Vec<Vec<u32>> = indices.iter().filter_map(|&i| request.prompts.get(i).cloned()).collect();
        let occurrences = indices.iter().filter_map(|&i| request.occurrences.get(i).copied()).collect();
        let answers =
            self.model.sample_among(&prompts, occurrences, &request.sampling, GenerateOptions::default(), cx)?;
        let mut rollouts = Vec::with_capacity(prompts.len());
        for ((prompt, prompt_tokens), answers) in indices.into_iter().zip(prompts).zip(answers) {
            let min_new_tokens = request.sampling.min_new_tokens;
            rollouts.extend(answers.into_iter().map(|answer| Rollout {
                prompt,
                prompt_tokens: prompt_tokens.clone(),
                response: answer.response,
                min_new_tokens,
                ..Rollout::default()
            }));
        }
        self.rollout_log_probs(&mut rollouts, request.full_kl)?;
        Ok(rollouts)
    }

    fn gather_rollouts(
        &self,
        group: &ProcessGroup,
        request: &RolloutRequest,
        own: &[Rollout],
    ) -> Result<Vec<Rollout>, ModelError> {
        let problem = |error: serde_json::Error| ModelError::Workers(format!("a rollout cannot be sent: {error}"));
        let records: Vec<RolloutRecord> = own.iter().map(RolloutRecord::from).collect();
        let mut all = Vec::new();
        for bytes in gather_bytes(group, &serde_json::to_vec(&records).map_err(problem)?)? {
            let records: Vec<RolloutRecord> = serde_json::from_slice(&bytes).map_err(problem)?;
            all.extend(records.into_iter().map(|record| record.rollout(request)));
        }
        Ok(all)
    }

    /// The passes of all processes over a mini-batch. `gradient` is that of the objective by the numbers of all rollouts.
    pub(super) fn shared_pass(
        &self,
        shared: &SharedModel,
        mini_batch: &[&Rollout],
        options: ForwardOptions<'_>,
        gradient: impl FnOnce(&[f32]) -> Result<Vec<f32>, ModelError>,
    ) -> Result<(), ModelError> {
        let texts: Vec<CausalExample> = mini_batch.iter().map(|rollout| example(rollout)).collect();
        let weights: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
        let ranks = balance(&weights, shared.size());
        let (request, mut tokens) = request_of(&texts.iter().collect::<Vec<_>>(), ranks, options);
        let (places, mine) = (places_of(&request, 0), share(mini_batch, &request, 0));
        let min_new_tokens = mini_batch.iter().map(|rollout| rollout.min_new_tokens).collect();
        let work = Work::MiniBatch { request, min_new_tokens };
        self.send_weights(shared)?;
        shared.exchange(&work, |group| {
            let Work::MiniBatch { request, .. } = &work else { return Ok(Ok(())) };
            group.broadcast(&mut tokens, 0)?;
            let pass = self.forward(&mine, ForwardOptions { places: Some(&places), ..options })?;
            let numbers = sum_numbers(group, Some(&pass), request)?;
            let (result, gradient) = match gradient(&numbers) {
                Ok(gradient) => (Ok(()), gradient),
                // The others wait for a gradient.
                Err(error) => (Err(error), vec![0.0; numbers.len()]),
            };
            group.broadcast(&mut Tensor::from_slice(&gradient), 0)?;
            pass.backward(&of_rank(&gradient, request, 0))?;
            Ok(result)
        })
    }

    /// The part of another rank than 0 in [`shared_pass`](Self::shared_pass).
    pub(crate) fn mini_batch_part(
        &self,
        request: &TextRequest,
        min_new_tokens: &[usize],
        group: &ProcessGroup,
    ) -> Result<(), ModelError> {
        let rollouts: Vec<Rollout> = examples_of(group, request)?
            .into_iter()
            .zip(min_new_tokens)
            .map(|(text, &min_new_tokens)| {
                let start = text.loss_ranges.first().map_or(0, |range| range.start);
                let (prompt, answer) = text.tokens.split_at(start.min(text.tokens.len()));
                let response = Response { tokens: answer.to_vec(), ..Response::default() };
                Rollout { prompt_tokens: prompt.to_vec(), response, min_new_tokens, ..Rollout::default() }
            })
            .collect();
        let mine = share(&rollouts.iter().collect::<Vec<_>>(), request, group.rank());
        let (places, seeds) = (places_of(request, group.rank()), request.seeds.as_ref().map(Seeds::from_state));
        // Rollouts come once: what is computed below the adapter is not kept.
        let options = ForwardOptions { repeated: false, ..options_of(request, seeds.as_ref(), &places) };
        let pass = if mine.is_empty() { None } else { Some(self.forward(&mine, options)?) };
        let mut gradient = Tensor::from_slice(&sum_numbers(group, pass.as_ref(), request)?);
        group.broadcast(&mut gradient, 0)?;
        match pass {
            Some(pass) => pass.backward(&of_rank(&Vec::<f32>::try_from(&gradient)?, request, group.rank())),
            None => Ok(()),
        }
    }
}

/// The text of a rollout, whose answer carries loss.
fn example(rollout: &Rollout) -> CausalExample {
    let tokens = [rollout.prompt_tokens.as_slice(), &rollout.response.tokens].concat();
    let answer = rollout.prompt_tokens.len()..tokens.len();
    CausalExample { tokens, loss_ranges: vec![answer] }
}

/// The numbers of each text, three per token of its answer, and its rank.
fn numbers_of(request: &TextRequest) -> impl Iterator<Item = (usize, usize)> {
    let count = |ranges: &[std::ops::Range<usize>]| 3 * ranges.iter().map(ExactSizeIterator::len).sum::<usize>();
    request.texts.iter().zip(&request.ranks).map(move |((_, ranges), rank)| (count(ranges), *rank))
}

/// The numbers of a rank's texts.
fn of_rank(all: &[f32], request: &TextRequest, rank: usize) -> Vec<f32> {
    let (mut own, mut start) = (Vec::new(), 0);
    for (count, of) in numbers_of(request) {
        if of == rank {
            own.extend(all.get(start..start + count).unwrap_or_default());
        }
        start += count;
    }
    own
}

/// The numbers of all texts, of which this process has computed those of its share.
fn sum_numbers(
    group: &ProcessGroup,
    pass: Option<&PolicyPass<'_>>,
    request: &TextRequest,
) -> Result<Vec<f32>, ModelError> {
    let mut own = pass.map(PolicyPass::numbers).transpose()?.unwrap_or_default().into_iter();
    let mut all = Vec::new();
    for (count, rank) in numbers_of(request) {
        let mine = rank == group.rank();
        all.extend((0..count).map(|_| if mine { own.next().unwrap_or(f32::NAN) } else { 0.0 }));
    }
    // The sum of a number and zeros is exact.
    let mut all = Tensor::from_slice(&all);
    group.all_reduce_sum(&mut all)?;
    Ok(Vec::<f32>::try_from(&all)?)
}
