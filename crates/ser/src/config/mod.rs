//! The settings of a run: one table per stage, read from TOML, checked before any work.
//!
//! [`Config`] has a table for each stage of the method. Its default is the paper's settings. A file or a
//! `key=value` names the keys that differ; unknown keys and values that cannot be used are errors with the full key.
//!
//! ```
//! use ser::config::Config;
//!
//! let mut config = Config::from_toml("[loop.thresholds]\ntau_delta = 0.2\n\n[run]\nseed = 7")?;
//! config.set("split.test=0.2")?;
//! assert_eq!(config.evolution.thresholds.tau_delta, 0.2);
//! // Every part takes the run's seed, unless it has one of its own.
//! assert_eq!((config.split.seed, config.ppo.seed), (7, 7));
//!
//! let error = Config::from_toml("[loop.bootstrap]\nresamples = 1").unwrap_err();
//! assert_eq!(error.key(), Some("loop.bootstrap.resamples"));
//! assert_eq!(error.line(), Some(2));
//! # Ok::<(), ser::config::ConfigError>(())
//! ```
//!
//! The tables `model`, `lora`, `training`, `reward_model`, `linear`, `sft`, `policy`, `dpo` and `base` are for language models: they exist with
//! the feature `libtorch`, and without it a key of them is refused.

mod builder;
mod check;
mod edit;
mod presets;
mod read;
mod seeds;
mod settings;
mod tables;

#[cfg(test)]
mod tests;

use ser_data::corpus::CorpusSettings;
use ser_data::{ReadSettings, SplitSettings, TextSettings};
use ser_eval::JudgeSettings;
use ser_ppo::PpoSettings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

#[cfg(feature = "libtorch")]
use ser_linear::LinearSettings;
#[cfg(feature = "libtorch")]
use ser_model::{
    BaseSettings, CausalLmSettings, DpoTrainingSettings, HiddenStatesSettings, LinearRewardModelSettings, LoraSettings,
    PolicySettings, RewardModelSettings, SftSettings, TextRequest, TrainingSettings,
};

use crate::{LoopSettings, PolicyRunSettings};

pub use crate::error::ConfigError;
pub use builder::ConfigBuilder;
pub use presets::{DEMO, DEMO_POLICIES, FEW_LABELS, TINY_PPO};
#[cfg(feature = "libtorch")]
pub use settings::{LinearTable, ModelSettings, RewardModelKind, RewardModelTable};
pub use settings::{PoliciesSettings, PromptSettings, RewardSettings, RunSettings};

/// All settings of a run, one table per stage. The default is the paper's ([`Config::paper`]).
///
/// Change fields directly or by [`set`](Config::set). [`check`](Config::check) refuses what cannot be used; whatever
/// runs a configuration calls it first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Files, folders and the seed.
    pub run: RunSettings,
    /// How files are read.
    pub data: ReadSettings,
    /// Which pairs are for which stage.
    pub split: SplitSettings,
    /// How pairs become texts and tokens.
    pub text: TextSettings,
    /// How the network computes.
    #[cfg(feature = "libtorch")]
    pub model: ModelSettings,
    /// The reward model's adapter.
    #[cfg(feature = "libtorch")]
    pub lora: LoraSettings,
    /// The reward model's training.
    #[cfg(feature = "libtorch")]
    pub training: TrainingSettings,
    /// The kind of the reward model.
    #[cfg(feature = "libtorch")]
    pub reward_model: RewardModelTable,
    /// The linear reward model, if it is of that kind.
    #[cfg(feature = "libtorch")]
    pub linear: LinearTable,
    /// The loop.
    #[serde(rename = "loop")]
    pub evolution: LoopSettings,
    /// Prompts whose sampled answers extend the pool.
    pub prompts: PromptSettings,
    /// Supervised fine-tuning.
    #[cfg(feature = "libtorch")]
    pub sft: SftSettings,
    /// The policy's adapter and optimizer.
    #[cfg(feature = "libtorch")]
    pub policy: PolicySettings,
    /// PPO.
    pub ppo: PpoSettings,
    /// The number of PPO steps, their sampling, and which answers are kept.
    pub policy_run: PolicyRunSettings,
    /// The reward of PPO.
    pub reward: RewardSettings,
    /// DPO.
    #[cfg(feature = "libtorch")]
    pub dpo: DpoTrainingSettings,
    /// Which policies the whole procedure trains and compares.
    pub policies: PoliciesSettings,
    /// The judge that compares policies. If not given, the built-in corpus is judged by its known truth; other prompts
    /// are not judged.
    pub judge: Option<JudgeSettings>,
    /// The built-in corpus, used if no data is given.
    pub corpus: CorpusSettings,
    /// The base model made for the built-in corpus.
    #[cfg(feature = "libtorch")]
    pub base: BaseSettings,
    /// The keys that files, flags and [`set`](Config::set) gave, without presets.
    #[serde(skip)]
    given: Given,
}

