//! Direct preference optimisation (arXiv 2305.18290): a policy out of preferences, with no reward model between.

mod settings;
#[cfg(test)]
mod tests;

use std::path::Path;

use ser_core::{PairLoss, PairTarget, Preference, StepOutcome, Training};
use ser_data::plan_batches;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

pub use settings::DpoTrainingSettings;

use crate::adapters::DEFAULT_ADAPTER;
use crate::optimizer::Optimizer;
use crate::seeds::{Seeds, epoch_order};
use crate::trainer_state::{OPTIMIZER, read_state, write_state};
use crate::{CausalExample, CausalLm, ModelError};

/// A preference as two texts, the preferred one first.
struct PairTexts {
    texts: [CausalExample; 2],
    target: PairTarget,
    /// log pi_ref of both answers.
    reference: [f64; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Progress {
    step: u64,
    num_tokens: u64,
}

/// DPO of a causal language model's adapter, as a training that goes step by step. The reference is the model with its
/// adapter off.
///
/// The loss is any [`PairLoss`] over the log-ratios log pi - log pi_ref of the two answers: `ser_loss::DpoLoss` is
/// one. Reports TRL's figures: loss, rewards/chosen, rewards/rejected, rewards/accuracies, rewards/margins (beta
/// times the log-ratios), logps/chosen, logps/rejected, num_tokens, grad_norm, learning_rate, epoch.
pub struct DpoTraining<'a> {
    model: &'a mut CausalLm,
    loss: &'a dyn PairLoss,
    pairs: Vec<PairTexts>,
    settings: DpoTrainingSettings,
    seed: u64,
    total: u64,
    optimizer: Optimizer,
    progress: Progress,
}

impl<'a> DpoTraining<'a> {
    /// Gives `model` a fresh adapter to train on `preferences`. Those with a text of more tokens than the tokenizer's
    /// `max_length` are left out.
    ///
    /// # Errors
    /// Settings that cannot be used; no preference that fits.
    pub fn new(
        model: &'a mut CausalLm,
        preferences: &[Preference],
        loss: &'a dyn PairLoss,
        settings: &DpoTrainingSettings,
        seed: u64,
    ) -> Result<Self, ModelError> {
        settings.check()?;
        let limit = model.text_limit();
        let mut pairs = Vec::with_capacity(preferences.len());
        for preference in preferences {
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
            let sums = tch::no_grad(|| model.answer_log_probs(&[&pair.texts], settings.average, None))?;
            pair.reference = two(&sums)?;
        }
        model.add_adapter(DEFAULT_ADAPTER, &settings.lora, seed)?;
        let optimizer = Optimizer::new(model.leaves(true)?, settings.training.optim)?;
        let (_, total) = settings.training.steps(pairs.len());
        let (settings, progress) = (settings.clone(), Progress::default());
        Ok(DpoTraining { model, loss, pairs, settings, seed, total, optimizer, progress })
    }

    fn batch(&self, step: u64) -> Vec<&PairTexts> {
        let training = &self.settings.training;
        let per_epoch = self.total / u64::from(training.epochs);
        let order = epoch_order(self.pairs.len(), self.seed, step / per_epoch);
        let size = training.batch_size * training.gradient_accumulation;
        let places = order.chunks(size).nth((step % per_epoch) as usize).unwrap_or_default();
        places.iter().filter_map(|&place| self.pairs.get(place)).collect()
    }
}

fn two(sums: &Tensor) -> Result<[f64; 2], ModelError> {
    let [chosen, rejected] = [0, 1].map(|place| sums.f_double_value(&[place]));
    Ok([chosen?, rejected?])
}

impl CausalLm {
    /// log pi of both answers of each pair, [2 * pairs], chosen and rejected in turn; their means over tokens if
    /// `average`.
    fn answer_log_probs(
        &self,
        pairs: &[&[CausalExample; 2]],
        average: bool,
        dropout: Option<&Seeds>,
    ) -> Result<Tensor, ModelError> {
        let texts = pairs.iter().flat_map(|pair| pair.iter()).map(|text| (text.tokens.as_slice(), text.places()));
        let rows = self.answer_rows(texts.collect(), dropout)?;
        let sums = self
            .foretold(&rows)?
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
        self.progress.step
    }

