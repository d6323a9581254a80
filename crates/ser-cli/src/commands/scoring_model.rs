//! The reward model of `ser score` and `ser serve`.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use ser::adapter_folder;
use ser::config::Config;
use ser::data::{TemplateKind, TextSettings};
use ser::model::{Device, ModelError, RewardModel, RewardModelSettings, TextRequest};

use crate::output;

/// The flags that select a reward model and its texts.
#[derive(Args)]
pub(crate) struct ScoringModel {
    /// Adapter folder in PEFT's layout, or the run folder of `ser train reward`; without it, --model is the reward model
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
    pub(crate) fn load(&self, config: &Config, device: Device) -> anyhow::Result<RewardModel> {
        let Some(folder) = &config.run.model else { bail!("give --model FOLDER") };
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
        let folders: Vec<_> = adapter.as_deref().into_iter().chain([folder.as_path()]).collect();
        let text = request.resolve(&folders, &raw)?;
        output::note(&text);
        let settings = RewardModelSettings { text: text.settings, force_text: request.force, ..config.reward_model() };
        Ok(match &adapter {
            Some(adapter) if self.fresh_head => RewardModel::with_adapter(folder, adapter, &settings, device)?,
            None if self.fresh_head => RewardModel::from_folder(folder, &settings, device)?,
            _ => match RewardModel::for_scoring(folder, adapter.as_deref(), &settings, device) {
                Err(error @ ModelError::NoHead { .. }) => {
                    bail!("{error}; --fresh-head scores with a random one all the same")
                }
                model => model?,
            },
        })
    }
}
