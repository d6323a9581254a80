//! The trainer of reward model, SFT and DPO: epochs, batches, optimizer steps, metrics, checkpoints.

use std::path::Path;

use ser_core::{FitSummary, PreferenceTraining, Saving, StepOutcome, Training};
use serde::{Deserialize, Serialize};
use tch::Kind;

use super::objective::{Metrics, Objective, StepInputs, StepPosition};
use super::optimizer::Parameter;
use super::settings::TrainingSettings;
use super::state::{read_state, write_state};
use super::stepper::Stepper;
use crate::ModelError;
use crate::seeds::{Seeds, chained_epoch_order, epoch_order};

/// How the order of the examples and the seeds of the dropouts are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Draws {
    /// The order from seed and epoch, the dropouts from seed and step.
    PerStep,
    /// Each epoch shuffles the order of the previous one, and the dropouts' seeds are one stream over the whole training,
    /// whose position is part of a checkpoint.
    Sequential,
}

/// Progress of a training: the contents of `trainer_state.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TrainerState<M> {
    step: u64,
    num_tokens: u64,
    /// Examples and steps of the training, so that a checkpoint of another training is refused.
    examples: usize,
    total: u64,
    /// Sums over the current epoch, or over the last one.
    epoch: M,
}

/// `trainer_state.json` of a training with [`Draws::Sequential`].
#[derive(Serialize, Deserialize)]
struct SequentialState<M> {
    progress: TrainerState<M>,
    /// The position in the stream of the dropouts' seeds.
    dropout: u64,
}

/// A training on a fixed list of examples, which runs step by step: [`RewardTraining`](crate::RewardTraining),
/// [`SftTraining`](crate::SftTraining) or [`DpoTraining`](crate::DpoTraining).
///
/// A step accumulates the gradients of its examples, unscales them in f16, clips them and takes one optimizer step. It
/// reports the metrics of its training, then num_tokens, grad_norm, learning_rate, epoch, and loss_scale in f16.
pub struct Trainer<O: Objective> {
    pub(crate) objective: O,
    pub(crate) stepper: Stepper,
    seed: u64,
    draws: Draws,
    /// The stream of the dropouts' seeds with [`Draws::Sequential`].
    dropout: Seeds,
    /// The last epoch that a batch was taken from, and its order.
    order: Option<(u64, Vec<usize>)>,
    state: TrainerState<O::Metrics>,
}

impl<O: Objective> Trainer<O> {
    /// A training of `params`, of a network that computes in `kind`, on `examples` examples.
    pub(crate) fn with_objective(
        objective: O,
        params: Vec<Parameter>,
        kind: Kind,
        settings: &TrainingSettings,
        examples: usize,
        seed: u64,
        draws: Draws,
    ) -> Result<Self, ModelError> {
        let stepper = Stepper::new(params, settings, kind)?;
        let total = settings.steps_per_epoch(examples) * u64::from(settings.epochs);
        let state = TrainerState { examples, total, ..TrainerState::default() };
        Ok(Trainer { objective, stepper, seed, draws, dropout: Seeds::new(seed), order: None, state })
    }

    /// Loss and accuracy over the current epoch, or over the last one.
    pub fn summary(&self) -> FitSummary {
        let (loss, accuracy) = self.state.epoch.means();
        FitSummary { steps: self.state.step, loss, accuracy }
    }

    fn steps_per_epoch(&self) -> u64 {
        self.stepper.settings().steps_per_epoch(self.state.examples)
    }

    /// The indices of the next step's examples.
    fn batch(&mut self) -> Vec<usize> {
        let (step, per_epoch) = (self.state.step, self.steps_per_epoch());
        let (epoch, size) = (step / per_epoch, self.stepper.settings().examples_per_step());
        let (examples, seed) = (self.state.examples, self.seed);
        let (_, order) = match self.order.take().filter(|(current, _)| *current == epoch) {
            Some(current) => self.order.insert(current),
            None => self.order.insert((
                epoch,
                match self.draws {
                    Draws::PerStep => epoch_order(examples, seed, epoch),
                    Draws::Sequential => chained_epoch_order(examples, seed, epoch),
                },
            )),
        };
        order.chunks(size).nth((step % per_epoch) as usize).unwrap_or_default().to_vec()
    }

