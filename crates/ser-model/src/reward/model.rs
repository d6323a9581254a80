//! The reward model: a decoder with LoRA and a one-output head, as a scorer and a learner of pairs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::Pair;
use ser_data::{PairTokenizer, TextSettings, TokenizedPair};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::activations::{FrozenText, Keep, KeptActivations};
use crate::adapter::{DEFAULT_ADAPTER, base_head, load_adapter, read_settings};
use crate::checkpoint::{FreshAdapter, TextRecord};
use crate::network::{self, Entry, Loaded, Network, PackedBatch, Rows};
use crate::parallel::SharedModel;
use crate::seeds::Seeds;
use crate::{ActivationSettings, Device, LoraSettings, ModelError, NetworkConfig, Precision, TrainingSettings};

/// Settings of a reward model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardModelSettings {
    /// The LoRA adapter.
    pub lora: LoraSettings,
    /// The training.
    pub training: TrainingSettings,
    /// How pairs become texts and tokens.
    pub text: TextSettings,
    /// The floating-point format of the frozen network's computation.
    pub precision: Precision,
    /// Tokens in one forward pass of scoring.
    pub token_budget: usize,
    /// How the activations below an adapter on the top layers (`lora.layers`) are kept. Memory and folder are not serialized:
    /// results do not depend on them.
    #[serde(
        serialize_with = "ActivationSettings::serialize_format",
        skip_serializing_if = "ActivationSettings::is_exact"
    )]
    pub activations: ActivationSettings,
    /// Seed of a fresh adapter and head.
    pub init_seed: u64,
    /// Accepts an adapter whose `ser.json` says that it was trained on other texts, or with another tokenizer. Without it
    /// such an adapter is refused.
    #[serde(skip)]
    pub force_text: bool,
}

impl Default for RewardModelSettings {
    fn default() -> Self {
        RewardModelSettings {
            lora: LoraSettings::default(),
            training: TrainingSettings::default(),
            text: TextSettings::default(),
            precision: Precision::default(),
            // On a CPU, larger batches are not faster: they cost page faults.
            token_budget: 2048,
            activations: ActivationSettings::default(),
            init_seed: 0,
            force_text: false,
        }
    }
}

impl RewardModelSettings {
    /// Checks the values.
    pub fn check(&self) -> Result<(), ModelError> {
        self.lora.check()?;
        self.training.check()?;
        self.text.check()?;
        if self.token_budget == 0 {
            return Err(ModelError::Setting {
                name: "token_budget",
                value: "0".into(),
                expected: "it must be at least 1",
            });
        }
        Ok(())
    }
}

/// A reward model over a Hugging Face folder.
///
/// A score is the head's output at the last real token of a text. Batches are packed: the prompt that two answers share is
/// computed once, and nothing is padded. Calls share no state except the weights.
pub struct RewardModel {
    pub(super) folder: PathBuf,
    pub(super) network: Network,
    /// The base model's head, [1, hidden] in f32, which scores while the adapters are disabled.
    pub(super) base_head: Tensor,
    /// The head of each adapter, by name.
    pub(super) heads: HashMap<String, Tensor>,
    pub(super) activations: KeptActivations,
    pub(super) tokenizer: PairTokenizer,
    pub(super) settings: RewardModelSettings,
    /// The same model in other processes, which compute with this one.
    pub(super) shared: Option<SharedModel>,
}

impl RewardModel {
    /// Loads a base model and adds a fresh adapter. The head is the folder's `score.weight`, or a fresh one.
    pub fn from_folder(folder: &Path, settings: &RewardModelSettings, device: Device) -> Result<Self, ModelError> {
        Self::load(folder, None, settings, device)
    }

    /// Loads a base model with an adapter folder in PEFT's layout. The adapter's own settings replace `settings.lora`.
    ///
    /// # Errors
    /// [`ModelError::OtherText`] and [`ModelError::OtherTokenizer`] if the adapter's `ser.json` contradicts `settings.text`,
    /// unless [`RewardModelSettings::force_text`] is set. [`TextRequest::resolve`](crate::TextRequest::resolve) returns the
    /// text settings of an adapter's training.
    pub fn with_adapter(
        folder: &Path,
        adapter: &Path,
        settings: &RewardModelSettings,
        device: Device,
    ) -> Result<Self, ModelError> {
        let settings = RewardModelSettings { lora: read_settings(adapter)?, ..settings.clone() };
        Self::load(folder, Some(adapter), &settings, device)
    }