impl Config {
    /// Sets the run's seed, which every part takes that has none of its own.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.run.seed = seed;
        self.fill_seeds();
        self
    }

    /// Whether a key was given by a file, a flag or [`set`](Config::set).
    pub(crate) fn is_given(&self, key: &str) -> bool {
        tables::lookup(&self.given.0, key).is_some()
    }
}

/// The keys that were given. Configurations with the same settings are equal, whichever of them were given.
#[derive(Clone, Debug, Default)]
struct Given(Map<String, Value>);

impl PartialEq for Given {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(feature = "libtorch")]
impl Config {
    /// The settings that a reward model is made with.
    pub fn reward_model(&self) -> RewardModelSettings {
        RewardModelSettings {
            lora: self.lora.clone(),
            training: self.training.clone(),
            text: self.text.clone(),
            precision: self.model.precision,
            token_budget: self.model.token_budget,
            activations: self.model.activations.clone(),
            init_seed: self.run.seed,
            force_text: false,
        }
    }

    /// The settings that a linear reward model is made with.
    pub fn linear_reward(&self) -> LinearRewardModelSettings {
        let LinearTable { last, mean, mean_tokens, committee, components, l2, combination, max_iterations, .. } =
            self.linear.clone();
        let ModelSettings { precision, token_budget, .. } = self.model;
        let text = self.text.clone();
        LinearRewardModelSettings {
            states: HiddenStatesSettings { last, mean, mean_tokens, text, precision, token_budget },
            heads: LinearSettings { components, l2, combination, max_iterations, seed: self.run.seed },
            committee,
        }
    }

    /// Sentences on settings that were given and have no effect, since they are of the other kind of reward model.
    pub fn unused(&self) -> Vec<String> {
        let given = |keys: &[&str]| keys.iter().filter(|key| self.is_given(key)).map(|key| (*key).to_owned()).collect();
        let (keys, why): (Vec<String>, _) = match self.reward_model.kind {
            RewardModelKind::Adapter => {
                (given(&["linear"]), "reward_model.kind is \"adapter\"; set it to \"linear\" to use them")
            }
            RewardModelKind::Linear => (
                given(&["lora", "training", "loop.warm_start"]),
                "reward_model.kind is \"linear\": its heads are fitted to the same minimum from any start",
            ),
        };
        keys.iter().map(|key| format!("the settings {key} are given but not used: {why}")).collect()
    }

    /// The settings that a language model is loaded with.
    pub fn causal_lm(&self) -> CausalLmSettings {
        CausalLmSettings {
            text: self.text.clone(),
            precision: self.model.precision,
            token_budget: self.model.token_budget,
            activations: self.model.activations.clone(),
            ..CausalLmSettings::default()
        }
    }

    /// The keys of `text` that were given, without presets: what is asked of the texts of a model that was trained
    /// before, whose folder records how.
    pub fn text_request(&self) -> TextRequest {
        let given = self.given.0.get("text").cloned().unwrap_or(Value::Object(Map::new()));
        // The same keys were read as the table `text`, so they are read here too.
        serde_json::from_value(given).unwrap_or_default()
    }
}
