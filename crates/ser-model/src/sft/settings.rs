//! The settings of SFT.

use serde::{Deserialize, Deserializer, Serialize};

use crate::settings::over;
use crate::{LoraSettings, ModelError, Scheduler, TrainingSettings};

/// The answers of a conversation that carry loss.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossTurns {
    /// The last one, as in the paper, which trains on chosen responses.
    #[default]
    Last,
    /// Every turn of the assistant.
    All,
}

/// Supervised fine-tuning. `Default` = the paper: 2e-5 with cosine decay, 2 warm-up steps, batch 16, 3 epochs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SftSettings {
    /// Optimizer, schedule, batches and checkpoints.
    #[serde(deserialize_with = "over_own_training")]
    pub training: TrainingSettings,
    /// The adapter to train; `None` trains all weights, in f32 even if the network computes in half precision. The paper does
    /// not specify this.
    pub lora: Option<LoraSettings>,
    /// The answers that carry loss.
    pub turns: LossTurns,
    /// Evaluate the validation texts every so many steps; `None` for the end of each epoch.
    pub eval_every: Option<u64>,
}

impl Default for SftSettings {
    fn default() -> Self {
        SftSettings {
            training: TrainingSettings {
                learning_rate: 2e-5,
                scheduler: Scheduler::Cosine,
                warmup_steps: 2,
                epochs: 3,
                batch_size: 16,
                ..TrainingSettings::default()
            },
            lora: None,
            turns: LossTurns::Last,
            eval_every: None,
        }
    }
}

fn over_own_training<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TrainingSettings, D::Error> {
    over(deserializer, SftSettings::default().training)
}

impl SftSettings {
    /// Checks the values.
    pub fn check(&self) -> Result<(), ModelError> {
        self.training.check()?;
        if let Some(lora) = &self.lora {
            lora.check()?;
        }
        if self.eval_every == Some(0) {
            let (name, expected) = ("sft.eval_every", "it must be at least 1");
            return Err(ModelError::Setting { name, value: "0".into(), expected });
        }
        Ok(())
    }
}
