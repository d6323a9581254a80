//! The interface between the trainer and the trainings that it runs: reward model, SFT, DPO.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::settings::TrainingSettings;
use crate::ModelError;
use crate::seeds::Seeds;

/// A training on a fixed list of examples: its forward and backward passes, its metrics and its weights.
pub trait Objective: Send {
    /// Sums over examples, from which the reported means are computed.
    type Metrics: Metrics;

    /// The name of the training in logs.
    const NAME: &'static str;

    /// Runs the forward and backward passes of one step over the examples at `indices`. The gradients accumulate in the
    /// parameters.
    fn accumulate(&self, indices: &[usize], inputs: &StepInputs<'_>) -> Result<StepSums<Self::Metrics>, ModelError>;

    /// Metrics on validation data, if an evaluation is due after the step; else none.
    fn evaluate(&self, after: StepPosition) -> Result<Vec<(&'static str, f64)>, ModelError> {
        let _ = after;
        Ok(Vec::new())
    }

    /// Writes the trained weights into a folder.
    fn save_weights(&mut self, folder: &Path) -> Result<(), ModelError>;

    /// Loads weights that [`save_weights`](Self::save_weights) wrote.
    fn load_weights(&mut self, folder: &Path) -> Result<(), ModelError>;
}

/// Sums over the examples of a step or an epoch.
pub trait Metrics: Send + Clone + Default + Serialize + DeserializeOwned {
    /// Adds the sums of other examples.
    fn add(&mut self, other: &Self);

    /// Mean loss and accuracy.
    fn means(&self) -> (f64, f64);

    /// The means under the names they are reported by, the loss first.
    fn values(&self) -> Vec<(&'static str, f64)>;
}

/// The inputs of the passes of one step.
#[derive(Debug)]
pub struct StepInputs<'a> {
    /// Seeds of the dropouts.
    pub(crate) dropout: &'a Seeds,
    /// The factor on every loss before its backward pass: the loss scale in f16, else 1.
    pub(crate) loss_factor: f64,
    /// The settings of the training.
    pub(crate) settings: &'a TrainingSettings,
}

/// The result of the passes of one step.
#[derive(Debug)]
pub struct StepSums<M> {
    /// Sums over the examples of the step.
    pub(crate) metrics: M,
    /// Tokens of the examples of the step.
    pub(crate) num_tokens: u64,
}

/// The number of a step in its training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepPosition {
    /// Steps that are done.
    pub(crate) done: u64,
    /// Steps of the training.
    pub(crate) total: u64,
    /// Steps of an epoch.
    pub(crate) per_epoch: u64,
}
