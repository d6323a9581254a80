//! Epochs, batches, metrics and progress of a training on examples.

use std::path::Path;

use ser_core::StepOutcome;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::Kind;

use super::optimizer::Parameter;
use super::settings::TrainingSettings;
use super::stepper::Stepper;
use crate::ModelError;
use crate::seeds::{chained_epoch_order, epoch_order};

/// Sums over the examples of a step or an epoch, from which the reported means are computed.
pub(crate) trait Metrics: Clone + Default + Serialize + DeserializeOwned {
    /// Adds the sums of other examples.
    fn add(&mut self, other: &Self);

    /// The mean loss.
    fn loss(&self) -> f64;

    /// The means under the names they are reported by, the loss first.
    fn values(&self) -> Vec<(&'static str, f64)>;
}

/// How the order of the examples is drawn for each epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EpochOrder {
    /// From seed and epoch.
    Independent,
    /// Each epoch shuffles the order of the one before.
    Chained,
}

/// How far a training has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Progress<M> {
    pub(crate) step: u64,
    pub(crate) num_tokens: u64,
    /// Examples of the training and its steps, so that a checkpoint of another one is noticed.
    examples: usize,
    total: u64,
    /// Sums over the epoch under way, or over the last one.
    epoch: M,
}

/// The part of a training on a fixed list of examples that does not depend on what is learnt from them.
pub(crate) struct Trainer<M> {
    pub(crate) stepper: Stepper,
    seed: u64,
    order: EpochOrder,
    /// The epoch last asked for, and its order.
    current: Option<(u64, Vec<usize>)>,
    pub(crate) progress: Progress<M>,
}

impl<M: Metrics> Trainer<M> {
    /// A training of `params`, of a network that computes in `kind`, on `examples` examples.
    pub(crate) fn new(
        params: Vec<Parameter>,
        kind: Kind,
        settings: &TrainingSettings,
        examples: usize,
        seed: u64,
        order: EpochOrder,
    ) -> Result<Self, ModelError> {
        let stepper = Stepper::new(params, settings, kind)?;
        let total = settings.steps_per_epoch(examples) * u64::from(settings.epochs);
        let progress = Progress { examples, total, ..Progress::default() };
        Ok(Trainer { stepper, seed, order, current: None, progress })
    }

    pub(crate) fn settings(&self) -> &TrainingSettings {
        self.stepper.settings()
    }

    pub(crate) fn total(&self) -> u64 {
        self.progress.total
    }

    pub(crate) fn steps_per_epoch(&self) -> u64 {
        self.settings().steps_per_epoch(self.progress.examples)
    }

    /// The indices of the next step's examples.
    pub(crate) fn batch(&mut self) -> Vec<usize> {
        let (step, per_epoch) = (self.progress.step, self.steps_per_epoch());
        let (epoch, size) = (step / per_epoch, self.settings().examples_per_step());
        let (examples, seed) = (self.progress.examples, self.seed);
        let (_, order) = match self.current.take().filter(|(current, _)| *current == epoch) {
            Some(current) => self.current.insert(current),
            None => self.current.insert((
                epoch,
                match self.order {
                    EpochOrder::Independent => epoch_order(examples, seed, epoch),
                    EpochOrder::Chained => chained_epoch_order(examples, seed, epoch),
                },
            )),
        };
        order.chunks(size).nth((step % per_epoch) as usize).unwrap_or_default().to_vec()
    }

