//! A language model as PPO's policy: an adapter and a value head. The reference is the model without them.

mod evaluate;
mod model;
mod settings;
mod shared;
#[cfg(test)]
mod tests;
mod value_head;

pub use model::PolicyModel;
pub use settings::PolicySettings;
