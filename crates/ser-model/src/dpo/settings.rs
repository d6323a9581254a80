//! The settings of DPO's training. The settings of its loss are `ser_loss::DpoSettings`.

use serde::{Deserialize, Deserializer, Serialize};

use crate::settings::over;
use crate::{LoraSettings, ModelError, TrainingSettings};

/// DPO's training. `Default` = the policy's adapter of the authors' code, with TRL's learning rate and batch size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DpoTrainingSettings {
    /// Optimizer, schedule, batches and checkpoints.
    #[serde(deserialize_with = "over_own_training")]
    pub training: TrainingSettings,
    /// The adapter. The network without it is the reference.
    #[serde(deserialize_with = "over_own_lora")]
    pub lora: LoraSettings,
    /// The factor on log-ratios that are reported as rewards: the loss's beta, over 0.
    pub beta: f64,
    /// Whether log-probabilities are averaged over an answer's tokens instead of summed, as IPO does.
    pub average: bool,
}

impl Default for DpoTrainingSettings {
    fn default() -> Self {
        DpoTrainingSettings {
            training: TrainingSettings { learning_rate: 1e-6, batch_size: 8, epochs: 3, ..TrainingSettings::default() },
            lora: LoraSettings { rank: 16, alpha: 32.0, dropout: 0.05, ..LoraSettings::default() },
            beta: 0.1,
            average: false,
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
    /// Checks the values.
    pub fn check(&self) -> Result<(), ModelError> {
        self.training.check()?;
        self.lora.check()?;
        if !(self.beta.is_finite() && self.beta > 0.0) {
            let (name, value, expected) = ("dpo.beta", self.beta.to_string(), "it must be over 0");
            return Err(ModelError::Setting { name, value, expected });
        }
        Ok(())
    }
}