    fn load(
        folder: &Path,
        adapter: Option<&Path>,
        settings: &RewardModelSettings,
        device: Device,
    ) -> Result<Self, ModelError> {
        settings.check()?;
        let _span = tracing::debug_span!("load_reward_model", folder = %folder.display()).entered();
        let loaded = network::load(folder, &settings.text, false, settings.precision.kind(), device)?;
        let Loaded { mut network, tokenizer, weights } = loaded;
        if let Some(adapter) = adapter.filter(|_| !settings.force_text) {
            TextRecord::check(adapter, &tokenizer)?;
        }
        let device = network.device;
        let (hidden, std) = (network.config.hidden_size, network.config.initializer_range);
        let seeds = Seeds::new(settings.init_seed);
        let saved_head = match adapter {
            Some(folder) => load_adapter(folder, &mut network, DEFAULT_ADAPTER)?,
            None => {
                let mut fresh = FreshAdapter { seeds: &seeds, device };
                network.add_adapter(DEFAULT_ADAPTER, &settings.lora, &mut fresh)?;
                None
            }
        };
        let base_head = match base_head(&weights, hidden, device)? {
            Some(head) => head,
            None => {
                let mut head = Tensor::f_empty([1, hidden], (Kind::Float, tch::Device::Cpu))?;
                ser_libtorch::fill_normal(&mut head, 0.0, std, seeds.draw())?;
                head.f_to_device(device)?
            }
        };
        let head = saved_head.map_or_else(|| base_head.f_detach_copy(), Ok)?;
        Ok(RewardModel {
            activations: KeptActivations::new(&settings.activations),
            folder: folder.to_owned(),
            network,
            base_head,
            heads: HashMap::from([(DEFAULT_ADAPTER.to_owned(), head)]),
            tokenizer,
            settings: settings.clone(),
            shared: None,
        })
    }

    /// The network's shape.
    pub fn config(&self) -> &NetworkConfig {
        &self.network.config
    }

    /// The tokens of pairs. They are not cached: ids repeat between data sets, and a policy's answers are unlimited, so a cache
    /// would return tokens of another text or grow without bound.
    pub(super) fn tokenized(&self, pairs: &[Arc<Pair>]) -> Result<Vec<TokenizedPair>, ModelError> {
        Ok(self.tokenizer.tokenize(pairs)?)
    }

    /// The tokenizer, with its text settings.
    pub fn tokenizer(&self) -> &PairTokenizer {
        &self.tokenizer
    }

    pub(super) fn pack(&self, pairs: &[&TokenizedPair]) -> Result<PackedBatch, ModelError> {
        PackedBatch::of_pairs(pairs, &self.network.config, self.network.device)
    }

    /// Raw scores of pairs in one packed batch, [2 * pairs] in f32: A and B of each pair.
    pub(super) fn scores(&self, pairs: &[&TokenizedPair], keep: Keep) -> Result<Tensor, ModelError> {
        let (batch, entry) = (self.pack(pairs)?, self.entry(pairs, keep)?);
        self.scores_of(&self.network.forward_after(entry, &batch, Rows::Last, None)?)
    }

    /// The output of the frozen layers below the adapter, at which a forward pass starts; `None` if it starts at the embeddings.
    pub(super) fn entry(&self, pairs: &[&TokenizedPair], keep: Keep) -> Result<Option<Entry>, ModelError> {
        let texts: Vec<FrozenText<'_>> = pairs.iter().map(|pair| FrozenText::Pair(pair)).collect();
        self.activations.entry(&self.network, &texts, keep)
    }

    /// The number of layers below the lowest one that the adapter changes; a training makes no backward pass through them.
    pub(crate) fn frozen_layers(&self) -> usize {
        self.network.frozen_layers()
    }

    /// Applies the head: [texts, hidden] -> [texts] in f32.
    pub(crate) fn scores_of(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(hidden.f_to_kind(Kind::Float)?.f_matmul(&self.head().f_transpose(0, 1)?)?.f_view([-1])?)
    }
}
