//! The settings of a LoRA adapter (Hu et al., 2022), under PEFT's names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ModelError;

/// The projections of a layer, by PEFT's short names.
pub(crate) const PROJECTIONS: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// The projections that get an update: PEFT's `target_modules`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// Projections whose names end with one of these, such as `q_proj` or `layers.0.self_attn.q_proj`.
    Names(Vec<String>),
    /// `all-linear`, or a regular expression over the whole of `model.layers.0.self_attn.q_proj`.
    Pattern(String),
}

impl<const N: usize> From<[&str; N]> for TargetModules {
    fn from(names: [&str; N]) -> Self {
        TargetModules::Names(names.map(str::to_owned).to_vec())
    }
}

impl TargetModules {
    pub(super) fn is_all_linear(pattern: &str) -> bool {
        pattern.eq_ignore_ascii_case("all-linear")
    }

    /// The modules with the shorthand `all-linear` replaced by its names.
    pub(crate) fn spelled_out(&self) -> Self {
        match self {
            TargetModules::Pattern(pattern) if Self::is_all_linear(pattern) => PROJECTIONS.into(),
            other => other.clone(),
        }
    }
}

/// An adapter's settings, under PEFT's names. `Default` = the paper: rank 8, alpha 32, dropout 0.1, on q and v.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSettings {
    /// Rank r of the update.
    pub rank: i64,
    /// The update is scaled by alpha / r.
    pub alpha: f64,
    /// Dropout on the adapter's input during training.
    pub dropout: f64,
    /// The projections that get an update.
    pub target_modules: TargetModules,
    /// Whether the scale is alpha / sqrt(r) (rank-stabilized LoRA; Kalajdzievski, 2023).
    pub use_rslora: bool,
    /// The biases of the network that are trained too.
    pub bias: LoraBias,
    /// Whether B has a bias.
    pub lora_bias: bool,
    /// Ranks of single modules, by patterns over the ends of their names.
    pub rank_pattern: BTreeMap<String, i64>,
    /// Alphas of single modules, by the same patterns.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Projections without an update although `target_modules` names them.
    pub exclude_modules: Option<TargetModules>,
    /// The number of layers, from the top, whose projections get an update; all if `None`. With it the layers below the
    /// lowest of them are frozen, and training makes no backward pass through them. It is written as
    /// `layers_to_transform`, which PEFT knows.
    pub layers: Option<i64>,
    /// The layers, from 0, whose projections get an update; all if empty. Only with names in `target_modules`.
    pub layers_to_transform: Vec<i64>,
    /// Patterns of the part of a module's name before the index of the layer; anything if empty.
    pub layers_pattern: Vec<String>,
    /// Weight-decomposed adaptation (DoRA; Liu et al., 2024): the rows of the updated weight are scaled to trained
    /// magnitudes.
    pub use_dora: bool,
}

impl LoraSettings {
    /// The checked settings of an adapter of a network with so many layers: `layers` as `layers_to_transform`.
    ///
    /// # Errors
    /// As [`check`](Self::check); [`ModelError::Layers`] for layers that the network does not have.
    pub(crate) fn for_network(&self, layers: i64) -> Result<Self, ModelError> {
        self.check()?;
        if self.layers_to_transform.iter().any(|&layer| layer >= layers) {
            let value = format!("{:?}", self.layers_to_transform);
            return Err(ModelError::Layers { name: "lora.layers_to_transform", value, layers });
        }
        let Some(top) = self.layers else { return Ok(self.clone()) };
        if top > layers {
            return Err(ModelError::Layers { name: "lora.layers", value: top.to_string(), layers });
        }
        Ok(LoraSettings {
            layers: None,
            layers_to_transform: (layers - top..layers).collect(),
            // PEFT takes no pattern beside a list of layers.
            target_modules: self.target_modules.spelled_out(),
            ..self.clone()
        })
    }
}

/// The biases that an adapter trains besides its updates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraBias {
    /// None.
    #[default]
    None,
    /// Those of all projections with a bias.
    All,
    /// Those of the projections that get an update.
    LoraOnly,
}

impl Default for LoraSettings {
    fn default() -> Self {
        LoraSettings {
            rank: 8,
            alpha: 32.0,
            dropout: 0.1,
            target_modules: ["q_proj", "v_proj"].into(),
            use_rslora: false,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            bias: LoraBias::None,
            lora_bias: false,
            exclude_modules: None,
            layers: None,
            layers_to_transform: Vec::new(),
            layers_pattern: Vec::new(),
            use_dora: false,
        }
    }
}
