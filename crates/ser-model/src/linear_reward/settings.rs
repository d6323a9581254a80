//! Settings of a linear reward model over hidden states.

use ser_linear::LinearSettings;
use serde::{Deserialize, Serialize};

use crate::{HiddenStatesSettings, ModelError};

/// Settings of a [`LinearRewardModel`](super::LinearRewardModel).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinearRewardModelSettings {
    /// The hidden states.
    pub states: HiddenStatesSettings,
    /// The heads.
    pub heads: LinearSettings,
    /// Whether each depth has a head of its own, and their scores are added. Otherwise one head is over all depths together.
    pub committee: bool,
}

impl Default for LinearRewardModelSettings {
    fn default() -> Self {
        LinearRewardModelSettings {
            states: HiddenStatesSettings::default(),
            heads: LinearSettings::default(),
            committee: true,
        }
    }
}

impl LinearRewardModelSettings {
    /// Refuses settings that cannot be used.
    ///
    /// # Errors
    /// The first setting that cannot be used, with its value.
    pub fn check(&self) -> Result<(), ModelError> {
        self.states.check()?;
        self.heads.clone().check()?;
        Ok(())
    }
}
