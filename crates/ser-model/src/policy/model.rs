//! The policy of PPO over a language model.

use std::cell::Cell;
use std::path::Path;

use super::settings::PolicySettings;
use super::value_head::ValueHead;
use crate::ModelError;
use crate::adapter::DEFAULT_ADAPTER;
use crate::language_model::CausalLm;
use crate::parallel::SharedModel;
use crate::seeds::Seeds;
use crate::train::{Parameter, Stepper};
use ser_core::{Context, Generator, Message, Objective, Policy, Response, Rollout, Sampling};

/// A causal language model as PPO's policy.
///
/// PPO trains a LoRA adapter and a value head, which computes one number from the hidden state that predicts the next token.
/// The reference is the same network with its adapter disabled, so it needs no memory of its own.
pub struct PolicyModel {
    pub(super) model: CausalLm,
    pub(super) values: ValueHead,
    pub(super) stepper: Stepper,
    pub(super) settings: PolicySettings,
    /// The number of mini-batches accumulated since the last step, from which their dropouts are drawn.
    accumulated: u64,
    /// The same policy in other processes, which train with this one.
    pub(super) shared: Option<SharedModel>,
    /// Whether they have the present weights.
    pub(super) weights_sent: Cell<bool>,
}

impl PolicyModel {
    /// Adds a fresh adapter, with which the policy equals its reference, and a zero-initialised value head.
    pub fn new(mut model: CausalLm, settings: &PolicySettings) -> Result<Self, ModelError> {
        settings.check()?;
        model.add_adapter(DEFAULT_ADAPTER, &settings.lora, settings.seed)?;
        let values = ValueHead::zero(model.config().hidden_size, model.network.device)?;
        let mut params = model.parameters(true)?;
        params.extend(values.named().map(|(name, tensor)| Parameter::new(name, tensor)));
        let stepper = Stepper::new(params, &settings.training(), model.network.kind)?;
        Ok(PolicyModel {
            model,
            values,
            stepper,
            settings: settings.clone(),
            accumulated: 0,
            shared: None,
            weights_sent: Cell::new(false),
        })
    }

    /// The language model, with the adapter active.
    pub fn model(&self) -> &CausalLm {
        &self.model
    }

    /// Returns the language model, with the adapter active.
    pub fn into_model(self) -> CausalLm {
        self.model
    }

    /// Runs `work` with the adapter disabled: the reference generates then.
    pub fn with_adapter_disabled<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let active = self.model.network.adapters.disable();
        let result = work(self);
        self.model.network.adapters.set_active(active);
        result
    }
}

impl Generator for PolicyModel {
    type Error = ModelError;

    fn generate(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Vec<Response>>, ModelError> {
        self.model.generate(prompts, sampling, cx)
    }
}

/// In f16 the loss is scaled. A [`step`](Policy::step) whose gradients overflow is skipped: it returns infinity as their norm
/// and lowers the scale.
impl Policy for PolicyModel {
    fn rollout(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        full_kl: bool,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Rollout>, ModelError> {
        let _span = tracing::debug_span!("rollout", prompts = prompts.len()).entered();
        let sampling = &Sampling { samples_per_prompt: 1, ..sampling.clone() };
        if let Some(shared) = &self.shared {
            let tokens = prompts.iter().map(|prompt| self.model.tokenize_prompt(prompt)).collect::<Result<_, _>>()?;
            return self.shared_rollout(shared, tokens, sampling, full_kl, cx);
        }
        let answers = self.model.generate(prompts, sampling, cx)?;
        let mut rollouts = Vec::with_capacity(prompts.len());
        for (i, (prompt, answers)) in prompts.iter().zip(answers).enumerate() {
            for response in answers {
                let prompt_tokens = self.model.tokenize_prompt(prompt)?;
                let min_new_tokens = sampling.min_new_tokens;
                rollouts.push(Rollout { prompt: i, prompt_tokens, response, min_new_tokens, ..Rollout::default() });
            }
        }
        self.rollout_log_probs(&mut rollouts, full_kl)?;
        Ok(rollouts)
    }

    fn accumulate(
        &mut self,
        mini_batch: &[&Rollout],
        weight: f64,
        objective: &mut Objective<'_>,
    ) -> Result<(), ModelError> {
        let dropout = Seeds::of_step(self.settings.seed, self.stepper.steps(), self.accumulated);
        self.accumulated += 1;
        self.backward(mini_batch, self.stepper.loss_factor() * weight, objective, &dropout)
    }

    fn step(&mut self, learning_rate: f64) -> Result<f64, ModelError> {
        self.accumulated = 0;
        let _span =
            tracing::debug_span!("training_step", training = "policy", step = self.stepper.steps() + 1).entered();
        self.reduce_gradients()?;
        self.weights_sent.set(false);
        let grad_norm = self.stepper.step(learning_rate)?.grad_norm;
        tracing::debug!(grad_norm, learning_rate, "optimizer step");
        Ok(grad_norm)
    }

    fn end_tokens(&self) -> Vec<u32> {
        self.model.stop_ids().to_vec()
    }

    /// Adapter in PEFT's layout, value head, optimizer.
    fn snapshot(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.model.save_adapter(folder)?;
        self.values.save(folder)?;
        self.stepper.save(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.model.restore_adapter(folder)?;
        self.values.load(folder)?;
        self.accumulated = 0;
        self.weights_sent.set(false);
        self.stepper.load(folder)
    }
}
