//! Direct preference optimisation (arXiv 2305.18290): a policy out of preferences, with no reward model between.

use std::path::Path;

use ser_core::{PairLoss, PairTarget, PreferenceStore};
use ser_data::plan_batches;
use tch::{Kind, Tensor};

use super::metrics::DpoMetrics;
use super::settings::DpoTrainingSettings;
use crate::ModelError;
use crate::adapter::DEFAULT_ADAPTER;
use crate::language_model::{CausalLm, ForwardOptions, TokenRows};
use crate::sft::CausalExample;
use crate::train::{
    Draws, Metrics, Objective, ScoredPair, StepInputs, StepSums, Trainer, backward_scores, pair_loss_gradient,
};

/// Pairs whose reference's log-probabilities are computed at a time.
const REFERENCES: usize = 64;

/// A preference as two texts, the preferred one first.
struct PairTexts {
    texts: [CausalExample; 2],
    target: PairTarget,
    /// log pi_ref of both answers.
    reference: [f64; 2],
}

/// DPO of a causal language model's adapter, step by step. The reference is the model with its adapter disabled.
///
/// The loss is any [`PairLoss`] over the log-ratios log pi - log pi_ref of the two answers, such as `ser_loss::DpoLoss`.
/// The gradient of a step is the mean over its pairs of weight times the gradient of the pair's loss. Metrics are TRL's:
/// loss, rewards/chosen, rewards/rejected, rewards/accuracies, rewards/margins (beta times the log-ratios), logps/chosen,
/// logps/rejected, and those of every [`Trainer`].
pub type DpoTraining<'a> = Trainer<DpoObjective<'a>>;

/// The passes of DPO.
pub struct DpoObjective<'a> {
    model: &'a mut CausalLm,
    loss: &'a dyn PairLoss,
    pairs: Vec<PairTexts>,
    left_out: usize,
    settings: DpoTrainingSettings,
}

impl<'a> DpoTraining<'a> {
    /// Adds a fresh adapter to `model`, to be trained on `data`. Preferences with a text of more tokens than
    /// [`CausalLm::text_limit`], or with an empty answer, are left out: [`left_out`](Self::left_out) counts them.
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
            let usable = |text: &CausalExample| text.tokens.len() <= limit && text.loss_positions().next().is_some();
            if texts.iter().all(usable) {
                pairs.push(PairTexts { texts, target: PairTarget::from(preference), reference: [0.0; 2] });
            }
        }
        if pairs.is_empty() {
            return Err(ModelError::NoData("no preference fits the length limit"));
        }
        let left_out = data.len() - pairs.len();
        if left_out > 0 {
            tracing::warn!(left_out, of = data.len(), "DPO leaves out preferences that are too long or empty");
        }
        let before = model.network.adapters.active();
        model.add_adapter(DEFAULT_ADAPTER, &settings.lora, seed)?;
        // The new adapter exists already, so what is computed below it is kept for its training.
        let active = model.network.adapters.active();
        model.network.adapters.set_active(before);
        let references = model.references(&mut pairs, settings.average);
        model.network.adapters.set_active(active);
        if let Err(error) = references {
            model.network.remove_last_adapter(before);
            return Err(error);
        }
        let (params, kind, count) = (model.parameters(true)?, model.network.kind, pairs.len());
        let objective = DpoObjective { model, loss, pairs, left_out, settings: settings.clone() };
        Trainer::with_objective(objective, params, kind, &settings.training, count, seed, Draws::PerStep)
    }

    /// The number of preferences that are not trained on: they are too long, or have an empty answer.
    pub fn left_out(&self) -> usize {
        self.objective.left_out
    }
}

