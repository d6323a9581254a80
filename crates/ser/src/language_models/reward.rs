//! The reward of PPO that settings name: words, or a reward model.

use std::path::Path;

use ser_core::{BoxError, Context, Message, Reward};
use ser_data::TextSettings;
use ser_linear::is_linear_reward;
use ser_model::{AnyRewardModel, Device, LinearRewardModel, Precision, RewardModelSettings, TextRequest};

use super::texts::adapter_folder;
use crate::config::Config;
use crate::{Error, ScorerReward, WordReward};

/// The reward of the table `reward`: the share of an answer's words that are in a list, or a reward model's score.
pub enum ConfiguredReward {
    /// The share of an answer's words that are in the list.
    Words(WordReward),
    /// A reward model's score.
    Model(Box<ScorerReward<AnyRewardModel>>),
}

/// The reward that the settings name, and, of a reward model, a sentence on its texts.
///
/// `base` is the base model of an adapter if the settings name none. `force_text` lets the settings of its texts win over
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
    let Some(folder) = &settings.model else {
        return Ok((ConfiguredReward::Words(WordReward::new(&settings.words)?), None));
    };
    let folder = adapter_folder(folder)?;
    // Linear heads name their base model.
    let base = settings.base.as_deref().or((!is_linear_reward(&folder)).then_some(base));
    // The reward model reads texts as in its training, whatever the template of the policy's prompts.
    let request = TextRequest { force: force_text, ..config.text_request() };
    let (model, note) = trained_reward(config, base, Some(&folder), &request, &config.text, device)?;
    let reward = if settings.probability { ScorerReward::probability(model) } else { ScorerReward::raw(model) };
    Ok((ConfiguredReward::Model(Box::new(reward)), Some(note)))
}

/// Loads a trained reward model, and describes its texts in a sentence. `folder` has an adapter or linear heads; without it, `base`
/// is the reward model. Linear heads name their base model, which `base` replaces.
///
/// Texts are made as in the training, if `ser.json` records that, else by `defaults`; `request` has the wishes of the caller.
///
/// # Errors
/// A folder that contains no reward model; a base model that is missing or another one; wishes that contradict the record; a
/// given `model.precision` that is not that of the linear heads.
pub fn trained_reward(
    config: &Config,
    base: Option<&Path>,
    folder: Option<&Path>,
    request: &TextRequest,
    defaults: &TextSettings,
    device: Device,
) -> Result<(AnyRewardModel, String), Error> {
    let folders: Vec<&Path> = folder.into_iter().chain(base).collect();
    let text = request.resolve(&folders, defaults)?;
    if let Some(linear) = folders.first().filter(|folder| is_linear_reward(folder)) {
        if request.force {
            return Err(Error::Unusable(format!(
                "{}: a linear reward model scores texts as in its training alone; leave --force-text out",
                linear.display()
            )));
        }
        check_precision(config, LinearRewardModel::precision_of(linear)?)?;
    }
    let note = text.to_string();
    let settings = RewardModelSettings { text: text.settings, force_text: request.force, ..config.reward_model() };
    Ok((AnyRewardModel::for_scoring(base, folder, &settings, device)?, note))
}

/// Refuses a given precision other than the one that linear heads were fitted with.
fn check_precision(config: &Config, fitted: Precision) -> Result<(), Error> {
    let asked = config.model.precision;
    if asked == fitted || !config.is_given("model.precision") {
        return Ok(());
    }
    let name = |precision: Precision| match precision {
        Precision::F32 => "float32",
        Precision::Bf16 => "bfloat16",
        Precision::F16 => "float16",
    };
    Err(Error::Unusable(format!(
        "model.precision is {}, but the linear reward model was fitted on hidden states in {}; leave it out",
        name(asked),
        name(fitted)
    )))
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