    /// Takes the optimizer step after the backward passes of a step whose sums are `metrics`, on `num_tokens` tokens.
    fn optimizer_step(&mut self, metrics: &O::Metrics, num_tokens: u64) -> Result<StepOutcome, ModelError> {
        let (step, per_epoch) = (self.state.step, self.steps_per_epoch());
        let settings = self.stepper.settings();
        let factor = settings.scheduler.factor(step, settings.warmup_steps, self.state.total);
        let learning_rate = settings.learning_rate * factor;
        let (loss, _) = metrics.means();
        if !loss.is_finite() {
            return Err(ModelError::Diverged { step: step + 1, what: "the loss", value: loss, learning_rate });
        }
        let taken = self.stepper.step(learning_rate)?;
        if step.is_multiple_of(per_epoch) {
            self.state.epoch = O::Metrics::default();
        }
        self.state.step += 1;
        self.state.num_tokens += num_tokens;
        self.state.epoch.add(metrics);
        tracing::debug!(loss, grad_norm = taken.grad_norm, learning_rate, "optimizer step");
        let mut values = metrics.values();
        values.extend([
            ("num_tokens", self.state.num_tokens as f64),
            ("grad_norm", taken.grad_norm),
            ("learning_rate", learning_rate),
            ("epoch", self.state.step as f64 / per_epoch as f64),
        ]);
        values.extend(taken.loss_scale.map(|scale| ("loss_scale", scale)));
        Ok(StepOutcome { values, notes: taken.note.into_iter().collect() })
    }

    /// Replaces the state by one that a training with the same settings wrote for the same data.
    fn resume(&mut self, state: TrainerState<O::Metrics>, folder: &Path) -> Result<(), ModelError> {
        let (own, other) = (&self.state, &state);
        if (own.examples, own.total) != (other.examples, other.total) {
            return Err(ModelError::OtherTraining {
                path: folder.to_owned(),
                examples: other.examples,
                steps: other.total,
                own_examples: own.examples,
                own_steps: own.total,
            });
        }
        self.state = state;
        Ok(())
    }
}

impl<O: Objective> Training for Trainer<O> {
    type Error = ModelError;

    fn done(&self) -> u64 {
        self.state.step
    }

    fn total(&self) -> u64 {
        self.state.total
    }

    fn step(&mut self) -> Result<StepOutcome, ModelError> {
        let step = self.state.step;
        let _span = tracing::debug_span!("training_step", training = O::NAME, step = step + 1).entered();
        let indices = self.batch();
        let of_step = Seeds::of_step(self.seed, step, 0);
        let inputs = StepInputs {
            dropout: match self.draws {
                Draws::PerStep => &of_step,
                Draws::Sequential => &self.dropout,
            },
            loss_factor: self.stepper.loss_factor(),
            settings: self.stepper.settings(),
        };
        let sums = self.objective.accumulate(&indices, &inputs)?;
        let mut outcome = self.optimizer_step(&sums.metrics, sums.num_tokens)?;
        let after = StepPosition { done: step + 1, total: self.state.total, per_epoch: self.steps_per_epoch() };
        outcome.values.extend(self.objective.evaluate(after)?);
        Ok(outcome)
    }

