//! The tables that belong to no crate.

use std::path::PathBuf;

use ser_core::Sampling;
#[cfg(feature = "libtorch")]
use ser_linear::{Combination, LinearSettings};
#[cfg(feature = "libtorch")]
use ser_model::{
    ActivationSettings, DeviceChoice, HiddenStatesSettings, LinearRewardModelSettings, Precision, RewardModelSettings,
};
use serde::{Deserialize, Serialize};

use crate::PoolSampling;

/// Files, folders and the seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSettings {
    /// Preferences; the built-in corpus if not given.
    pub data: Option<PathBuf>,
    /// Held-out preferences; a part of `data` if not given.
    pub test_data: Option<PathBuf>,
    /// Folder of the base model: config.json, tokenizer.json, *.safetensors.
    pub model: Option<PathBuf>,
    /// Folder of the run or the result.
    pub out: Option<PathBuf>,
    /// Seed of the run. A part without a seed of its own takes this one.
    pub seed: u64,
    /// Threads of libtorch on the CPU; 0 means all cores.
    pub threads: usize,
    /// The most bytes of the files of `data` and `test_data`, compressed as they are, whose pairs are kept in memory. Pairs of larger
    /// files are in an index on disk and are read when they are needed; the results are the same.
    pub in_memory_bytes: u64,
    /// Folder of these indexes, which runs share; `ser/pairs` in the user's cache folder if not given.
    pub pair_index: Option<PathBuf>,
}

impl Default for RunSettings {
    fn default() -> Self {
        RunSettings {
            data: None,
            test_data: None,
            model: None,
            out: None,
            seed: 0,
            threads: 0,
            in_memory_bytes: 512 << 20,
            pair_index: None,
        }
    }
}

/// Prompts that a generator answers twice each; the pairs extend the pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromptSettings {
    /// The prompts: JSON lines with `prompt`, or one prompt per line.
    pub file: Option<PathBuf>,
    /// Folder of the language model that answers; the base model if not given.
    pub generator: Option<PathBuf>,
    /// How answers are sampled.
    pub answers: PoolSampling,
}

/// The reward of an answer in PPO.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardSettings {
    /// Words whose share among an answer's words is its reward, used if no reward model is named.
    pub words: Vec<String>,
    /// Folder of a reward model's adapter, with its head.
    pub model: Option<PathBuf>,
    /// Folder of that adapter's base model; the policy's if not given.
    pub base: Option<PathBuf>,
    /// Whether a reward model's reward is sigmoid(r), as in the paper, which scales it by Eq. 7; else the raw score r.
    pub probability: bool,
}

impl Default for RewardSettings {
    fn default() -> Self {
        let words =
            "happy happily smile smiled smiles love loved loves friend friends fun nice kind good great laughed";
        let words = words.split(' ').map(str::to_owned).collect();
        RewardSettings { words, model: None, base: None, probability: true }
    }
}

/// The policies of the whole procedure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PoliciesSettings {
    /// Whether policies are trained: SFT, PPO with the evolved reward model, PPO with the full-data one, and their
    /// comparison.
    pub train: bool,
    /// Whether DPO on the labelled seed is compared with them.
    pub dpo: bool,
    /// Number of test prompts that all policies answer.
    pub judged: usize,
    /// How they answer.
    pub sampling: Sampling,
}

impl Default for PoliciesSettings {
    fn default() -> Self {
        PoliciesSettings { train: false, dpo: true, judged: 200, sampling: Sampling::default() }
    }
}

/// How the network computes.
#[cfg(feature = "libtorch")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Number format of the frozen network.
    pub precision: Precision,
    /// Device that the network computes on.
    pub device: DeviceChoice,
    /// Tokens in one forward pass when scoring.
    pub token_budget: usize,
    /// How activations below an adapter on the top layers are kept.
    pub activations: ActivationSettings,
}

#[cfg(feature = "libtorch")]
impl Default for ModelSettings {
    fn default() -> Self {
        let RewardModelSettings { precision, token_budget, activations, .. } = RewardModelSettings::default();
        ModelSettings { precision, device: DeviceChoice::default(), token_budget, activations }
    }
}

/// The kinds of reward models.
#[cfg(feature = "libtorch")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RewardModelKind {
    /// A LoRA adapter and a head, with the settings of `lora` and `training`.
    #[default]
    Adapter,
    /// Linear heads over the hidden states of the frozen base model, with the settings of `linear`.
    Linear,
}

/// The reward model that is trained.
#[cfg(feature = "libtorch")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardModelTable {
    /// Its kind.
    pub kind: RewardModelKind,
}

/// The linear reward model.
#[cfg(feature = "libtorch")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearTable {
    /// Layers after which the last token's state is used, counted from 1. Empty: after 50, 70, 87 and 100 % of the layers.
    pub last: Vec<usize>,
    /// Layers after which the mean over the last tokens is used. Empty: after 50 and 87 % of the layers.
    pub mean: Vec<usize>,
    /// The number of tokens, counted from the end of a text, that a mean is taken over.
    pub mean_tokens: usize,
    /// Whether each of these depths has a head of its own, and their scores are added. Otherwise one head is over all of them.
    pub committee: bool,
    /// Principal components that each head is over.
    pub components: usize,
    /// Coefficient of the quadratic penalty on a head, against the sum of the loss over the pairs.
    pub l2: f64,
    /// How the scores of a committee become one score.
    pub combination: Combination,
    /// The most L-BFGS iterations per head.
    pub max_iterations: usize,
    /// File that keeps the hidden states, which runs on the same base model and texts may share; in the run folder if not given.
    pub states: Option<PathBuf>,
}

#[cfg(feature = "libtorch")]
impl Default for LinearTable {
    fn default() -> Self {
        let LinearRewardModelSettings { states, heads, committee } = LinearRewardModelSettings::default();
        let HiddenStatesSettings { last, mean, mean_tokens, .. } = states;
        let LinearSettings { components, l2, combination, max_iterations, .. } = heads;
        LinearTable { last, mean, mean_tokens, committee, components, l2, combination, max_iterations, states: None }
    }
}
