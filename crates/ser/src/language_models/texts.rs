//! Folders of models, and the prompts and texts that fit them.

use std::path::{Path, PathBuf};

use ser_core::Message;
use ser_linear::is_linear_reward;
use ser_model::{CausalLm, CausalLmSettings, Device, TextRequest};

use crate::Error;
use crate::config::Config;

/// Loads a trained language model, and describes its texts in a sentence.
///
/// Texts are made as in the model's training, if `ser.json` in its folder records that, else as in the settings. `force`
/// lets the settings win.
///
/// # Errors
/// A folder that contains no model; settings that contradict the record.
pub fn trained_language_model(
    config: &Config,
    folder: &Path,
    force: bool,
    device: Device,
) -> Result<(CausalLm, String), Error> {
    let request = TextRequest { force, ..config.text_request() };
    let text = request.resolve(&[folder], &config.text)?;
    let settings = CausalLmSettings { text: text.settings.clone(), ..config.causal_lm() };
    let model = CausalLm::from_folder(folder, &settings, device)?;
    text.check_tokenizer(model.tokenizer())?;
    Ok((model, text.to_string()))
}

/// The prompts that leave enough of the model's positions for an answer of `longest` tokens, in their order, and the
/// number of others.
///
/// # Errors
/// A prompt that cannot be tokenized.
pub fn prompts_that_fit(
    model: &CausalLm,
    prompts: Vec<Vec<Message>>,
    longest: usize,
) -> Result<(Vec<Vec<Message>>, usize), Error> {
    let (all, limit) = (prompts.len(), model.generation_limit());
    let mut fit = Vec::with_capacity(all);
    for prompt in prompts {
        if model.tokenize_prompt(&prompt)?.len().saturating_add(longest) <= limit {
            fit.push(prompt);
        }
    }
    let left_out = all - fit.len();
    Ok((fit, left_out))
}

/// The folder of an adapter or of linear heads, given as that folder, as the run folder of a reward model's training, or as
/// an address `hf://owner/name`.
///
/// # Errors
/// As of [`fetched`].
pub fn adapter_folder(folder: &Path) -> Result<PathBuf, Error> {
    let folder = fetched(folder)?;
    let of_run = folder.join("reward/model");
    let holds_adapter = |folder: &Path| folder.join("adapter_config.json").exists() || is_linear_reward(folder);
    Ok(if !holds_adapter(&folder) && holds_adapter(&of_run) { of_run } else { folder })
}

/// The folder of a model or adapter; of an address `hf://owner/name`, its folder in the Hugging Face cache.
///
/// # Errors
/// A repository that cannot be fetched; an address without the feature `hub`.
pub fn fetched(folder: &Path) -> Result<PathBuf, Error> {
    match folder.to_str() {
        #[cfg(feature = "hub")]
        Some(address) if address.starts_with("hf://") => Ok(ser_data::hub::model_folder(address)?),
        #[cfg(not(feature = "hub"))]
        Some(address) if address.starts_with("hf://") => {
            Err(Error::Feature { what: "an address hf://owner/name", feature: "hub" })
        }
        _ => Ok(folder.to_path_buf()),
    }
}