    fn saving(&self) -> Saving {
        self.stepper.settings().saving()
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.save(folder)?;
        self.stepper.save(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.load(folder)?;
        self.stepper.load(folder)
    }

    /// Writes the trained weights and `trainer_state.json`.
    fn save(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.objective.save_weights(folder)?;
        match self.draws {
            Draws::PerStep => write_state(folder, &self.state),
            Draws::Sequential => {
                let state = SequentialState { progress: self.state.clone(), dropout: self.dropout.position() };
                write_state(folder, &state)
            }
        }
    }

    fn load(&mut self, folder: &Path) -> Result<(), ModelError> {
        match self.draws {
            Draws::PerStep => self.resume(read_state(folder)?, folder)?,
            Draws::Sequential => {
                let state: SequentialState<O::Metrics> = read_state(folder)?;
                self.resume(state.progress, folder)?;
                self.dropout.seek(state.dropout);
            }
        }
        self.objective.load_weights(folder)
    }
}

impl<O: Objective> PreferenceTraining for Trainer<O> {
    fn summary(&self) -> FitSummary {
        Trainer::summary(self)
    }
}

#[cfg(test)]
mod tests {
    use super::super::objective::StepSums;
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Count(f64);

    impl Metrics for Count {
        fn add(&mut self, other: &Self) {
            self.0 += other.0;
        }

        fn means(&self) -> (f64, f64) {
            (self.0, 1.0)
        }

        fn values(&self) -> Vec<(&'static str, f64)> {
            vec![("loss", self.0)]
        }
    }

    /// Records the indices of each step.
    #[derive(Default)]
    struct Recorder(std::cell::RefCell<Vec<usize>>);

    impl Objective for Recorder {
        type Metrics = Count;

        const NAME: &'static str = "test";

        fn accumulate(&self, indices: &[usize], _: &StepInputs<'_>) -> Result<StepSums<Count>, ModelError> {
            self.0.replace(indices.to_vec());
            Ok(StepSums { metrics: Count(1.0), num_tokens: 10 })
        }

        fn save_weights(&mut self, _: &Path) -> Result<(), ModelError> {
            Ok(())
        }

        fn load_weights(&mut self, _: &Path) -> Result<(), ModelError> {
            Ok(())
        }
    }

    fn trainer(draws: Draws) -> Trainer<Recorder> {
        let leaf = tch::Tensor::from_slice(&[1.0f32]);
        let settings = TrainingSettings { batch_size: 2, gradient_accumulation: 2, epochs: 3, ..Default::default() };
        let params = vec![Parameter::new("weight", &leaf)];
        Trainer::with_objective(Recorder::default(), params, Kind::Float, &settings, 6, 1, draws).unwrap()
    }

    #[test]
    fn every_epoch_takes_each_example_once() {
        for draws in [Draws::PerStep, Draws::Sequential] {
            let mut trainer = trainer(draws);
            assert_eq!((trainer.total(), trainer.steps_per_epoch()), (6, 2));
            let mut epochs = Vec::new();
            for epoch in 0..3 {
                let mut seen = Vec::new();
                for size in [4, 2] {
                    let outcome = trainer.step().unwrap();
                    let batch = trainer.objective.0.borrow().clone();
                    assert_eq!(batch.len(), size);
                    seen.extend(batch);
                    let value = |name| outcome.values.iter().find(|(n, _)| *n == name).unwrap().1;
                    assert_eq!(value("num_tokens"), 10.0 * trainer.done() as f64);
                    assert_eq!(value("epoch"), trainer.done() as f64 / 2.0);
                }
                // Sums are those of one epoch.
                assert_eq!(trainer.state.epoch, Count(2.0), "epoch {epoch}");
                epochs.push(seen.clone());
                seen.sort_unstable();
                assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
            }
            assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2], "{epochs:?}");
        }
    }

    #[test]
    fn a_checkpoint_of_another_training_is_refused() {
        let mut ours = trainer(Draws::PerStep);
        let other = TrainerState { examples: 7, total: 6, ..TrainerState::default() };
        let error = ours.resume(other, Path::new("checkpoints/00000003")).unwrap_err().to_string();
        assert!(error.contains("7 examples and 6 steps") && error.contains("6 examples and 6 steps"), "{error}");
    }
}
