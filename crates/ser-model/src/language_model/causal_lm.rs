//! The causal language model: a decoder with its LM head and its tokenizer.

use std::path::Path;

use ser_core::Message;
use ser_data::{PairTokenizer, TextSettings};
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::activations::KeptActivations;
use crate::adapter::load_adapter;
use crate::checkpoint::{Fields, Fresh, FreshAdapter, ModelFiles, TextRecord, save, write_json};
use crate::network::{self, Loaded, Network, PackedBatch, Rows, TokenLogProbs};
use crate::parallel::SharedModel;
use crate::seeds::Seeds;
use crate::{ActivationSettings, Device, LoraSettings, ModelError, NetworkConfig, Precision};

/// Settings of a causal language model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CausalLmSettings {
    /// How prompts and answers become texts and tokens.
    pub text: TextSettings,
    /// The floating-point format of the computation.
    pub precision: Precision,
    /// Tokens in one forward pass over prompts, or over texts to be evaluated.
    pub token_budget: usize,
    /// The largest number of answers generated at the same time.
    pub batch_answers: usize,
    /// How the activations below an adapter on the top layers (`lora.layers`) are kept in SFT and DPO. Memory and folder are
    /// not serialized: results do not depend on them.
    #[serde(
        serialize_with = "ActivationSettings::serialize_format",
        skip_serializing_if = "ActivationSettings::is_exact"
    )]
    pub activations: ActivationSettings,
    /// Accepts an adapter whose `ser.json` says that it was trained on other texts, or with another tokenizer. Without it
    /// such an adapter is refused.
    #[serde(skip)]
    pub force_text: bool,
}

impl Default for CausalLmSettings {
    fn default() -> Self {
        CausalLmSettings {
            text: TextSettings::default(),
            precision: Precision::default(),
            token_budget: 2048,
            batch_answers: 64,
            activations: ActivationSettings::default(),
            force_text: false,
        }
    }
}

impl CausalLmSettings {
    /// Checks the values.
    pub fn check(&self) -> Result<(), ModelError> {
        self.text.check()?;
        for (name, value) in [("token_budget", self.token_budget), ("batch_answers", self.batch_answers)] {
            if value == 0 {
                return Err(ModelError::Setting { name, value: "0".into(), expected: "it must be at least 1" });
            }
        }
        Ok(())
    }
}

/// A decoder with a language-model head, the tokenizer of its folder, and LoRA adapters.
pub struct CausalLm {
    pub(crate) network: Network,
    pub(crate) tokenizer: PairTokenizer,
    pub(crate) settings: CausalLmSettings,
    pub(crate) activations: KeptActivations,
    /// Every id that ends an answer: those of config.json, generation_config.json and the tokenizer.
    pub(crate) stop_ids: Vec<u32>,
    /// The same model in other processes, which train with this one.
    pub(crate) shared: Option<SharedModel>,
}

impl CausalLm {
    /// Loads a Hugging Face folder, or a GGUF file (feature `gguf`). The head is `lm_head.weight`, or the embedding if
    /// config.json ties them.
    pub fn from_folder(folder: &Path, settings: &CausalLmSettings, device: Device) -> Result<Self, ModelError> {
        settings.check()?;
        let _span = tracing::debug_span!("load_language_model", folder = %folder.display()).entered();
        let loaded = network::load(folder, &settings.text, true, settings.precision.kind(), device)?;
        let Loaded { network, tokenizer, .. } = loaded;
        let mut stop_ids = generation_eos(&ModelFiles::open(folder)?)?;
        add_stop_ids(&mut stop_ids, &network.config, &tokenizer);
        let activations = KeptActivations::new(&settings.activations);
        Ok(CausalLm { network, tokenizer, settings: settings.clone(), activations, stop_ids, shared: None })
    }

    /// A network in f32 with random weights.
    pub fn fresh(
        config: NetworkConfig,
        tokenizer: PairTokenizer,
        seed: u64,
        device: Device,
    ) -> Result<Self, ModelError> {
        let mut source = Fresh { std: config.initializer_range, seeds: Seeds::new(seed), device: device.0 };
        let network = Network::new(config, &mut source, true, Kind::Float, device.0)?;
        let settings = CausalLmSettings { text: tokenizer.settings().clone(), ..CausalLmSettings::default() };
        let mut stop_ids = Vec::new();
        add_stop_ids(&mut stop_ids, &network.config, &tokenizer);
        let activations = KeptActivations::new(&settings.activations);
        Ok(CausalLm { network, tokenizer, settings, activations, stop_ids, shared: None })
    }

    /// Adds a fresh adapter and makes it the active one. It does not change the model until it is trained.
    pub fn add_adapter(&mut self, name: &str, settings: &LoraSettings, seed: u64) -> Result<(), ModelError> {
        let device = self.network.device;
        self.network.add_adapter(name, settings, &mut FreshAdapter { seeds: &Seeds::new(seed), device })
    }

