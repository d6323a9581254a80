//! The settings of a policy.

use serde::{Deserialize, Deserializer, Serialize};

use crate::settings::over;
use crate::{AdafactorSettings, LoraSettings, ModelError, Optim, TrainingSettings};

/// Settings of a policy's training. `Default` = the adapter of the authors' code: rank 16, alpha 32, dropout 0.05.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// The adapter. The network without it is the reference.
    #[serde(deserialize_with = "over_own_lora")]
    pub lora: LoraSettings,
    /// The optimizer: AdamW, or Adafactor as in the authors' code.
    pub optim: Optim,
    /// Options of Adafactor.
    pub adafactor: AdafactorSettings,
    /// Gradients with a larger norm are scaled down to this norm; `None` for no clipping, as in TRL.
    pub max_grad_norm: Option<f64>,
    /// Decoupled weight decay, not applied to biases and norms.
    pub weight_decay: f64,
    /// Gradient checkpointing: the backward pass computes each layer again. It needs less memory and about a third more time.
    /// The gradients are the same.
    pub gradient_checkpointing: bool,
    /// Seed of a fresh adapter and of dropouts.
    pub seed: u64,
}

impl Default for PolicySettings {
    fn default() -> Self {
        PolicySettings {
            lora: LoraSettings { rank: 16, alpha: 32.0, dropout: 0.05, ..LoraSettings::default() },
            optim: Optim::default(),
            adafactor: AdafactorSettings::default(),
            max_grad_norm: None,
            weight_decay: 0.0,
            gradient_checkpointing: false,
            seed: 0,
        }
    }
}

fn over_own_lora<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LoraSettings, D::Error> {
    over(deserializer, PolicySettings::default().lora)
}

impl PolicySettings {
    /// Checks the values.
    pub fn check(&self) -> Result<(), ModelError> {
        self.lora.check()?;
        self.training().check().map_err(|error| match error {
            // The policy's table has these keys without a table `training`.
            ModelError::Setting { name, value, expected } => {
                ModelError::Setting { name: name.strip_prefix("training.").unwrap_or(name), value, expected }
            }
            other => other,
        })
    }

    /// The settings of its optimizer steps.
    pub(super) fn training(&self) -> TrainingSettings {
        TrainingSettings {
            optim: self.optim,
            adafactor: self.adafactor,
            max_grad_norm: self.max_grad_norm,
            weight_decay: self.weight_decay,
            gradient_checkpointing: self.gradient_checkpointing,
            ..TrainingSettings::default()
        }
    }
}
