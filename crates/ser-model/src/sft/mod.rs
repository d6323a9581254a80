//! Supervised fine-tuning: next-token loss on answers alone (step 1 of the method).

mod example;
mod figures;
mod settings;
#[cfg(test)]
mod tests;

use std::path::Path;

use ser_core::{StepOutcome, Training};

pub use example::{CausalExample, SftExamples, sft_examples};
pub use settings::{LearntTurns, SftSettings};

use crate::adapters::DEFAULT_ADAPTER;
use crate::optimizer::Optimizer;
use crate::seeds::{Seeds, epoch_order};
use crate::sft::figures::{Figures, Progress};
use crate::trainer_state::{OPTIMIZER, read_state, write_state};
use crate::{CausalLm, ModelError, TrainingSettings};

/// SFT of a causal language model, which learns in place, as a training that goes step by step.
///
/// Texts are packed without padding and do not see each other. A step's loss is the mean over all of its tokens that
/// carry loss. Reports TRL's figures: loss, entropy, mean_token_accuracy, num_tokens, grad_norm, learning_rate, epoch,
/// and eval_loss, eval_entropy, eval_mean_token_accuracy where it looks at validation texts.
pub struct SftTraining<'a> {
    model: &'a mut CausalLm,
    examples: Vec<CausalExample>,
    validation: Vec<CausalExample>,
    settings: SftSettings,
    seed: u64,
    total: u64,
    optimizer: Optimizer,
    progress: Progress,
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
        for example in examples.iter().chain(&validation) {
            if example.places().next().is_none() {
                return Err(ModelError::NoData("a text has no token that carries loss"));
            }
            let (tokens, limit) = (example.tokens.len(), model.config().max_positions);
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
        let optimizer = Optimizer::new(model.leaves(settings.lora.is_some())?, settings.training.optim)?;
        let (_, total) = settings.training.steps(examples.len());
        let settings = settings.clone();
        Ok(SftTraining { model, examples, validation, settings, seed, total, optimizer, progress: Progress::default() })
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

    /// What came of the last epoch so far.
    pub fn summary(&self) -> ser_core::FitSummary {
        self.progress.summary()
    }

    fn training(&self) -> &TrainingSettings {
        &self.settings.training
    }

    /// Steps of an epoch.
    fn steps_per_epoch(&self) -> u64 {
        self.total / u64::from(self.training().epochs)
    }

    /// The texts of a step.
    fn batch(&self, step: u64) -> Vec<&CausalExample> {
        let per_epoch = self.steps_per_epoch();
        let size = self.training().batch_size * self.training().gradient_accumulation;
        let order = epoch_order(self.examples.len(), self.seed, step / per_epoch);
        let places = order.chunks(size).nth((step % per_epoch) as usize).unwrap_or_default();
        places.iter().filter_map(|&place| self.examples.get(place)).collect()
    }

    /// Figures on the validation texts, without training.
    fn evaluate(&self) -> Result<Figures, ModelError> {
        let texts: Vec<&CausalExample> = self.validation.iter().collect();
        let mut all = Figures::default();
        for part in self.model.portions(&texts) {
            all.add(&tch::no_grad(|| self.model.answer_figures(&part, None, None))?);
        }
        Ok(all)
    }

    fn looks_at_validation(&self) -> bool {
        let step = self.progress.step;
        let due = step.is_multiple_of(self.settings.eval_every.unwrap_or(self.steps_per_epoch()));
        !self.validation.is_empty() && (due || step == self.total)
    }
}

impl Training for SftTraining<'_> {
    type Error = ModelError;

    fn done(&self) -> u64 {
        self.progress.step
    }

    fn total(&self) -> u64 {
        self.total
    }

    fn step(&mut self) -> Result<StepOutcome, ModelError> {
        let step = self.progress.step;
        let batch = self.batch(step);
        let tokens: usize = batch.iter().map(|example| example.places().count()).sum();
        let dropout = Seeds::of_step(self.seed, step, 0);
        let mut figures = Figures::default();
        for part in self.model.portions(&batch) {
            figures.add(&self.model.answer_figures(&part, Some(1.0 / tokens as f64), Some(&dropout))?);
        }
        let num_tokens: usize = batch.iter().map(|example| example.tokens.len()).sum();
        let settings = self.training();
        let learning_rate = settings.learning_rate * settings.scheduler.factor(step, settings.warmup_steps, self.total);
        let loss = figures.loss();
        if !loss.is_finite() {
            return Err(ModelError::Diverged { step: step + 1, what: "the loss", value: loss, learning_rate });
        }
        let grad_norm = self.optimizer.step(&self.settings.training, learning_rate)?;
        let per_epoch = self.steps_per_epoch();
        self.progress.add(&figures, num_tokens as u64, per_epoch);
        let mut values = figures.values(["loss", "entropy", "mean_token_accuracy"]).to_vec();
        values.extend([
            ("num_tokens", self.progress.num_tokens as f64),
            ("grad_norm", grad_norm),
            ("learning_rate", learning_rate),
            ("epoch", self.progress.step as f64 / per_epoch as f64),
        ]);
        if self.looks_at_validation() {
            values.extend(self.evaluate()?.values(["eval_loss", "eval_entropy", "eval_mean_token_accuracy"]));
        }
        Ok(StepOutcome { values, notes: Vec::new() })
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.save(folder)?;
        self.optimizer.save(&folder.join(OPTIMIZER))
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.load(folder)?;
        self.optimizer.load(&folder.join(OPTIMIZER))
    }

    /// Writes the adapter in PEFT's layout, or the whole model as transformers loads it, its tokenizer included.
    fn save(&mut self, folder: &Path) -> Result<(), ModelError> {
        match self.settings.lora {
            Some(_) => self.model.save_adapter(folder)?,
            None => self.model.save_with_tokenizer(folder)?,
        }
        write_state(folder, &self.progress)
    }

    fn load(&mut self, folder: &Path) -> Result<(), ModelError> {
        match self.settings.lora {
            Some(_) => self.model.fill_adapter(folder)?,
            None => self.model.fill(folder)?,
        }
        self.progress = read_state(folder)?;
        Ok(())
    }
}
