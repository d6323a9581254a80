//! The unlabelled pool: pairs sampled from a generator, and the labels that iterations give.

mod columns;
mod labels;
mod position_set;
mod sampling;
mod state;
mod training_set;

pub(crate) use columns::{PoolColumns, lengths};
pub(crate) use labels::{LabelTargets, PoolLabels};
pub(crate) use position_set::PositionSet;
pub use sampling::{PoolSampling, SampledPool, sample_pool};
pub(crate) use state::{Candidates, PoolState};
pub(crate) use training_set::TrainingSet;