impl DpoObjective<'_> {
    /// Forward pass over some pairs of a step of `step_pairs` pairs, their loss, and the backward pass.
    fn backward(
        &self,
        part: &[&PairTexts],
        step_pairs: usize,
        inputs: &StepInputs<'_>,
    ) -> Result<DpoMetrics, ModelError> {
        let texts: Vec<_> = part.iter().map(|pair| &pair.texts).collect();
        let checkpointing = inputs.settings.gradient_checkpointing;
        let options = ForwardOptions {
            dropout: Some(inputs.dropout),
            checkpointing,
            repeated: true,
            ..ForwardOptions::default()
        };
        let loss = |log_probs: &[f32]| self.loss(log_probs, part, step_pairs, inputs.loss_factor);
        if let Some(shared) = &self.model.shared {
            return self.model.shared_pair_passes(shared, &texts, self.settings.average, options, loss);
        }
        let rows = self.model.pair_rows(&texts, options)?;
        let sums = self.model.answer_log_probs(&rows, self.settings.average)?;
        let (metrics, gradient) = loss(&Vec::<f32>::try_from(&sums.f_detach()?)?)?;
        backward_scores(&sums, &gradient)?;
        rows.finish()?;
        Ok(metrics)
    }

    /// The metrics of pairs with these log-probabilities, chosen and rejected, and the gradient of their loss.
    fn loss(
        &self,
        log_probs: &[f32],
        part: &[&PairTexts],
        step_pairs: usize,
        loss_factor: f64,
    ) -> Result<(DpoMetrics, Vec<f32>), ModelError> {
        let log_probs: Vec<[f64; 2]> = log_probs
            .chunks_exact(2)
            .filter_map(|pair| <[f32; 2]>::try_from(pair).ok())
            .map(|pair| pair.map(f64::from))
            .collect();
        let scored: Vec<ScoredPair> = log_probs
            .iter()
            .zip(part)
            .map(|([chosen, rejected], pair)| ScoredPair {
                scores: [chosen - pair.reference[0], rejected - pair.reference[1]],
                swapped: false,
                target: pair.target,
            })
            .collect();
        let (loss, gradient) = pair_loss_gradient(self.loss, &scored, step_pairs, loss_factor)?;
        let ratios: Vec<[f64; 2]> = scored.iter().map(|pair| pair.scores).collect();
        Ok((DpoMetrics::new(loss, &log_probs, &ratios, self.settings.beta), gradient))
    }
}

impl CausalLm {
    /// Computes log pi_ref of all pairs, with the adapter that is active.
    fn references(&self, pairs: &mut [PairTexts], average: bool) -> Result<(), ModelError> {
        self.send_weights(&self.trained_part(true)?)?;
        for pairs in pairs.chunks_mut(REFERENCES) {
            let texts: Vec<&[CausalExample; 2]> = pairs.iter().map(|pair| &pair.texts).collect();
            let sums = match &self.shared {
                Some(shared) => self.shared_log_probs(shared, &texts, average)?,
                None => match self.log_probs_of_each(&texts, average)? {
                    Some(sums) => Vec::<f32>::try_from(&sums)?,
                    None => Vec::new(),
                },
            };
            for (pair, sums) in pairs.iter_mut().zip(sums.chunks_exact(2)) {
                if let [chosen, rejected] = sums {
                    pair.reference = [f64::from(*chosen), f64::from(*rejected)];
                }
            }
        }
        Ok(())
    }

    /// The rows that predict the answers' tokens of pairs, chosen and rejected in turn.
    pub(super) fn pair_rows(
        &self,
        pairs: &[&[CausalExample; 2]],
        options: ForwardOptions<'_>,
    ) -> Result<TokenRows<'_>, ModelError> {
        let texts =
            pairs.iter().flat_map(|pair| pair.iter()).map(|text| (text.tokens.as_slice(), text.loss_positions()));
        self.answer_rows(texts.collect(), options)
    }

    /// log pi of each text's answer, [texts]; its mean over tokens if `average`.
    pub(super) fn answer_log_probs(&self, rows: &TokenRows<'_>, average: bool) -> Result<Tensor, ModelError> {
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

impl Objective for DpoObjective<'_> {
    type Metrics = DpoMetrics;

    const NAME: &'static str = "dpo";

    fn accumulate(&self, indices: &[usize], inputs: &StepInputs<'_>) -> Result<StepSums<DpoMetrics>, ModelError> {
        let batch: Vec<&PairTexts> = indices.iter().filter_map(|&i| self.pairs.get(i)).collect();
        let lengths: Vec<usize> = batch.iter().map(|pair| pair.texts.iter().map(|t| t.tokens.len()).sum()).collect();
        let trained = self.model.trained_part(true)?;
        self.model.send_weights(&trained)?;
        let mut metrics = DpoMetrics::default();
        for part in plan_batches(&lengths, self.model.settings.token_budget) {
            let part: Vec<&PairTexts> = part.iter().filter_map(|&i| batch.get(i).copied()).collect();
            metrics.add(&self.backward(&part, batch.len(), inputs)?);
        }
        self.model.reduce_gradients(&trained)?;
        Ok(StepSums { metrics, num_tokens: lengths.iter().sum::<usize>() as u64 })
    }

    /// Writes the adapter in PEFT's layout.
    fn save_weights(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.model.save_adapter(folder)
    }

    fn load_weights(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.model.restore_adapter(folder)
    }
}
