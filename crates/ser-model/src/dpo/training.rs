//! Direct preference optimisation (arXiv 2305.18290): a policy out of preferences, with no reward model between.

use std::path::Path;

use ser_core::ndarray::aview2;
use ser_core::{FitSummary, PairLoss, PairTarget, PreferenceStore, PreferenceTraining, Saving, StepOutcome, Training};
use ser_data::plan_batches;
use tch::{Kind, Tensor};

use super::metrics::DpoMetrics;
use super::settings::DpoTrainingSettings;
use crate::ModelError;
use crate::adapter::DEFAULT_ADAPTER;
use crate::language_model::{CausalLm, ForwardOptions, TokenRows};
use crate::seeds::Seeds;
use crate::sft::CausalExample;
use crate::train::{EpochOrder, Metrics, Trainer, read_state, write_state};

/// A preference as two texts, the preferred one first.
struct PairTexts {
    texts: [CausalExample; 2],
    target: PairTarget,
    /// log pi_ref of both answers.
    reference: [f64; 2],
}

/// DPO of a causal language model's adapter, as a training that goes step by step. The reference is the model with its
/// adapter off.
///
/// The loss is any [`PairLoss`] over the log-ratios log pi - log pi_ref of the two answers: `ser_loss::DpoLoss` is
/// one. The gradient of a step is the mean over its pairs of weight times the gradient of the pair's loss. Reports TRL's
/// metrics: loss, rewards/chosen, rewards/rejected, rewards/accuracies, rewards/margins (beta times the log-ratios),
/// logps/chosen, logps/rejected, num_tokens, grad_norm, learning_rate, epoch; and loss_scale in f16.
pub struct DpoTraining<'a> {
    model: &'a mut CausalLm,
    loss: &'a dyn PairLoss,
    pairs: Vec<PairTexts>,
    left_out: usize,
    settings: DpoTrainingSettings,
    seed: u64,
    pub(super) trainer: Trainer<DpoMetrics>,
}

impl<'a> DpoTraining<'a> {
    /// Gives `model` a fresh adapter to train on `data`. Those with a text of more tokens than
    /// [`CausalLm::text_limit`], or with an empty answer, are left out: [`left_out`](Self::left_out) says how many.
    ///
    /// # Errors
    /// Settings that cannot be used; no preference that can be used.
    pub fn new(
        model: &'a mut CausalLm,
        data: &dyn PreferenceStore,
        loss: &'a dyn PairLoss,
        settings: &DpoTrainingSettings,
        seed: u64,
    ) -> Result<Self, ModelError> {
        settings.check()?;
        let limit = model.text_limit();
        let mut pairs = Vec::with_capacity(data.len());
        for position in 0..data.len() {
            let read = data.read(&[position]).map_err(ModelError::Store)?;
            let Some(preference) = read.first() else { continue };
            let text = |side| model.tokenizer.tokenize_completion(&preference.pair, side);
            let texts = [text(preference.preferred)?.into(), text(preference.preferred.other())?.into()];
            if texts.iter().all(|text: &CausalExample| text.tokens.len() <= limit && text.places().next().is_some()) {
                pairs.push(PairTexts { texts, target: PairTarget::from(preference), reference: [0.0; 2] });
            }
        }
        if pairs.is_empty() {
            return Err(ModelError::NoData("no preference fits the length limit"));
        }
        for pair in &mut pairs {
            let sums = tch::no_grad(|| -> Result<Tensor, ModelError> {
                let rows = model.pair_rows(&[&pair.texts], ForwardOptions::default())?;
                model.answer_log_probs(&rows, settings.average)
            })?;
            let [chosen, rejected] = [0, 1].map(|index| sums.f_double_value(&[index]));
            pair.reference = [chosen?, rejected?];
        }
        model.add_adapter(DEFAULT_ADAPTER, &settings.lora, seed)?;
        let (params, kind, settings) = (model.parameters(true)?, model.network.kind, settings.clone());
        let trainer = Trainer::new(params, kind, &settings.training, pairs.len(), seed, EpochOrder::Independent)?;
        let left_out = data.len() - pairs.len();
        Ok(DpoTraining { model, loss, pairs, left_out, settings, seed, trainer })
    }