    /// Takes the optimizer's step after the backward passes of a step whose sums are `metrics`, on `num_tokens` tokens.
    pub(crate) fn step(&mut self, metrics: &M, num_tokens: u64) -> Result<StepOutcome, ModelError> {
        let (step, per_epoch) = (self.progress.step, self.steps_per_epoch());
        let settings = self.settings();
        let factor = settings.scheduler.factor(step, settings.warmup_steps, self.progress.total);
        let learning_rate = settings.learning_rate * factor;
        let loss = metrics.loss();
        if !loss.is_finite() {
            return Err(ModelError::Diverged { step: step + 1, what: "the loss", value: loss, learning_rate });
        }
        let taken = self.stepper.step(learning_rate)?;
        if step.is_multiple_of(per_epoch) {
            self.progress.epoch = M::default();
        }
        self.progress.step += 1;
        self.progress.num_tokens += num_tokens;
        self.progress.epoch.add(metrics);
        let mut values = metrics.values();
        values.extend([
            ("num_tokens", self.progress.num_tokens as f64),
            ("grad_norm", taken.grad_norm),
            ("learning_rate", learning_rate),
            ("epoch", self.progress.step as f64 / per_epoch as f64),
        ]);
        values.extend(taken.loss_scale.map(|scale| ("loss_scale", scale)));
        Ok(StepOutcome { values, notes: taken.note.into_iter().collect() })
    }

    /// Sums over the epoch under way, or over the last one.
    pub(crate) fn epoch(&self) -> &M {
        &self.progress.epoch
    }

    /// Takes over a progress that was written by a training of the same settings on the same data.
    pub(crate) fn resume(&mut self, progress: Progress<M>, folder: &Path) -> Result<(), ModelError> {
        let (own, other) = (&self.progress, &progress);
        if (own.examples, own.total) != (other.examples, other.total) {
            return Err(ModelError::OtherTraining {
                path: folder.to_owned(),
                examples: other.examples,
                steps: other.total,
                own_examples: own.examples,
                own_steps: own.total,
            });
        }
        self.progress = progress;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Count(f64);

    impl Metrics for Count {
        fn add(&mut self, other: &Self) {
            self.0 += other.0;
        }

        fn loss(&self) -> f64 {
            self.0
        }

        fn values(&self) -> Vec<(&'static str, f64)> {
            vec![("loss", self.0)]
        }
    }

    fn trainer(order: EpochOrder) -> Trainer<Count> {
        let leaf = tch::Tensor::from_slice(&[1.0f32]);
        let settings = TrainingSettings { batch_size: 2, gradient_accumulation: 2, epochs: 3, ..Default::default() };
        Trainer::new(vec![Parameter::new("weight", &leaf)], Kind::Float, &settings, 6, 1, order).unwrap()
    }

    #[test]
    fn every_epoch_takes_each_example_once() {
        for order in [EpochOrder::Independent, EpochOrder::Chained] {
            let mut trainer = trainer(order);
            assert_eq!((trainer.total(), trainer.steps_per_epoch()), (6, 2));
            let mut epochs = Vec::new();
            for epoch in 0..3 {
                let mut seen = Vec::new();
                for size in [4, 2] {
                    let batch = trainer.batch();
                    assert_eq!(batch.len(), size);
                    seen.extend(batch);
                    let outcome = trainer.step(&Count(1.0), 10).unwrap();
                    let value = |name| outcome.values.iter().find(|(n, _)| *n == name).unwrap().1;
                    assert_eq!(value("num_tokens"), 10.0 * trainer.progress.step as f64);
                    assert_eq!(value("epoch"), trainer.progress.step as f64 / 2.0);
                }
                // Sums are those of one epoch.
                assert_eq!(trainer.epoch(), &Count(2.0), "epoch {epoch}");
                epochs.push(seen.clone());
                seen.sort_unstable();
                assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
            }
            assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2], "{epochs:?}");
        }
    }

    #[test]
    fn a_checkpoint_of_another_training_is_refused() {
        let mut ours = trainer(EpochOrder::Independent);
        let other = Progress { examples: 7, total: 6, ..Progress::default() };
        let error = ours.resume(other, Path::new("checkpoints/00000003")).unwrap_err().to_string();
        assert!(error.contains("7 examples and 6 steps") && error.contains("6 examples and 6 steps"), "{error}");
    }
}
