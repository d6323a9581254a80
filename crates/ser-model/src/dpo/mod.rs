//! Direct preference optimisation (arXiv 2305.18290): a policy trained on preferences, without a reward model.

mod metrics;
mod settings;
mod shared;
#[cfg(test)]
mod tests;
mod training;

pub use settings::DpoTrainingSettings;
pub use training::DpoTraining;
