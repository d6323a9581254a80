//! The trainable parameters of a language model, and their files.

use std::path::Path;

use tch::Kind;

use super::causal_lm::CausalLm;
use crate::ModelError;
use crate::adapter::{DEFAULT_ADAPTER, restore_adapter, save_adapter};
use crate::checkpoint::{ModelFiles, TextRecord, Weights, weight_prefix};
use crate::train::Parameter;

/// Files of a Hugging Face folder besides configuration and weights.
const COMPANIONS: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
];

impl CausalLm {
    /// The parameters of the active adapter, or of the whole network, in f32.
    ///
    /// A network in half precision gets f32 weights, which are cast when they are used, because training steps are often
    /// smaller than half precision can add to a weight (mixed precision; Micikevicius et al., 2018).
    pub(crate) fn parameters(&mut self, adapter: bool) -> Result<Vec<Parameter>, ModelError> {
        if !adapter {
            self.activations.clear();
            self.keep_weights_in_f32()?;
        }
        let tensors = match self.network.adapters.active_name().filter(|_| adapter) {
            Some(name) => self.network.adapter_tensors(name)?,
            None if adapter => return Err(ModelError::NoActiveAdapter),
            None => self.network.tensors(),
        };
        Ok(tensors.into_iter().map(|(name, tensor)| Parameter::new(name, tensor)).collect())
    }

    /// Replaces weights in half precision by f32 ones, read again from the model's folder, which may store them more exactly.
    fn keep_weights_in_f32(&mut self) -> Result<(), ModelError> {
        if self.network.kind == Kind::Float {
            return Ok(());
        }
        let stored = Weights::from_folder(self.tokenizer.folder())?;
        let prefix = weight_prefix(&stored);
        for (name, tensor) in self.network.tensors() {
            if tensor.kind() == Kind::Float {
                continue;
            }
            let name = match name.strip_prefix("model.") {
                Some(rest) => format!("{prefix}{rest}"),
                None => name,
            };
            let exact = stored.load(&name, &tensor.size(), Kind::Float, tensor.device())?;
            tensor.shallow_clone().f_set_data(&exact)?;
        }
        Ok(())
    }

    /// Writes the active adapter in PEFT's layout, and `ser.json`, the record of the text settings.
    pub fn save_adapter(&self, folder: &Path) -> Result<(), ModelError> {
        let name = self.network.adapters.active_name().ok_or(ModelError::NoActiveAdapter)?;
        save_adapter(folder, &self.network, name, None, &self.tokenizer.folder().to_string_lossy())?;
        TextRecord::new(&self.tokenizer)?.write(folder)
    }

    /// Copies the weights of a folder in PEFT's layout into the adapter `default`, which must have the same settings.
    pub(crate) fn restore_adapter(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.check_text(folder)?;
        if restore_adapter(folder, &self.network, DEFAULT_ADAPTER)?.is_none() {
            return Ok(());
        }
        let problem =
            "it contains a score head, so it is the adapter of a reward model, not of a language model".to_owned();
        Err(ModelError::Adapter { path: folder.to_owned(), problem })
    }

    /// The longest text for training, in tokens: the tokenizer's `max_length`, or the network's positions.
    pub fn text_limit(&self) -> usize {
        let positions = usize::try_from(self.network.config.longest_text()).unwrap_or(usize::MAX);
        self.settings.text.max_length.unwrap_or(usize::MAX).min(positions)
    }

    /// Copies the weights that [`save`](Self::save) wrote into this network.
    pub(crate) fn restore_weights(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.activations.clear();
        let weights = Weights::from_folder(folder)?;
        for (name, tensor) in self.network.tensors() {
            let loaded = weights.load(&name, &tensor.size(), tensor.kind(), tensor.device())?;
            tch::no_grad(|| tensor.shallow_clone().f_copy_(&loaded))?;
        }
        Ok(())
    }

    /// Writes the files of [`save`](Self::save), of the tokenizer and of the generation settings: a folder like the one that
    /// the model was loaded from.
    pub fn save_with_tokenizer(&self, folder: &Path) -> Result<(), ModelError> {
        self.save(folder)?;
        ModelFiles::open(self.tokenizer.folder())?.copy(&COMPANIONS, folder)
    }
}