    /// Adds the adapter of a folder in PEFT's layout under a name and makes it the active one.
    ///
    /// # Errors
    /// [`ModelError::OtherText`] and [`ModelError::OtherTokenizer`] if the adapter's `ser.json` contradicts the text settings
    /// or the tokenizer, unless [`CausalLmSettings::force_text`] is set.
    pub fn load_adapter(&mut self, folder: &Path, name: &str) -> Result<(), ModelError> {
        self.check_text(folder)?;
        let _span = tracing::debug_span!("load_adapter", folder = %folder.display(), name).entered();
        let active = self.network.adapters.active();
        if load_adapter(folder, &mut self.network, name)?.is_some() {
            self.network.remove_last_adapter(active);
            let problem =
                "it contains a score head, so it is the adapter of a reward model, not of a language model".to_owned();
            return Err(ModelError::Adapter { path: folder.to_owned(), problem });
        }
        Ok(())
    }

    /// The network's shape.
    pub fn config(&self) -> &NetworkConfig {
        &self.network.config
    }

    /// The tokenizer of its folder.
    pub fn tokenizer(&self) -> &PairTokenizer {
        &self.tokenizer
    }

    /// Every token id that ends an answer.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// The tokens of a prompt, as in training on answers; the bos token for an empty prompt.
    pub fn tokenize_prompt(&self, prompt: &[Message]) -> Result<Vec<u32>, ModelError> {
        let tokens = self.tokenizer.encode_prompt(prompt)?;
        if !tokens.is_empty() {
            return Ok(tokens);
        }
        let bos = self.network.config.bos_token_id.and_then(|id| u32::try_from(id).ok()).or(self.tokenizer.bos_id());
        bos.map(|id| vec![id]).ok_or(ModelError::EmptyPrompt)
    }

    /// Next-token logits [tokens, vocab] of single texts, concatenated: row t predicts token t + 1.
    pub(crate) fn logits(&self, texts: &[&[u32]], dropout: Option<&Seeds>) -> Result<Tensor, ModelError> {
        let batch = PackedBatch::of_texts(texts, &self.network.config, self.network.device)?;
        self.network.logits(&self.network.forward(&batch, Rows::All, dropout)?)
    }

    /// log p of each token given the previous ones, from the second token on: one list per text, computed in f32.
    pub fn log_probs(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f64>>, ModelError> {
        let mut all = Vec::with_capacity(texts.len());
        for &text in texts {
            let targets: Vec<i64> = text.iter().skip(1).map(|&id| i64::from(id)).collect();
            let values = tch::no_grad(|| -> Result<Vec<f32>, ModelError> {
                let logits = self.logits(&[text], None)?.f_narrow(0, 0, targets.len() as i64)?;
                let targets = ser_libtorch::upload(&targets, self.network.device)?;
                Ok(Vec::try_from(&TokenLogProbs::new(&logits, &targets)?.log_probs)?)
            })?;
            all.push(values.into_iter().map(f64::from).collect());
        }
        Ok(all)
    }

    pub(crate) fn check_text(&self, folder: &Path) -> Result<(), ModelError> {
        if self.settings.force_text { Ok(()) } else { TextRecord::check(folder, &self.tokenizer) }
    }

    /// Writes `config.json` and `model.safetensors`, which transformers loads, and `ser.json`, the record of the text settings.
    /// The files of the tokenizer are not written.
    pub fn save(&self, folder: &Path) -> Result<(), ModelError> {
        std::fs::create_dir_all(folder).map_err(|e| ModelError::file(folder, e))?;
        let tensors: Vec<(String, Tensor)> =
            self.network.tensors().into_iter().map(|(name, tensor)| (name, tensor.shallow_clone())).collect();
        save(&folder.join("model.safetensors"), &tensors)?;
        write_json(&folder.join("config.json"), &self.network.config.to_json())?;
        TextRecord::new(&self.tokenizer)?.write(folder)
    }
}

/// `eos_token_id` of generation_config.json: one id or several; none if there is no such file.
fn generation_eos(files: &ModelFiles) -> Result<Vec<u32>, ModelError> {
    const NAME: &str = "generation_config.json";
    let Some(text) = files.text(NAME)? else { return Ok(Vec::new()) };
    let fields = Fields::parse(&text, &files.path_of(NAME))?;
    let id = |id: i64| u32::try_from(id).map_err(|_| fields.wrong("eos_token_id", "a token id, or a list of them"));
    fields.integers("eos_token_id")?.into_iter().map(id).collect()
}

/// Adds the ids that config.json and the tokenizer name, sorted and without duplicates.
fn add_stop_ids(ids: &mut Vec<u32>, config: &NetworkConfig, tokenizer: &PairTokenizer) {
    ids.extend(config.eos_token_ids.iter().filter_map(|&id| u32::try_from(id).ok()));
    ids.extend(tokenizer.eos_id());
    ids.sort_unstable();
    ids.dedup();
}
