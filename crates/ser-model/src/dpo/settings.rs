//! The settings of DPO's training; those of its loss stand with the loss.

use serde::{Deserialize, Deserializer, Serialize};

use crate::partial::over;
use crate::{LoraSettings, ModelError, TrainingSettings};

/// DPO's training. The default has the policy's adapter of the authors' script, and TRL's learning rate and batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpoTrainingSettings {
    /// How weights are moved.
    #[serde(deserialize_with = "over_own_training")]
    pub training: TrainingSettings,
    /// The adapter; without it the network is the reference.
    #[serde(deserialize_with = "over_own_lora")]
    pub lora: LoraSettings,
    /// What log-ratios are multiplied with to be reported as rewards: the loss's beta, over 0.
    pub beta: f64,
    /// Whether log-probabilities are averaged over an answer's tokens instead of summed, as IPO wants it.
    pub average: bool,
    /// Steps from one checkpoint to the next.
    pub checkpoint_every: u64,
}

impl Default for DpoTrainingSettings {
    fn default() -> Self {
        DpoTrainingSettings {
            training: TrainingSettings { learning_rate: 1e-6, batch_size: 8, epochs: 3, ..TrainingSettings::default() },
            lora: LoraSettings { rank: 16, alpha: 32.0, dropout: 0.05, ..LoraSettings::default() },
            beta: 0.1,
            average: false,
            checkpoint_every: 50,
        }
    }
}

fn over_own_training<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TrainingSettings, D::Error> {
    over(deserializer, DpoTrainingSettings::default().training)
}

fn over_own_lora<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LoraSettings, D::Error> {
    over(deserializer, DpoTrainingSettings::default().lora)
}

impl DpoTrainingSettings {
    /// Refuses settings that mean nothing.
    pub fn check(&self) -> Result<(), ModelError> {
        self.training.check()?;
        if self.training.gradient_checkpointing {
            let expected = "only a reward model's training has it; leave it out";
            let name = "dpo.training.gradient_checkpointing";
            return Err(ModelError::Setting { name, value: "true".into(), expected });
        }
        self.lora.check()?;
        let bad = |name, value: String, expected| Err(ModelError::Setting { name, value, expected });
        if !(self.beta.is_finite() && self.beta > 0.0) {
            return bad("dpo.beta", self.beta.to_string(), "it must be over 0");
        }
        if self.checkpoint_every == 0 {
            return bad("dpo.checkpoint_every", "0".into(), "it must be at least 1");
        }
        Ok(())
    }
}
