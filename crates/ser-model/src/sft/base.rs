//! Pre-training of a fresh base model by SFT.

use std::path::Path;

use ser_core::{Context, FitSummary, Preference, Training};
use ser_data::TextSettings;

use super::example::sft_examples;
use super::settings::{LossTurns, SftSettings};
use super::training::SftTraining;
use crate::language_model::{BaseSettings, fresh_base};
use crate::{Device, ModelError};

/// Creates a base model in `folder` (config.json, model.safetensors, tokenizer.json): trains a tokenizer on `texts`, then a
/// fresh Llama on the chosen answers of `sft`. Only the tokens of the answers carry loss.
#[allow(clippy::too_many_arguments)]
pub fn make_base<'a>(
    folder: &Path,
    texts: impl Iterator<Item = &'a str> + Send,
    sft: &[Preference],
    text: &TextSettings,
    settings: &BaseSettings,
    seed: u64,
    device: Device,
    cx: &mut Context<'_>,
) -> Result<FitSummary, ModelError> {
    settings.training.check()?;
    let mut model = fresh_base(folder, texts, text, settings, seed, device)?;
    let texts = sft_examples(&model, sft, LossTurns::Last)?;
    if let Some(warning) = texts.warning() {
        cx.note(&warning);
    }
    let examples = texts.examples;
    let sft = SftSettings { training: settings.training.clone(), ..SftSettings::default() };
    let mut training = SftTraining::new(&mut model, examples, Vec::new(), &sft, seed)?;
    training.run(cx)?;
    let summary = training.summary();
    drop(training);
    model.save(folder)?;
    Ok(summary)
}
