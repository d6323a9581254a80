//! PPO over any policy and any reward (step 8 of the method).

mod prompts;
mod reward;
mod settings;
mod state;
mod step;
mod training;
mod words;

pub use reward::ScorerReward;
pub use settings::PolicyRunSettings;
pub use state::{KeptAnswer, PolicyStep};
pub use training::PpoTraining;
pub use words::WordReward;
