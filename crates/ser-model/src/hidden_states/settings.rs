//! Settings of hidden states.

use ser_data::TextSettings;
use serde::{Deserialize, Serialize};

use crate::{ModelError, Precision};

/// Settings of [`HiddenStates`](super::HiddenStates).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HiddenStatesSettings {
    /// Layers after which the last token's state is a view, counted from 1. Empty: after 50, 70, 87 and 100 % of the layers.
    pub last: Vec<usize>,
    /// Layers after which the mean over the last tokens is a view. Empty: after 50 and 87 % of the layers.
    pub mean: Vec<usize>,
    /// The number of tokens, counted from the end of a text, that a mean is taken over. Default 120.
    pub mean_tokens: usize,
    /// How pairs become texts and tokens.
    pub text: TextSettings,
    /// The precision the network computes in.
    pub precision: Precision,
    /// Tokens in one forward pass.
    pub token_budget: usize,
}

impl Default for HiddenStatesSettings {
    fn default() -> Self {
        HiddenStatesSettings {
            last: Vec::new(),
            mean: Vec::new(),
            mean_tokens: 120,
            text: TextSettings::default(),
            precision: Precision::default(),
            token_budget: 2048,
        }
    }
}

impl HiddenStatesSettings {
    /// Refuses settings that cannot be used.
    pub fn check(&self) -> Result<(), ModelError> {
        self.text.check()?;
        for (name, value) in [("mean_tokens", self.mean_tokens), ("token_budget", self.token_budget)] {
            if value == 0 {
                return Err(ModelError::Setting { name, value: "0".into(), expected: "it must be at least 1" });
            }
        }
        Ok(())
    }

    /// The depths of last tokens and means in a network of so many layers.
    pub(super) fn depths(&self, layers: usize) -> Result<(Vec<usize>, Vec<usize>), ModelError> {
        let of = |name: &'static str, given: &[usize], percent: &[usize]| {
            if given.is_empty() {
                let mut depths: Vec<usize> = percent.iter().map(|p| (layers * p).div_ceil(100).max(1)).collect();
                depths.dedup();
                return Ok(depths);
            }
            match given.iter().find(|&&depth| depth == 0 || depth > layers) {
                Some(depth) => Err(ModelError::Setting {
                    name,
                    value: format!("{depth} among {given:?}"),
                    expected: "each must be from 1 to the number of the network's layers",
                }),
                None => Ok(given.to_vec()),
            }
        };
        Ok((of("last", &self.last, &[50, 70, 87, 100])?, of("mean", &self.mean, &[50, 87])?))
    }
}