    /// How many preferences are not trained on: they are too long, or have an empty answer.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Forward pass over some pairs of a step of `step_pairs` pairs, their loss, and the backward pass.
    fn backward(&self, part: &[&PairTexts], step_pairs: usize, dropout: &Seeds) -> Result<DpoMetrics, ModelError> {
        let texts: Vec<_> = part.iter().map(|pair| &pair.texts).collect();
        let checkpointing = self.settings.training.gradient_checkpointing;
        let rows = self.model.pair_rows(&texts, ForwardOptions { dropout: Some(dropout), checkpointing })?;
        let sums = self.model.answer_log_probs(&rows, self.settings.average)?;
        let log_probs: Vec<[f64; 2]> = Vec::<f32>::try_from(&sums.f_detach()?)?
            .chunks_exact(2)
            .filter_map(|pair| <[f32; 2]>::try_from(pair).ok())
            .map(|pair| pair.map(f64::from))
            .collect();
        let ratios: Vec<[f64; 2]> = log_probs
            .iter()
            .zip(part)
            .map(|([chosen, rejected], pair)| [chosen - pair.reference[0], rejected - pair.reference[1]])
            .collect();
        let targets: Vec<PairTarget> = part.iter().map(|pair| pair.target).collect();
        let output = self.loss.evaluate(aview2(&ratios), &targets).map_err(ModelError::Loss)?;
        // The loss is a weighted mean over this part; the step's is over all of its pairs.
        let weight: f64 = targets.iter().map(|target| target.weight).sum();
        let factor = self.trainer.stepper.loss_factor() * weight / step_pairs as f64;
        let slopes: Vec<f32> = output.gradient.iter().map(|slope| (factor * slope) as f32).collect();
        let slopes = Tensor::f_from_slice(&slopes)?.f_to_device(sums.device())?;
        sums.f_mul(&slopes)?.f_sum(Kind::Float)?.f_backward()?;
        rows.finish()?;
        Ok(DpoMetrics::of(output.value * weight, &log_probs, &ratios, self.settings.beta))
    }
}

impl CausalLm {
    /// The rows that predict the answers' tokens of pairs, chosen and rejected in turn.
    fn pair_rows(
        &self,
        pairs: &[&[CausalExample; 2]],
        options: ForwardOptions<'_>,
    ) -> Result<TokenRows<'_>, ModelError> {
        let texts = pairs.iter().flat_map(|pair| pair.iter()).map(|text| (text.tokens.as_slice(), text.places()));
        self.answer_rows(texts.collect(), options)
    }

    /// log pi of each text's answer, [texts]; its mean over tokens if `average`.
    fn answer_log_probs(&self, rows: &TokenRows<'_>, average: bool) -> Result<Tensor, ModelError> {
        let sums = self
            .token_log_probs(rows)?
            .log_probs
            .f_split_with_sizes(&rows.counts, 0)?
            .iter()
            .map(|text| if average { text.f_mean(Kind::Float) } else { text.f_sum(Kind::Float) })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Tensor::f_stack(&sums, 0)?)
    }
}

impl Training for DpoTraining<'_> {
    type Error = ModelError;

    fn done(&self) -> u64 {
        self.trainer.progress.step
    }

    fn total(&self) -> u64 {
        self.trainer.total()
    }

    fn step(&mut self) -> Result<StepOutcome, ModelError> {
        let indices = self.trainer.batch();
        let batch: Vec<&PairTexts> = indices.iter().filter_map(|&i| self.pairs.get(i)).collect();
        let dropout = Seeds::of_step(self.seed, self.done(), 0);
        let lengths: Vec<usize> = batch.iter().map(|pair| pair.texts.iter().map(|t| t.tokens.len()).sum()).collect();
        let mut metrics = DpoMetrics::default();
        for part in plan_batches(&lengths, self.model.settings.token_budget) {
            let part: Vec<&PairTexts> = part.iter().filter_map(|&i| batch.get(i).copied()).collect();
            metrics.add(&self.backward(&part, batch.len(), &dropout)?);
        }
        self.trainer.step(&metrics, lengths.iter().sum::<usize>() as u64)
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

    /// Writes the adapter in PEFT's layout.
    fn save(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.model.save_adapter(folder)?;
        write_state(folder, &self.trainer.progress)
    }

    fn load(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.trainer.resume(read_state(folder)?, folder)?;
        self.model.fill_adapter(folder)
    }
}

impl PreferenceTraining for DpoTraining<'_> {
    fn summary(&self) -> FitSummary {
        let (loss, accuracy) = self.trainer.epoch().means();
        FitSummary { steps: self.done(), loss, accuracy }
    }
}
