//! Loading a reward model for scoring, which needs a trained head.

use std::path::Path;

use super::model::{RewardModel, RewardModelSettings};
use crate::adapter::SavedAdapter;
use crate::checkpoint::{TextRequest, Weights};
use crate::{Device, ModelError};

/// Files beside an adapter in which other programs store a head.
const HEAD_FILES: [&str; 2] = ["value_head.safetensors", "value_head.bin"];

impl RewardModel {
    /// Loads a model for scoring: a base model with an adapter, or a model folder alone, such as a merged one. Adapter or folder
    /// must have a score head.
    ///
    /// # Errors
    /// [`ModelError::NoHead`] if there is none: the scores of a fresh head are random. As
    /// [`with_adapter`](Self::with_adapter) if `settings.text` differs from the text settings of the model's training.
    pub fn for_scoring(
        folder: &Path,
        adapter: Option<&Path>,
        settings: &RewardModelSettings,
        device: Device,
    ) -> Result<Self, ModelError> {
        require_head(folder, adapter)?;
        let text = &settings.text;
        let request = TextRequest {
            template: Some(text.template),
            append_eos: Some(text.append_eos),
            max_length: text.max_length,
            date: Some(text.date),
            force: settings.force_text,
        };
        let folders: Vec<&Path> = adapter.into_iter().chain([folder]).collect();
        let resolved = request.resolve(&folders, text)?;
        let model = match adapter {
            Some(adapter) => Self::with_adapter(folder, adapter, settings, device)?,
            None => Self::from_folder(folder, settings, device)?,
        };
        resolved.check_tokenizer(&model.tokenizer)?;
        Ok(model)
    }
}

/// Refuses a model without a score head. The error names another head if there is one.
fn require_head(folder: &Path, adapter: Option<&Path>) -> Result<(), ModelError> {
    let base = Weights::from_folder(folder)?;
    let mut found = None;
    if let Some(adapter) = adapter {
        let saved = SavedAdapter::open(adapter, tch::Device::Cpu)?;
        if saved.has_head() {
            return Ok(());
        }
        let beside = HEAD_FILES.into_iter().find(|name| adapter.join(name).exists());
        found =
            beside.map(str::to_owned).or_else(|| saved.names().filter(|name| is_head(name)).min().map(str::to_owned));
    }
    if base.has("score.weight") {
        return Ok(());
    }
    let found = found.or_else(|| base.names().filter(|name| is_head(name)).min().map(str::to_owned));
    let (path, what) = adapter.map_or((folder, "model"), |adapter| (adapter, "adapter"));
    Err(ModelError::NoHead { path: path.to_owned(), what, found })
}

/// Whether a tensor is part of neither decoder, output embedding nor adapter.
fn is_head(name: &str) -> bool {
    let name = name.strip_prefix("base_model.model.").unwrap_or(name);
    let first = name.split('.').next().unwrap_or_default();
    !["model", "layers", "embed_tokens", "norm", "lm_head"].contains(&first)
}
