//! The unlabelled pool: pairs sampled from a generator, and the labels that iterations give.

mod sampling;
mod state;

pub use sampling::{PoolSampling, SampledPool, sample_pool};
pub(crate) use state::{Candidates, PoolState, lengths};
