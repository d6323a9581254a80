//! Presets: the paper, the authors' code, and what a small model needs.

use ser_ppo::{LearningRateScheduler, ResponseLength};

use super::Config;
use crate::LoopSettings;

/// Settings of the built-in corpus's run, where they differ from the paper: a small model made from nothing.
pub const DEMO: &str = include_str!("presets/demo.toml");
/// Settings of its policies, over those of [`DEMO`].
pub const DEMO_POLICIES: &str = include_str!("presets/demo_policies.toml");
/// Settings for few labels and a real language model: a linear reward model over its hidden states.
pub const FEW_LABELS: &str = include_str!("presets/few_labels.toml");
/// Settings of PPO for a model of a few hundred thousand weights, where they differ from the paper.
pub const TINY_PPO: &str = include_str!("presets/tiny_ppo.toml");

impl Config {
    /// The paper's settings (arXiv 2411.00418), which are the defaults; examples/paper/paper.toml spells them out.
    pub fn paper() -> Self {
        Config::default()
    }

    /// The settings of the authors' published code; examples/paper/authors_code.toml has the differences to the paper, with
    /// their sources.
    pub fn authors() -> Self {
        let mut config = Config { evolution: LoopSettings::authors_code(), ..Config::paper() };
        config.text.append_eos = false;
        config.ppo.scheduler = LearningRateScheduler::Linear;
        config.ppo.gradient_accumulation_steps = 8;
        config.ppo.early_stopping = false;
        config.ppo.response_length = ResponseLength::Uniform { min: 32, max: 512 };
        config.ppo.reward_scaling = None;
        #[cfg(feature = "libtorch")]
        {
            config.sft.training.epochs = 8;
            config.sft.training.batch_size = 64;
            config.training.batch_size = 5;
            config.policy.optim = ser_model::Optim::Adafactor;
        }
        config
    }
}
