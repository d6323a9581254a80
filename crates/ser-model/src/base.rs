//! A base model made from nothing: a tokenizer, a small Llama, and the language taught by SFT.

use std::path::Path;

use ser_core::{Control, Event, FitSummary, Observer, Preference, Training};
use ser_data::{PairTokenizer, TextSettings, train_tokenizer};
use serde::{Deserialize, Deserializer, Serialize};

use crate::partial::over;
use crate::{
    CausalLm, Device, LearntTurns, LlamaShape, ModelError, NetworkConfig, Scheduler, SftSettings, SftTraining,
    TrainingSettings, sft_examples,
};

/// How a base model is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaseSettings {
    /// Tokens of the tokenizer, at most.
    pub vocab_size: usize,
    /// The network.
    pub shape: LlamaShape,
    /// The training, on the chosen answers.
    #[serde(deserialize_with = "over_own_training")]
    pub training: TrainingSettings,
}

impl Default for BaseSettings {
    fn default() -> Self {
        BaseSettings {
            vocab_size: 4096,
            shape: LlamaShape::default(),
            // The paper's SFT but for the learning rate: 2e-5 is for models that know their language already.
            training: TrainingSettings {
                learning_rate: 2e-3,
                scheduler: Scheduler::Cosine,
                warmup_steps: 2,
                epochs: 3,
                batch_size: 16,
                ..TrainingSettings::default()
            },
        }
    }
}

fn over_own_training<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TrainingSettings, D::Error> {
    over(deserializer, BaseSettings::default().training)
}

/// Makes a base model in `folder` (config.json, model.safetensors, tokenizer.json): trains a tokenizer on `texts`, then
/// a fresh Llama on the chosen answers of `sft`, loss on the answers' tokens alone.
#[allow(clippy::too_many_arguments)]
pub fn make_base<'a>(
    folder: &Path,
    texts: impl Iterator<Item = &'a str> + Send,
    sft: &[Preference],
    text: &TextSettings,
    settings: &BaseSettings,
    seed: u64,
    device: Device,
    observer: &mut dyn Observer,
) -> Result<FitSummary, ModelError> {
    settings.training.check()?;
    let mut model = fresh_base(folder, texts, text, settings, seed, device)?;
    let texts = sft_examples(&model, sft, LearntTurns::Last)?;
    if let Some(warning) = texts.warning() {
        let _ = observer.observe(&Event::Note { text: &warning });
    }
    let examples = texts.examples;
    let stage = "teach the base model its language";
    let sft = SftSettings { training: settings.training.clone(), ..SftSettings::default() };
    let mut training = SftTraining::new(&mut model, examples, Vec::new(), &sft, seed)?;
    let total = training.total();
    let stopped = |step: u64| ModelError::Stopped(format!("{stage}, step {step} of {total}"));
    if observer.observe(&Event::Started { stage, total: Some(total), unit: "steps" }) == Control::Stop {
        return Err(stopped(0));
    }
    while training.done() < total {
        if training.step_observed(stage, observer)? == Control::Stop {
            return Err(stopped(training.done()));
        }
    }
    let _ = observer.observe(&Event::Finished { stage });
    let summary = training.summary();
    drop(training);
    model.save(folder)?;
    Ok(summary)
}

/// The same before it has learnt anything: trains a tokenizer on `texts` and draws the weights of a Llama, which are
/// written to `folder`, too.
pub fn fresh_base<'a>(
    folder: &Path,
    texts: impl Iterator<Item = &'a str> + Send,
    text: &TextSettings,
    settings: &BaseSettings,
    seed: u64,
    device: Device,
) -> Result<CausalLm, ModelError> {
    std::fs::create_dir_all(folder).map_err(|e| ModelError::file(folder, e))?;
    let vocab = train_tokenizer(texts, settings.vocab_size, folder)?;
    let tokenizer = PairTokenizer::from_folder(folder, text)?;
    let mut config = NetworkConfig::llama(vocab as i64, &settings.shape)?;
    config.bos_token_id = tokenizer.bos_id().map(i64::from);
    config.eos_token_ids = tokenizer.eos_id().map(i64::from).into_iter().collect();
    config.pad_token_id = tokenizer.eos_id().map(i64::from);
    let model = CausalLm::fresh(config, tokenizer, seed, device)?;
    model.save(folder)?;
    Ok(model)
}
