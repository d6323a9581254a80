//! The reward model of `ser score` and `ser serve`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use ser::config::Config;
use ser::data::{TemplateKind, TextSettings};
use ser::model::{AnyRewardModel, Device, ModelError, RewardModel, RewardModelSettings, TextRequest};
use ser::{adapter_folder, trained_reward};

use crate::output;

/// The flags that select a reward model and its texts.
#[derive(Args)]
pub(crate) struct ScoringModel {
    /// Adapter folder in PEFT's layout, folder of a linear reward model, or the run folder of `ser train reward`; without it,
    /// --model is the reward model. A linear reward model names its base model, so --model may be left out
    #[arg(long)]
    pub(crate) adapter: Option<PathBuf>,
    /// Ends every text of the template authors_code with the end token
    #[arg(long)]
    append_eos: bool,
    /// Applies the template of flags and settings even if the model was trained with another one
    #[arg(long)]
    force_text: bool,
    /// Scores with a random head, drawn from --seed, if none is saved; for timings
    #[arg(long)]
    fresh_head: bool,
}

impl ScoringModel {
    /// Loads the model, with the texts of its training, and notes these.
    pub(crate) fn load(&self, config: &Config, device: Device) -> anyhow::Result<AnyRewardModel> {
        let base = config.run.model.as_deref();
        let adapter = self.adapter.as_deref().map(adapter_folder).transpose()?;
        let request = TextRequest {
            append_eos: if self.append_eos { Some(true) } else { config.text_request().append_eos },
            force: self.force_text,
            ..config.text_request()
        };
        let raw = TextSettings {
            template: TemplateKind::Raw,
            append_eos: false,
            max_length: None,
            ..TextSettings::default()
        };
        let adapter = adapter.as_deref();
        let no_base = "give --model FOLDER; only a linear reward model names its base model itself";
        if self.fresh_head {
            let Some(base) = base else { bail!("{no_base}") };
            let folders: Vec<_> = adapter.into_iter().chain([base]).collect();
            let text = request.resolve(&folders, &raw)?;
            output::note(&text);
            let settings =
                RewardModelSettings { text: text.settings, force_text: request.force, ..config.reward_model() };
            return Ok(match adapter {
                Some(adapter) => RewardModel::with_adapter(base, adapter, &settings, device)?.into(),
                None => RewardModel::from_folder(base, &settings, device)?.into(),
            });
        }
        match trained_reward(config, base, adapter, &request, &raw, device) {
            Ok((model, text)) => {
                output::note(text);
                Ok(model)
            }
            Err(ser::Error::Model(error @ ModelError::NoHead { .. })) => {
                bail!("{error}; --fresh-head scores with a random one all the same")
            }
            Err(ser::Error::Model(ModelError::NoBase)) => bail!("{no_base}"),
            Err(error) => Err(error.into()),
        }
    }
}
