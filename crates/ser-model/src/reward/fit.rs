//! Training on preferences (Eq. 5, or any pairwise loss).

use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use ser_core::{Control, Event, FitSummary, Learner, Observer, Pair, PairLoss, PairTarget, Preference, Side};
use ser_data::TokenizedPair;
use tch::{Kind, Tensor};

use super::RewardModel;
use crate::ModelError;
use crate::checkpointing::Tape;
use crate::network::Rows;
use crate::optimizer::{LossScale, Optimizer};
use crate::seeds::Seeds;

impl Learner for RewardModel {
    /// AdamW on adapter and head. Reports TRL's metrics: loss, accuracy, margin, min_reward, mean_reward, max_reward,
    /// num_tokens, grad_norm, learning_rate, epoch.
    fn fit(
        &mut self,
        preferences: &[Preference],
        loss: &dyn PairLoss,
        seed: u64,
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<FitSummary, ModelError> {
        if preferences.is_empty() {
            return Err(ModelError::NoData("no preferences were given"));
        }
        let settings = self.settings.training.clone();
        let pairs: Vec<Arc<Pair>> = preferences.iter().map(|p| p.pair.clone()).collect();
        let tokens = self.tokenized(&pairs)?;
        let examples: Vec<(&TokenizedPair, &Preference)> = tokens.iter().zip(preferences).collect();
        let (batches, total) = settings.steps(examples.len());
        let started = Event::Started { stage, total: Some(total), unit: "steps" };
        if observer.observe(&started) == Control::Stop {
            return Err(ModelError::Stopped(stage.to_owned()));
        }
        let dropout = Seeds::new(seed);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        self.network.unmerge()?;
        let mut optimizer = Optimizer::new(self.trained()?, settings.optim)?;
        let mut loss_scale = LossScale::of(self.network.kind);
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let mut step = 0;
        let mut num_tokens = 0;
        let mut epoch_figures = BatchFigures::default();
        for epoch in 0..settings.epochs {
            order.shuffle(&mut rng);
            epoch_figures = BatchFigures::default();
            let mut step_figures = BatchFigures::default();
            for (i, batch) in order.chunks(settings.batch_size).enumerate() {
                let chosen: Vec<(&TokenizedPair, &Preference)> =
                    batch.iter().filter_map(|&i| examples.get(i).copied()).collect();
                // The last step of an epoch may have fewer batches.
                let group_start = i - i % settings.gradient_accumulation;
                let group = settings.gradient_accumulation.min(batches - group_start);
                let scale = loss_scale.as_ref().map_or(1.0, LossScale::scale);
                let figures = self.backward(&chosen, loss, scale / group as f64, &dropout)?;
                num_tokens += chosen.iter().map(|(t, _)| t.packed_len() as u64).sum::<u64>();
                if !figures.loss.is_finite() {
                    let learning_rate = settings.learning_rate;
                    return Err(ModelError::Diverged {
                        step: step + 1,
                        what: "the loss",
                        value: figures.loss,
                        learning_rate,
                    });
                }
                step_figures.add(&figures);
                epoch_figures.add(&figures);
                if i + 1 - group_start < group {
                    continue;
                }
                let learning_rate =
                    settings.learning_rate * settings.scheduler.factor(step, settings.warmup_steps, total);
                let finite = optimizer.unscaled(loss_scale.as_mut())?;
                let grad_norm = if finite { optimizer.step(&settings, learning_rate)? } else { f64::INFINITY };
                step += 1;
                let figures = std::mem::take(&mut step_figures);
                let values = figures.metrics(&[
                    ("num_tokens", num_tokens as f64),
                    ("grad_norm", grad_norm),
                    ("learning_rate", learning_rate),
                    ("epoch", f64::from(epoch) + (i + 1) as f64 / batches as f64),
                ]);
                let heard = [
                    observer.observe(&Event::Metrics { stage, step, values: &values }),
                    observer.observe(&Event::Advanced { stage, done: step }),
                ];
                if heard.contains(&Control::Stop) {
                    return Err(ModelError::Stopped(format!("{stage}, step {step} of {total}")));
                }
            }
        }
        let _ = observer.observe(&Event::Finished { stage });
        let (loss, accuracy) = epoch_figures.means();
        Ok(FitSummary { steps: step, loss, accuracy })
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.save_adapter(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.restore_adapter(folder)
    }
}

impl RewardModel {
    /// Forward, loss, and backward of `factor` times the loss into the leaves.
    fn backward(
        &self,
        examples: &[(&TokenizedPair, &Preference)],
        loss: &dyn PairLoss,
        factor: f64,
        dropout: &Seeds,
    ) -> Result<BatchFigures, ModelError> {
        let pairs: Vec<&TokenizedPair> = examples.iter().map(|(tokens, _)| *tokens).collect();
        let batch = self.pack(&pairs)?;
        let checkpointing = self.settings.training.gradient_checkpointing;
        let tape = Tape::forward(&self.network, &batch, Rows::Last, Some(dropout), checkpointing)?;
        let scores = self.scores_of(&tape.hidden)?;
        let values = Vec::<f32>::try_from(&scores.f_detach()?)?;
        // [A, B] as packed becomes [preferred, other] as the loss wants it, and back.
        let ordered: Vec<[f64; 2]> = values
            .chunks_exact(2)
            .zip(examples)
            .map(|(pair, (_, preference))| {
                let at = |side: Side| pair.get(side.index()).map_or(f64::NAN, |&r| f64::from(r));
                [at(preference.preferred), at(preference.preferred.other())]
            })
            .collect();
        let targets: Vec<PairTarget> = examples.iter().map(|(_, preference)| PairTarget::from(*preference)).collect();
        let output = loss.evaluate(&ordered, &targets).map_err(ModelError::Loss)?;
        let gradient: Vec<f32> = output
            .gradient
            .iter()
            .zip(examples)
            .flat_map(|(&[preferred, other], (_, preference))| match preference.preferred {
                Side::A => [preferred, other],
                Side::B => [other, preferred],
            })
            .map(|g| (g * factor) as f32)
            .collect();
        let gradient = Tensor::f_from_slice(&gradient)?.f_to_device(scores.device())?;
        scores.f_mul(&gradient)?.f_sum(Kind::Float)?.f_backward()?;
        tape.finish()?;
        Ok(BatchFigures::of(output.value, &ordered))
    }
}

/// Sums over batches, for TRL's metrics.
#[derive(Clone, Copy, Debug, Default)]
struct BatchFigures {
    batches: f64,
    loss: f64,
    pairs: f64,
    correct: f64,
    margin: f64,
    reward: f64,
    range: Option<(f64, f64)>,
}

impl BatchFigures {
    fn of(loss: f64, scores: &[[f64; 2]]) -> Self {
        let mut figures = BatchFigures { batches: 1.0, loss, pairs: scores.len() as f64, ..Self::default() };
        for &[preferred, other] in scores {
            figures.correct += f64::from(u8::from(preferred > other));
            figures.margin += preferred - other;
            figures.reward += preferred + other;
            let (low, high) = figures.range.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
            figures.range = Some((low.min(preferred).min(other), high.max(preferred).max(other)));
        }
        figures
    }

    fn add(&mut self, other: &Self) {
        self.batches += other.batches;
        self.loss += other.loss;
        self.pairs += other.pairs;
        self.correct += other.correct;
        self.margin += other.margin;
        self.reward += other.reward;
        self.range = match (self.range, other.range) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, None) | (None, one) => one,
        };
    }

    /// Mean loss over batches and accuracy over pairs.
    fn means(&self) -> (f64, f64) {
        (self.loss / self.batches, self.correct / self.pairs)
    }

    fn metrics(&self, more: &[(&'static str, f64)]) -> Vec<(&'static str, f64)> {
        let (loss, accuracy) = self.means();
        let (min, max) = self.range.unwrap_or((f64::NAN, f64::NAN));
        let mut values = vec![
            ("loss", loss),
            ("accuracy", accuracy),
            ("margin", self.margin / self.pairs),
            ("min_reward", min),
            ("mean_reward", self.reward / (2.0 * self.pairs)),
            ("max_reward", max),
        ];
        values.extend_from_slice(more);
        values
    }
}
