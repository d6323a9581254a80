//! Supervised fine-tuning: next-token loss on answers alone (step 1 of the method).

mod base;
mod example;
#[cfg(test)]
mod kept_activations_tests;
mod metrics;
mod settings;
mod shared;
#[cfg(test)]
mod tests;
mod training;

pub use base::make_base;
pub use example::{CausalExample, SftExamples, sft_examples};
pub use settings::{LossTurns, SftSettings};
pub use training::SftTraining;

pub(crate) use shared::{examples_of, options_of, places_of, request_of, share};
