//! What answers are rewarded for: words of a list, or a reward model's score.

use std::collections::HashSet;
use std::path::Path;

use anyhow::bail;
use ser::ScorerReward;
use ser::model::{Device, ModelError, RewardModel, RewardModelSettings, TextRequest};
use ser::{Context, Message, Reward};

use crate::config::{Config, adapter_folder};

/// One of the two.
pub(crate) enum AnyReward {
    /// The share of an answer's words that stand in the list.
    Words(HashSet<String>),
    /// A reward model's score.
    Model(Box<ScorerReward<RewardModel>>),
}

impl AnyReward {
    /// What the settings ask for. `base` is the reward model's base where they name none.
    /// `force_text` lets the settings of its texts win over those of its training.
    pub(crate) fn new(config: &Config, base: &Path, force_text: bool, device: Device) -> anyhow::Result<Self> {
        let settings = &config.reward;
        let Some(adapter) = &settings.model else {
            if settings.words.iter().all(|word| word.trim().is_empty()) {
                bail!("reward.words is empty: name words to reward, or a reward model");
            }
            return Ok(AnyReward::Words(settings.words.iter().map(|word| word.trim().to_lowercase()).collect()));
        };
        let base = settings.base.as_deref().unwrap_or(base);
        let adapter = adapter_folder(adapter)?;
        // The reward model reads texts as in its training, whatever template the policy's prompts have.
        let request = TextRequest { force: force_text, ..config.text_request() };
        let text = request.resolve(&[&adapter, base], &config.text)?;
        eprintln!("reward model, {text}");
        let reward_model = RewardModelSettings { text: text.settings, force_text, ..config.reward_model() };
        let model = RewardModel::for_scoring(base, Some(&adapter), &reward_model, device)?;
        let reward = if settings.probability { ScorerReward::probability(model) } else { ScorerReward::raw(model) };
        Ok(AnyReward::Model(Box::new(reward)))
    }
}

impl AnyReward {
    /// How many answers were scored without their end, being too long for the reward model.
    pub(crate) fn truncated(&self) -> u64 {
        match self {
            AnyReward::Words(_) => 0,
            AnyReward::Model(model) => model.truncated(),
        }
    }
}

impl Reward for AnyReward {
    type Error = ModelError;

    fn reward(&mut self, answers: &[(&[Message], &str)], cx: &mut Context<'_>) -> Result<Vec<f64>, ModelError> {
        match self {
            AnyReward::Words(words) => Ok(answers.iter().map(|(_, answer)| share(words, answer)).collect()),
            AnyReward::Model(model) => model.reward(answers, cx),
        }
    }
}

/// The share of an answer's words that stand in the list; 0 for an answer without words.
fn share(words: &HashSet<String>, answer: &str) -> f64 {
    let said = || {
        let bare =
            answer.split_whitespace().map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase());
        bare.filter(|word| !word.is_empty())
    };
    said().filter(|word| words.contains(word)).count() as f64 / said().count().max(1) as f64
}
