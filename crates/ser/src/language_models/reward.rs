//! The reward of PPO that settings name: words, or a reward model.

use std::path::Path;

use ser_core::{BoxError, Context, Message, Reward};
use ser_model::{Device, RewardModel, RewardModelSettings, TextRequest};

use super::texts::adapter_folder;
use crate::config::Config;
use crate::{Error, ScorerReward, WordReward};

/// The reward of the table `reward`: the share of an answer's words that are in a list, or a reward model's score.
pub enum ConfiguredReward {
    /// The share of an answer's words that are in the list.
    Words(WordReward),
    /// A reward model's score.
    Model(Box<ScorerReward<RewardModel>>),
}

/// The reward that the settings name, and, of a reward model, a sentence on its texts.
///
/// `base` is the reward model's base model if the settings name none. `force_text` lets the settings of its texts win over
/// those of its training.
///
/// # Errors
/// No word in the list; a folder that contains no reward model.
pub fn reward_of(
    config: &Config,
    base: &Path,
    force_text: bool,
    device: Device,
) -> Result<(ConfiguredReward, Option<String>), Error> {
    let settings = &config.reward;
    let Some(adapter) = &settings.model else {
        return Ok((ConfiguredReward::Words(WordReward::new(&settings.words)?), None));
    };
    let base = settings.base.as_deref().unwrap_or(base);
    let adapter = adapter_folder(adapter)?;
    // The reward model reads texts as in its training, whatever the template of the policy's prompts.
    let request = TextRequest { force: force_text, ..config.text_request() };
    let text = request.resolve(&[&adapter, base], &config.text)?;
    let note = text.to_string();
    let reward_model = RewardModelSettings { text: text.settings, force_text, ..config.reward_model() };
    let model = RewardModel::for_scoring(base, Some(&adapter), &reward_model, device)?;
    let reward = if settings.probability { ScorerReward::probability(model) } else { ScorerReward::raw(model) };
    Ok((ConfiguredReward::Model(Box::new(reward)), Some(note)))
}

impl ConfiguredReward {
    /// Number of answers that were too long for the reward model and were scored without their end.
    pub fn truncated(&self) -> u64 {
        match self {
            ConfiguredReward::Words(_) => 0,
            ConfiguredReward::Model(model) => model.truncated(),
        }
    }
}

impl Reward for ConfiguredReward {
    type Error = BoxError;

    fn reward(&mut self, answers: &[(&[Message], &str)], cx: &mut Context<'_>) -> Result<Vec<f64>, BoxError> {
        match self {
            ConfiguredReward::Words(words) => Ok(words.reward(answers, cx)?),
            ConfiguredReward::Model(model) => Ok(model.reward(answers, cx)?),
        }
    }
}
