//! The reward model: a decoder with LoRA and a one-output head, as a scorer and a learner of pairs.

mod adapters;
mod head;
#[cfg(test)]
mod kept_activations_tests;
mod metrics;
mod model;
mod score;
mod shared;
#[cfg(test)]
mod shared_tests;
mod step;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod top_layers_tests;
mod training;
#[cfg(test)]
mod training_tests;

pub use model::{RewardModel, RewardModelSettings};
pub use training::RewardTraining;
