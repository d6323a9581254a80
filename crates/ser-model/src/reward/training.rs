//! Training on preferences (Eq. 5, or any pairwise loss).

use std::path::Path;
use std::sync::Arc;

use ser_core::{
    BoxedTraining, Context, FitSummary, Learner, Pair, PairLoss, PairTarget, Preference, PreferenceStore, Side,
    Training,
};
use ser_data::TokenizedPair;

use super::metrics::PairMetrics;
use super::model::RewardModel;
use super::step::StepPart;
use crate::ModelError;
use crate::parallel::{TrainedPart, Work};
use crate::train::{Draws, Metrics, Objective, ScoredPair, StepInputs, StepSums, Trainer, pair_loss_gradient};

impl Learner for RewardModel {
    /// Trains adapter and head. Reports TRL's metrics: loss, accuracy, margin, min_reward, mean_reward, max_reward,
    /// num_tokens, grad_norm, learning_rate, epoch; and loss_scale in f16.
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, ModelError> {
        let mut training = RewardTraining::new(self, data, loss, cx.seed())?;
        training.run(cx)?;
        Ok(training.summary())
    }

    fn training<'a>(
        &'a mut self,
        data: &'a dyn PreferenceStore,
        loss: &'a dyn PairLoss,
        seed: u64,
    ) -> Result<Option<BoxedTraining<'a, ModelError>>, ModelError> {
        Ok(Some(Box::new(RewardTraining::new(self, data, loss, seed)?)))
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.save_adapter(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.restore_adapter(folder)
    }
}

/// The number of preferences that are read and tokenized at a time.
const CHUNK: usize = 4096;

/// The training of a reward model's active adapter and its head, step by step.
///
/// The gradient of a step is the mean over its pairs of weight times the gradient of the pair's loss. Metrics: loss,
/// accuracy, margin, min_reward, mean_reward, max_reward, and those of every [`Trainer`].
pub type RewardTraining<'a> = Trainer<RewardObjective<'a>>;

/// The passes of a reward model's training.
pub struct RewardObjective<'a> {
    model: &'a mut RewardModel,
    loss: &'a dyn PairLoss,
    data: &'a dyn PreferenceStore,
    tokens: Vec<TokenizedPair>,
}

impl<'a> RewardTraining<'a> {
    /// A training of `model` on `data`, from its current weights.
    ///
    /// # Errors
    /// [`ModelError::NoData`] without preferences, [`ModelError::Store`] if they cannot be read,
    /// [`ModelError::NoActiveAdapter`] without an active adapter, and texts that cannot be tokenized.
    pub fn new(
        model: &'a mut RewardModel,
        data: &'a dyn PreferenceStore,
        loss: &'a dyn PairLoss,
        seed: u64,
    ) -> Result<Self, ModelError> {
        if data.is_empty() {
            return Err(ModelError::NoData("no preferences were given"));
        }
        let mut tokens = Vec::with_capacity(data.len());
        for start in (0..data.len()).step_by(CHUNK) {
            let chunk = data.read_range(start..(start + CHUNK).min(data.len())).map_err(ModelError::Store)?;
            let pairs: Vec<Arc<Pair>> = chunk.into_iter().map(|preference| preference.pair).collect();
            tokens.extend(model.tokenized(&pairs)?);
        }
        model.network.unmerge()?;
        let (params, kind, settings) = (model.parameters()?, model.network.kind, model.settings.training.clone());
        let objective = RewardObjective { model, loss, data, tokens };
        Trainer::with_objective(objective, params, kind, &settings, data.len(), seed, Draws::Sequential)
    }
}

impl RewardObjective<'_> {
    /// Forward pass over some pairs of a step of `step_pairs` pairs, their loss, and the backward pass.
    fn backward(
        &self,
        examples: &[(&TokenizedPair, &Preference)],
        step_pairs: usize,
        inputs: &StepInputs<'_>,
    ) -> Result<PairMetrics, ModelError> {
        let pairs: Vec<&TokenizedPair> = examples.iter().map(|(tokens, _)| *tokens).collect();
        let part = StepPart { dropout: inputs.dropout, checkpointing: inputs.settings.gradient_checkpointing };
        let loss = |scores: &[f32]| self.loss(scores, examples, step_pairs, inputs.loss_factor);
        if let Some(shared) = &self.model.shared {
            return self.model.shared_passes(shared, &pairs, part, loss);
        }
        let pass = self.model.forward_pairs(&pairs, None, part)?;
        let (metrics, gradient) = loss(&pass.scores()?)?;
        pass.backward(&gradient)?;
        Ok(metrics)
    }

    /// The metrics of pairs with these scores, A and B of each, and the gradient of their loss.
    fn loss(
        &self,
        scores: &[f32],
        examples: &[(&TokenizedPair, &Preference)],
        step_pairs: usize,
        loss_factor: f64,
    ) -> Result<(PairMetrics, Vec<f32>), ModelError> {
        let scored: Vec<ScoredPair> = scores
            .chunks_exact(2)
            .zip(examples)
            .map(|(pair, (_, preference))| {
                let at = |side: Side| pair.get(side.index()).map_or(f64::NAN, |&r| f64::from(r));
                ScoredPair {
                    scores: [at(preference.preferred), at(preference.preferred.other())],
                    swapped: preference.preferred == Side::B,
                    target: PairTarget::from(*preference),
                }
            })
            .collect();
        let (loss, gradient) = pair_loss_gradient(self.loss, &scored, step_pairs, loss_factor)?;
        Ok((PairMetrics::new(loss, scored.iter().map(|pair| pair.scores)), gradient))
    }
}

impl Objective for RewardObjective<'_> {
    type Metrics = PairMetrics;

    const NAME: &'static str = "reward";

    fn accumulate(&self, indices: &[usize], inputs: &StepInputs<'_>) -> Result<StepSums<PairMetrics>, ModelError> {
        let preferences = self.data.read(indices).map_err(ModelError::Store)?;
        let tokens = indices.iter().filter_map(|&i| self.tokens.get(i));
        let examples: Vec<(&TokenizedPair, &Preference)> = tokens.zip(&preferences).collect();
        if let Some(shared) = &self.model.shared {
            self.model.send_weights(shared)?;
        }
        let mut metrics = PairMetrics::default();
        for part in examples.chunks(inputs.settings.batch_size) {
            metrics.add(&self.backward(part, examples.len(), inputs)?);
        }
        if let Some(shared) = &self.model.shared {
            let work = Work::Gradients(TrainedPart::active(&self.model.network)?);
            shared.exchange(&work, |group| self.model.sum_gradients(group).map(Ok))?;
        }
        let num_tokens = examples.iter().map(|(tokens, _)| tokens.packed_len() as u64).sum();
        Ok(StepSums { metrics, num_tokens })
    }

    /// Writes adapter and head in PEFT's layout.
    fn save_weights(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.model.save_adapter(folder)
    }

    fn load_weights(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.model.restore_adapter(folder)
    }
}
