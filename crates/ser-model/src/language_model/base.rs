//! A fresh base model: a tokenizer trained on the texts, and a small Llama with random weights.

use std::path::Path;

use ser_data::{PairTokenizer, TextSettings, train_tokenizer};
use serde::{Deserialize, Deserializer, Serialize};

use super::causal_lm::CausalLm;
use crate::config::{LlamaShape, NetworkConfig};
use crate::settings::over;
use crate::train::{Scheduler, TrainingSettings};
use crate::{Device, ModelError};

/// Settings of a fresh base model and its pre-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BaseSettings {
    /// The largest vocabulary of the tokenizer.
    pub vocab_size: usize,
    /// The sizes of the network.
    pub shape: LlamaShape,
    /// The pre-training on the chosen answers.
    #[serde(deserialize_with = "over_own_training")]
    pub training: TrainingSettings,
}

impl Default for BaseSettings {
    fn default() -> Self {
        BaseSettings {
            vocab_size: 4096,
            shape: LlamaShape::default(),
            // As the paper's SFT, except for the learning rate: 2e-5 is for models that are pre-trained.
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

/// Trains a tokenizer on `texts`, draws the weights of a Llama, and writes both to `folder`. The model is not trained.
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
