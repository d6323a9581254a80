//! What of a language model is trained, and how that is written and read.

use std::path::Path;

use tch::{Kind, Tensor};

use super::CausalLm;
use crate::ModelError;
use crate::adapters::DEFAULT_ADAPTER;
use crate::peft::{restore_adapter, save_adapter};
use crate::text_record::TextRecord;
use crate::weights::Weights;

/// What a Hugging Face folder holds beside configuration and weights, where it does.
const COMPANIONS: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
];

impl CausalLm {
    /// The leaves of its active adapter, or of the whole network.
    ///
    /// # Errors
    /// A whole network that is not in f32: steps of training are too small for other numbers.
    pub(crate) fn leaves(&self, adapter: bool) -> Result<Vec<Tensor>, ModelError> {
        let tensors = match self.network.adapters.active_name().filter(|_| adapter) {
            Some(name) => self.network.adapter_tensors(name)?,
            None if adapter => return Err(ModelError::NoActiveAdapter),
            None if self.network.kind != Kind::Float => {
                return Err(ModelError::Setting {
                    name: "model.precision",
                    value: format!("{:?}", self.network.kind),
                    expected: "training all weights takes float32; or give an adapter (lora) to train",
                });
            }
            None => self.network.tensors(),
        };
        Ok(tensors.into_iter().map(|(_, tensor)| tensor.shallow_clone()).collect())
    }

    /// Writes the active adapter in PEFT's layout, and `ser.json`, which says how prompts and answers became texts.
    pub fn save_adapter(&self, folder: &Path) -> Result<(), ModelError> {
        let name = self.network.adapters.active_name().ok_or(ModelError::NoActiveAdapter)?;
        save_adapter(folder, &self.network, name, None, &self.tokenizer.folder().to_string_lossy())?;
        TextRecord::new(&self.tokenizer)?.write(folder)
    }

    /// Copies the weights of a folder in PEFT's layout into the adapter `default`, which was made with its settings.
    pub(crate) fn fill_adapter(&mut self, folder: &Path) -> Result<(), ModelError> {
        self.check_text(folder)?;
        if restore_adapter(folder, &self.network, DEFAULT_ADAPTER)?.is_none() {
            return Ok(());
        }
        let problem = "it holds a score head: it is a reward model's adapter, not a language model's".to_owned();
        Err(ModelError::Adapter { path: folder.to_owned(), problem })
    }

    /// The longest text that is trained on, in tokens: the tokenizer's `max_length`, or the network's positions.
    pub fn text_limit(&self) -> usize {
        let positions = usize::try_from(self.network.config.longest_text()).unwrap_or(usize::MAX);
        self.settings.text.max_length.unwrap_or(usize::MAX).min(positions)
    }

    /// Copies the weights of a folder that [`save`](Self::save) wrote into this network.
    pub(crate) fn fill(&mut self, folder: &Path) -> Result<(), ModelError> {
        let weights = Weights::from_folder(folder)?;
        for (name, tensor) in self.network.tensors() {
            let loaded = weights.load(&name, &tensor.size(), tensor.kind(), tensor.device())?;
            tch::no_grad(|| tensor.shallow_clone().f_copy_(&loaded))?;
        }
        Ok(())
    }

    /// [`save`](Self::save), and the files of its tokenizer and its generation beside it: a folder like the one it was
    /// loaded from.
    pub fn save_with_tokenizer(&self, folder: &Path) -> Result<(), ModelError> {
        self.save(folder)?;
        let from = self.tokenizer.folder();
        for name in COMPANIONS {
            let (source, target) = (from.join(name), folder.join(name));
            if source.exists() && source != target {
                std::fs::copy(&source, &target).map_err(|e| ModelError::file(&source, e))?;
            }
        }
        Ok(())
    }
}
