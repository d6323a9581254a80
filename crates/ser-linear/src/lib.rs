#![doc = include_str!("../README.md")]

mod cache;
mod committee;
mod error;
mod features;
mod files;
mod lbfgs;
mod learner;
mod representation;
mod settings;
mod single_view;

pub use cache::CachedFeatures;
pub use error::LinearError;
pub use features::Features;
pub use files::is_linear_reward;
pub use learner::LinearReward;
pub use settings::{CheckedLinearSettings, Combination, LinearSettings};
pub use single_view::SingleView;
