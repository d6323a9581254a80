//! Supervised fine-tuning: next-token loss on answers alone (step 1 of the method).

use std::path::Path;

use super::example::CausalExample;
use super::metrics::TokenMetrics;
use super::settings::SftSettings;
use crate::ModelError;
use crate::adapter::DEFAULT_ADAPTER;
use crate::language_model::{CausalLm, ForwardOptions};
use crate::train::{Draws, Metrics, Objective, StepInputs, StepPosition, StepSums, Trainer};

/// SFT of a causal language model, which is trained in place, step by step.
///
/// Texts are packed without padding and do not attend to each other. A step's loss is the mean over all of its tokens that
/// carry loss. All weights are trained in f32 even if the network computes in half precision. Metrics are TRL's: loss,
/// entropy, mean_token_accuracy, those of every [`Trainer`], and eval_loss, eval_entropy, eval_mean_token_accuracy after
/// steps that evaluate the validation texts.
pub type SftTraining<'a> = Trainer<SftObjective<'a>>;

/// The passes of SFT.
pub struct SftObjective<'a> {
    model: &'a mut CausalLm,
    examples: Vec<CausalExample>,
    validation: Vec<CausalExample>,
    settings: SftSettings,
}

impl<'a> SftTraining<'a> {
    /// A training of `model`: of a fresh adapter if the settings name one, else of all weights.
    ///
    /// # Errors
    /// Settings that cannot be used, texts in which no token carries loss, texts that are longer than the model's positions.
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
            if example.loss_positions().next().is_none() {
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
        let (kind, count) = (model.network.kind, examples.len());
        let objective = SftObjective { model, examples, validation, settings: settings.clone() };
        Trainer::with_objective(objective, params, kind, &settings.training, count, seed, Draws::PerStep)
    }

    /// A fingerprint of the texts, by which a resumed run recognizes them.
    pub fn fingerprint(&self) -> String {
        let SftObjective { examples, validation, .. } = &self.objective;
        // FNV-1a.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut take = |number: u64| hash = (hash ^ number).wrapping_mul(0x0100_0000_01b3);
        for text in examples.iter().chain(validation) {
            text.tokens.iter().for_each(|token| take(u64::from(*token)));
            text.loss_positions().for_each(|position| take(position as u64));
        }
        format!("{} texts, {} to look at, {hash:016x}", examples.len(), validation.len())
    }
}

impl Objective for SftObjective<'_> {
    type Metrics = TokenMetrics;

    const NAME: &'static str = "sft";

    fn accumulate(&self, indices: &[usize], inputs: &StepInputs<'_>) -> Result<StepSums<TokenMetrics>, ModelError> {
        let batch: Vec<&CausalExample> = indices.iter().filter_map(|&i| self.examples.get(i)).collect();
        let tokens: usize = batch.iter().map(|example| example.loss_positions().count()).sum();
        let checkpointing = inputs.settings.gradient_checkpointing;
        let options = ForwardOptions {
            dropout: Some(inputs.dropout),
            checkpointing,
            repeated: true,
            ..ForwardOptions::default()
        };
        // One mean over the step's tokens, whatever the forward passes are.
        let weight = inputs.loss_factor / tokens as f64;
        let trained = self.model.trained_part(self.settings.lora.is_some())?;
        self.model.send_weights(&trained)?;
        let mut metrics = TokenMetrics::default();
        for part in self.model.token_batches(&batch) {
            metrics.add(&self.model.token_metrics_of_all(&part, Some(weight), options)?);
        }
        self.model.reduce_gradients(&trained)?;
        let num_tokens: usize = batch.iter().map(|example| example.tokens.len()).sum();
        Ok(StepSums { metrics, num_tokens: num_tokens as u64 })
    }

    fn evaluate(&self, after: StepPosition) -> Result<Vec<(&'static str, f64)>, ModelError> {
        let every = self.settings.eval_every.unwrap_or(after.per_epoch);
        let due = after.done.is_multiple_of(every) || after.done == after.total;
        if self.validation.is_empty() || !due {
            return Ok(Vec::new());
        }
        let texts: Vec<&CausalExample> = self.validation.iter().collect();
        self.model.send_weights(&self.model.trained_part(self.settings.lora.is_some())?)?;
        let mut all = TokenMetrics::default();
        for part in self.model.token_batches(&texts) {
            let options = ForwardOptions { repeated: true, ..ForwardOptions::default() };
            all.add(&tch::no_grad(|| self.model.token_metrics_of_all(&part, None, options))?);
        }
        Ok(all.named(["eval_loss", "eval_entropy", "eval_mean_token_accuracy"]).to_vec())
    }

    /// Writes the adapter in PEFT's layout, or the whole model as transformers loads it, its tokenizer included.
    fn save_weights(&mut self, folder: &Path) -> Result<(), ModelError> {
        match self.settings.lora {
            Some(_) => self.model.save_adapter(folder),
            None => self.model.save_with_tokenizer(folder),
        }
    }

    fn load_weights(&mut self, folder: &Path) -> Result<(), ModelError> {
        match self.settings.lora {
            Some(_) => self.model.restore_adapter(folder),
            None => self.model.restore_weights(folder),
        }
    }
}
