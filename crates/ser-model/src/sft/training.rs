//! Supervised fine-tuning: next-token loss on answers alone (step 1 of the method).

use std::path::Path;

use ser_core::{Saving, StepOutcome, Training};

use super::example::CausalExample;
use super::metrics::TokenMetrics;
use super::settings::SftSettings;
use crate::ModelError;
use crate::adapter::DEFAULT_ADAPTER;
use crate::language_model::{CausalLm, ForwardOptions};
use crate::seeds::Seeds;
use crate::train::{EpochOrder, Metrics, Trainer, read_state, write_state};

/// SFT of a causal language model, which is trained in place, step by step.
///
/// Texts are packed without padding and do not see each other. A step's loss is the mean over all of its tokens that
/// carry loss. All weights are trained in f32 even if the network computes in half precision. Reports TRL's metrics:
/// loss, entropy, mean_token_accuracy, num_tokens, grad_norm, learning_rate, epoch, and eval_loss, eval_entropy,
/// eval_mean_token_accuracy after steps that evaluate the validation texts; and loss_scale in f16.
pub struct SftTraining<'a> {
    model: &'a mut CausalLm,
    examples: Vec<CausalExample>,
    validation: Vec<CausalExample>,
    settings: SftSettings,
    seed: u64,
    pub(super) trainer: Trainer<TokenMetrics>,
}

impl<'a> SftTraining<'a> {
    /// A training of `model`: of a fresh adapter if the settings name one, else of all weights.
    ///
    /// # Errors
    /// Settings that cannot be used, no token to learn, texts that are longer than the model's positions.
    pub fn new(
        model: &'a mut CausalLm,
        examples: Vec<CausalExample>,
        validation: Vec<CausalExample>,
        settings: &SftSettings,
        seed: u64,
    ) -> Result<Self, ModelError> {
        settings.check()?;
        let limit = model.config().longest_text();
        for example in examples.iter().chain(&validation) {
            if example.places().next().is_none() {
                return Err(ModelError::NoData("a text has no token that carries loss"));
            }
            let tokens = example.tokens.len();
            if tokens as i64 > limit {
                return Err(ModelError::TooLong { tokens, limit });
            }
        }
        if examples.is_empty() {
            return Err(ModelError::NoData("no text has a token that carries loss"));
        }
        if let Some(lora) = &settings.lora {
            model.add_adapter(DEFAULT_ADAPTER, lora, seed)?;
        }
        let params = model.parameters(settings.lora.is_some())?;
        let (kind, settings) = (model.network.kind, settings.clone());
        let trainer = Trainer::new(params, kind, &settings.training, examples.len(), seed, EpochOrder::Independent)?;
        Ok(SftTraining { model, examples, validation, settings, seed, trainer })
    }

    /// What tells these texts from others, for a run that is to be resumed on the same ones.
    pub fn fingerprint(&self) -> String {
        // FNV-1a.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |number: u64| hash = (hash ^ number).wrapping_mul(0x0100_0000_01b3);
        for text in self.examples.iter().chain(&self.validation) {
            text.tokens.iter().for_each(|token| take(u64::from(*token)));
            text.places().for_each(|place| take(place as u64));
        }
        format!("{} texts, {} to look at, {hash:016x}", self.examples.len(), self.validation.len())
    }

    /// The summary of the last epoch so far.
    pub fn summary(&self) -> ser_core::FitSummary {
        self.trainer.epoch().summary(self.done())
    }

    /// Metrics on the validation texts, without training.
    fn evaluate(&self) -> Result<TokenMetrics, ModelError> {
        let texts: Vec<&CausalExample> = self.validation.iter().collect();
        let mut all = TokenMetrics::default();
        for part in self.model.portions(&texts) {
            all.add(&tch::no_grad(|| self.model.token_metrics(&part, None, ForwardOptions::default()))?);
        }
        Ok(all)
    }

    fn evaluation_is_due(&self) -> bool {
        let step = self.done();
        let due = step.is_multiple_of(self.settings.eval_every.unwrap_or(self.trainer.steps_per_epoch()));
        !self.validation.is_empty() && (due || step == self.total())
    }
}

impl Training for SftTraining<'_> {
    type Error = ModelError;

    fn done(&self) -> u64 {
        self.trainer.progress.step
    }

    fn total(&self) -> u64 {
        self.trainer.total()
    }

    fn step(&mut self) -> Result<StepOutcome, ModelError> {
        let indices = self.trainer.batch();
        let batch: Vec<&CausalExample> = indices.iter().filter_map(|&i| self.examples.get(i)).collect();
        let tokens: usize = batch.iter().map(|example| example.places().count()).sum();
        let dropout = Seeds::of_step(self.seed, self.done(), 0);
        let options =
            ForwardOptions { dropout: Some(&dropout), checkpointing: self.settings.training.gradient_checkpointing };
        // One mean over the step's tokens, however the texts are cut into forward passes.
        let weight = self.trainer.stepper.loss_factor() / tokens as f64;
        let mut metrics = TokenMetrics::default();
        for part in self.model.portions(&batch) {
            metrics.add(&self.model.token_metrics(&part, Some(weight), options)?);
        }
        let num_tokens: usize = batch.iter().map(|example| example.tokens.len()).sum();
        let mut outcome = self.trainer.step(&metrics, num_tokens as u64)?;
        if self.evaluation_is_due() {
            let names = ["eval_loss", "eval_entropy", "eval_mean_token_accuracy"];
            outcome.values.extend(self.evaluate()?.named(names));
        }
        Ok(outcome)
    }

    fn saving(&self) -> Saving {
        self.settings.training.saving()
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.save(folder)?;
        self.trainer.stepper.save(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.load(folder)?;
        self.trainer.stepper.load(folder)
    }

    /// Writes the adapter in PEFT's layout, or the whole model as transformers loads it, its tokenizer included.
    fn save(&mut self, folder: &Path) -> Result<(), ModelError> {
        match self.settings.lora {
            Some(_) => self.model.save_adapter(folder)?,
            None => self.model.save_with_tokenizer(folder)?,
        }
        write_state(folder, &self.trainer.progress)
    }

    fn load(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.trainer.resume(read_state(folder)?, folder)?;
        match self.settings.lora {
            Some(_) => self.model.fill_adapter(folder),
            None => self.model.fill(folder),
        }
    }
}
