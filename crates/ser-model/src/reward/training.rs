//! Training on preferences (Eq. 5, or any pairwise loss).

use std::path::Path;
use std::sync::Arc;

use ser_core::ndarray::aview2;
use ser_core::{
    BoxedTraining, Context, FitSummary, Learner, Pair, PairLoss, PairTarget, Preference, PreferenceStore,
    PreferenceTraining, Saving, Side, StepOutcome, Training,
};
use ser_data::TokenizedPair;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::metrics::PairMetrics;
use super::model::RewardModel;
use crate::ModelError;
use crate::network::Rows;
use crate::seeds::Seeds;
use crate::train::{CheckpointedForward, EpochOrder, Metrics, Progress, Trainer, read_state, write_state};

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

/// Preferences that are read and tokenized at a time.
const CHUNK: usize = 4096;

/// The training of a reward model's active adapter and its head, step by step.
///
/// The gradient of a step is the mean over its pairs of weight times the gradient of the pair's loss.
pub struct RewardTraining<'a> {
    model: &'a mut RewardModel,
    loss: &'a dyn PairLoss,
    data: &'a dyn PreferenceStore,
    tokens: Vec<TokenizedPair>,
    pub(super) trainer: Trainer<PairMetrics>,
    dropout: Seeds,
}

/// `trainer_state.json` of a reward model's training.
#[derive(Serialize, Deserialize)]
struct State {
    progress: Progress<PairMetrics>,
    /// How far the stream of the dropouts' seeds was read.
    dropout: u64,
}

impl<'a> RewardTraining<'a> {
    /// A training of `model` on `data`, from its present weights.
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
        let (params, settings) = (model.parameters()?, &model.settings.training);
        let trainer = Trainer::new(params, model.network.kind, settings, data.len(), seed, EpochOrder::Chained)?;
        Ok(RewardTraining { model, loss, data, tokens, trainer, dropout: Seeds::new(seed) })
    }

    /// Forward pass over some pairs of a step of `step_pairs` pairs, their loss, and the backward pass.
    fn backward(
        &self,
        examples: &[(&TokenizedPair, &Preference)],
        step_pairs: usize,
    ) -> Result<PairMetrics, ModelError> {
        let pairs: Vec<&TokenizedPair> = examples.iter().map(|(tokens, _)| *tokens).collect();
        let batch = self.model.pack(&pairs)?;
        let (network, checkpointing) = (&self.model.network, self.trainer.settings().gradient_checkpointing);
        let forward = CheckpointedForward::forward(network, batch, Rows::Last, Some(&self.dropout), checkpointing)?;
        let scores = self.model.scores_of(&forward.hidden)?;
        let values = Vec::<f32>::try_from(&scores.f_detach()?)?;
        // [A, B] as packed becomes [preferred, other] as the loss takes it, and the gradients are put back.
        let ordered: Vec<[f64; 2]> = values
            .chunks_exact(2)
            .zip(examples)
            .map(|(pair, (_, preference))| {
                let at = |side: Side| pair.get(side.index()).map_or(f64::NAN, |&r| f64::from(r));
                [at(preference.preferred), at(preference.preferred.other())]
            })
            .collect();
        let targets: Vec<PairTarget> = examples.iter().map(|(_, preference)| PairTarget::from(*preference)).collect();
        let output = self.loss.evaluate(aview2(&ordered), &targets).map_err(ModelError::Loss)?;
        // The loss is a weighted mean over this batch; the step's is over all of its pairs.
        let weight: f64 = targets.iter().map(|target| target.weight).sum();
        let factor = self.trainer.stepper.loss_factor() * weight / step_pairs as f64;
        let gradient: Vec<f32> = output
            .gradient
            .rows()
            .into_iter()
            .zip(examples)
            .flat_map(|(row, (_, preference))| {
                let by = |side: Side| row.get(usize::from(side != preference.preferred)).copied().unwrap_or(f64::NAN);
                [by(Side::A), by(Side::B)]
            })
            .map(|g| (g * factor) as f32)
            .collect();
        let gradient = Tensor::f_from_slice(&gradient)?.f_to_device(scores.device())?;
        scores.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
        forward.finish()?;
        Ok(PairMetrics::of(output.value * weight, &ordered))
    }
}

impl Training for RewardTraining<'_> {
    type Error = ModelError;

    fn done(&self) -> u64 {
        self.trainer.progress.step
    }

    fn total(&self) -> u64 {
        self.trainer.total()
    }

    fn step(&mut self) -> Result<StepOutcome, ModelError> {
        let batch = self.trainer.batch();
        let preferences = self.data.read(&batch).map_err(ModelError::Store)?;
        let tokens = batch.iter().filter_map(|&i| self.tokens.get(i));
        let examples: Vec<(&TokenizedPair, &Preference)> = tokens.zip(&preferences).collect();
        let mut metrics = PairMetrics::default();
        for part in examples.chunks(self.trainer.settings().batch_size) {
            metrics.add(&self.backward(part, examples.len())?);
        }
        let num_tokens = examples.iter().map(|(tokens, _)| tokens.packed_len() as u64).sum();
        self.trainer.step(&metrics, num_tokens)
    }

    fn saving(&self) -> Saving {
        self.trainer.settings().saving()
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.save(folder)?;
        self.trainer.stepper.save(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.load(folder)?;
        self.trainer.stepper.load(folder)
    }

    /// Writes adapter and head in PEFT's layout.
    fn save(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.model.save_adapter(folder)?;
        write_state(folder, &State { progress: self.trainer.progress.clone(), dropout: self.dropout.position() })
    }

    fn load(&mut self, folder: &Path) -> Result<(), ModelError> {
        let state: State = read_state(folder)?;
        self.trainer.resume(state.progress, folder)?;
        self.dropout.seek(state.dropout);
        self.model.restore_adapter(folder)
    }
}

impl PreferenceTraining for RewardTraining<'_> {
    fn summary(&self) -> FitSummary {
        let (loss, accuracy) = self.trainer.epoch().means();
        FitSummary { steps: self.done(), loss, accuracy }
    }
}