    fn total(&self) -> u64 {
        self.total
    }

    fn step(&mut self) -> Result<StepOutcome, ModelError> {
        let step = self.progress.step;
        let batch = self.batch(step);
        let dropout = Seeds::of_step(self.seed, step, 0);
        let lengths: Vec<usize> = batch.iter().map(|pair| pair.texts.iter().map(|t| t.tokens.len()).sum()).collect();
        let num_tokens = lengths.iter().sum::<usize>() as u64;
        let mut figures = [0.0; 6];
        for part in plan_batches(&lengths, self.model.settings.token_budget) {
            let part: Vec<&PairTexts> = part.iter().filter_map(|&i| batch.get(i).copied()).collect();
            let share = part.len() as f64 / batch.len() as f64;
            let texts: Vec<_> = part.iter().map(|pair| &pair.texts).collect();
            let sums = self.model.answer_log_probs(&texts, self.settings.average, Some(&dropout))?;
            let now = Vec::<f32>::try_from(&sums.f_detach()?)?;
            let now: Vec<[f64; 2]> = now.chunks_exact(2).map(|pair| [f64::from(pair[0]), f64::from(pair[1])]).collect();
            let ratios: Vec<[f64; 2]> =
                now.iter().zip(&part).map(|(now, pair)| [0, 1].map(|side| now[side] - pair.reference[side])).collect();
            let targets: Vec<PairTarget> = part.iter().map(|pair| pair.target).collect();
            let output = self.loss.evaluate(&ratios, &targets).map_err(ModelError::Loss)?;
            let slopes: Vec<f32> = output.gradient.iter().flatten().map(|slope| (share * slope) as f32).collect();
            let slopes = Tensor::f_from_slice(&slopes)?.f_to_device(sums.device())?;
            sums.f_mul(&slopes)?.f_sum(Kind::Float)?.f_backward()?;
            let n = part.len() as f64;
            let mean = |of: &dyn Fn(&[f64; 2]) -> f64, all: &[[f64; 2]]| all.iter().map(of).sum::<f64>() / n;
            let beta = self.settings.beta;
            let new = [
                output.value,
                beta * mean(&|r| r[0], &ratios),
                beta * mean(&|r| r[1], &ratios),
                mean(&|r| f64::from(u8::from(r[0] > r[1])), &ratios),
                mean(&|p| p[0], &now),
                mean(&|p| p[1], &now),
            ];
            figures.iter_mut().zip(new).for_each(|(sum, new)| *sum += share * new);
        }
        let [loss, chosen, rejected, accuracy, logps_chosen, logps_rejected] = figures;
        let training = &self.settings.training;
        let learning_rate = training.learning_rate * training.scheduler.factor(step, training.warmup_steps, self.total);
        if !loss.is_finite() {
            return Err(ModelError::Diverged { step: step + 1, what: "the loss", value: loss, learning_rate });
        }
        let grad_norm = self.optimizer.step(training, learning_rate)?;
        let per_epoch = self.total / u64::from(training.epochs);
        self.progress.step += 1;
        self.progress.num_tokens += num_tokens;
        let values = vec![
            ("loss", loss),
            ("rewards/chosen", chosen),
            ("rewards/rejected", rejected),
            ("rewards/accuracies", accuracy),
            ("rewards/margins", chosen - rejected),
            ("logps/chosen", logps_chosen),
            ("logps/rejected", logps_rejected),
            ("num_tokens", self.progress.num_tokens as f64),
            ("grad_norm", grad_norm),
            ("learning_rate", learning_rate),
            ("epoch", self.progress.step as f64 / per_epoch as f64),
        ];
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

    /// Writes the adapter in PEFT's layout.
    fn save(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.model.save_adapter(folder)?;
        write_state(folder, &self.progress)
    }

    fn load(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.model.fill_adapter(folder)?;
        self.progress = read_state(folder)?;
        Ok(())
    }
}
