//! A language model as PPO's policy: an adapter and a value head, the reference being the model without them.

use std::path::Path;

use super::settings::PolicySettings;
use super::value_head::ValueHead;
use crate::ModelError;
use crate::adapter::DEFAULT_ADAPTER;
use crate::language_model::CausalLm;
use crate::seeds::Seeds;
use crate::train::{Parameter, Stepper};
use ser_core::{Context, Generator, Message, Objective, Policy, Response, Rollout, Sampling};

/// A causal language model that PPO can steer.
///
/// What is trained are a LoRA adapter and a value head, one number from the same hidden state that the next token is
/// predicted from. The reference is the same network with its adapter off, so it takes no memory of its own.
pub struct PolicyModel {
    pub(super) model: CausalLm,
    pub(super) values: ValueHead,
    pub(super) stepper: Stepper,
    pub(super) settings: PolicySettings,
    /// Mini-batches accumulated since the last step: their dropouts differ.
    accumulated: u64,
}

impl PolicyModel {
    /// Gives a model a fresh adapter, under which it still is its reference, and a value head that says 0.
    pub fn new(mut model: CausalLm, settings: &PolicySettings) -> Result<Self, ModelError> {
        settings.check()?;
        model.add_adapter(DEFAULT_ADAPTER, &settings.lora, settings.seed)?;
        let values = ValueHead::zero(model.config().hidden_size, model.network.device)?;
        let mut params = model.parameters(true)?;
        params.extend(values.named().map(|(name, tensor)| Parameter::new(name, tensor)));
        let stepper = Stepper::new(params, &settings.training(), model.network.kind)?;
        Ok(PolicyModel { model, values, stepper, settings: settings.clone(), accumulated: 0 })
    }

    /// The language model, with the adapter on.
    pub fn model(&self) -> &CausalLm {
        &self.model
    }

    /// The language model back, with the adapter on.
    pub fn into_model(self) -> CausalLm {
        self.model
    }

    /// Runs `work` with the adapter off: what answers then is the reference.
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

/// In f16 the loss is scaled. A [`step`](Policy::step) whose gradients overflow is left out: it returns infinity as their
/// norm, and the scale is lowered.
impl Policy for PolicyModel {
    fn rollout(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        full_kl: bool,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Rollout>, ModelError> {
        let answers = self.model.generate(prompts, &Sampling { samples_per_prompt: 1, ..sampling.clone() }, cx)?;
        let mut rollouts = Vec::with_capacity(prompts.len());
        for (place, (prompt, answers)) in prompts.iter().zip(answers).enumerate() {
            for response in answers {
                let prompt_tokens = self.model.tokenize_prompt(prompt)?;
                let min_new_tokens = sampling.min_new_tokens;
                rollouts.push(Rollout { prompt: place, prompt_tokens, response, min_new_tokens, ..Rollout::default() });
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
        Ok(self.stepper.step(learning_rate)?.grad_norm)
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
        self.model.fill_adapter(folder)?;
        self.values.load(folder)?;
        self.accumulated = 0;
        self.stepper.load(folder)
    }
}
