//! The settings of a policy.

use serde::{Deserialize, Deserializer, Serialize};

use crate::settings::over;
use crate::{AdafactorSettings, LoraSettings, ModelError, Optim, TrainingSettings};

/// What a policy is trained with. `Default` = the authors' code's adapter: rank 16, alpha 32, dropout 0.05.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicySettings {
    /// The adapter; without it the network is the reference.
    #[serde(deserialize_with = "over_own_lora")]
    pub lora: LoraSettings,
    /// The optimizer: AdamW, or Adafactor as in the authors' code.
    pub optim: Optim,
    /// Options of Adafactor.
    pub adafactor: AdafactorSettings,
    /// Gradients are scaled down to this norm; not at all if left out, as in TRL.
    pub max_grad_norm: Option<f64>,
    /// Decoupled weight decay, not applied to biases.
    pub weight_decay: f64,
    /// Computes each layer again in the backward pass instead of keeping what it computed: less memory, about a third
    /// more time for a step, the same gradients.
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
    /// Refuses settings that mean nothing.
    pub fn check(&self) -> Result<(), ModelError> {
        self.lora.check()?;
        self.training().check().map_err(|error| match error {
            // Here these keys stand in the policy's own table.
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
