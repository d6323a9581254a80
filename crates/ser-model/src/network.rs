//! The decoder network: one way through it, over packed batches, for every family.

use tch::{Device, Kind, Tensor};

use crate::adapters::Adapters;
use crate::layer::{Layer, rms_norm};
use crate::lora::Pass;
use crate::packed::PackedBatch;
use crate::rope::Rotation;
use crate::seeds::Seeds;
use crate::source::TensorSource;
use crate::{ModelError, NetworkConfig};

/// Which rows of the last layer are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    /// All of them: [rows, hidden].
    All,
    /// Each text's last token: [texts, hidden]. The last layer then computes nothing for the others but keys and values.
    Last,
}

/// Embedding, layers and final norm, without a head.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) config: NetworkConfig,
    pub(crate) device: Device,
    pub(crate) kind: Kind,
    /// Which adapters the linear maps hold, and which of them computes.
    pub(crate) adapters: Adapters,
    pub(crate) layers: Vec<Layer>,
    embedding: Tensor,
    norm: Tensor,
    /// The output embedding where it is not the input's.
    lm_head: Option<Tensor>,
}

impl Network {
    pub(crate) fn new(
        config: NetworkConfig,
        source: &mut dyn TensorSource,
        with_lm_head: bool,
        kind: Kind,
        device: Device,
    ) -> Result<Self, ModelError> {
        let embedding = source.tensor("embed_tokens.weight", &[config.vocab_size, config.hidden_size])?;
        let layers = (0..config.layers).map(|i| Layer::new(&config, i, source)).collect::<Result<_, _>>()?;
        let norm = source.tensor("norm.weight", &[config.hidden_size])?;
        let lm_head = (with_lm_head && !config.tied)
            .then(|| source.tensor("lm_head.weight", &[config.vocab_size, config.hidden_size]))
            .transpose()?;
        Ok(Network { config, device, kind, adapters: Adapters::default(), layers, embedding, norm, lm_head })
    }

    /// The final norm's output: [rows, hidden] or [texts, hidden]. The active adapter computes, if there is one.
    pub(crate) fn forward(
        &self,
        batch: &PackedBatch,
        rows: Rows,
        dropout: Option<&Seeds>,
    ) -> Result<Tensor, ModelError> {
        let config = &self.config;
        let pass = Pass { adapter: self.adapters.active(), dropout };
        let rotation = Rotation::new(config, &batch.positions, &batch.lengths, self.kind, self.device)?;
        let last = Tensor::f_from_slice(&batch.last_rows)?.f_to_device(self.device)?;
        let mut x = Tensor::f_embedding(&self.embedding, &batch.tokens, -1, false, false)?;
        for (i, layer) in self.layers.iter().enumerate() {
            let prune = rows == Rows::Last && i + 1 == self.layers.len();
            x = layer.forward(&x, batch, prune.then_some(&last), &rotation, config, pass)?;
        }
        rms_norm(&x, &self.norm, config.rms_norm_eps)
    }

    /// Next-token logits of hidden rows: [rows, hidden] -> [rows, vocab].
    pub(crate) fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        Ok(hidden.f_linear(self.lm_head.as_ref().unwrap_or(&self.embedding), None::<&Tensor>)?)
    }

    /// All of the network's own tensors under Hugging Face's names.
    pub(crate) fn tensors(&self) -> Vec<(String, &Tensor)> {
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), &self.embedding)];
        for (i, layer) in self.layers.iter().enumerate() {
            for (path, linear) in layer.linears() {
                tensors.push((format!("model.layers.{i}.{path}.weight"), &linear.weight));
                tensors.extend(linear.bias.as_ref().map(|b| (format!("model.layers.{i}.{path}.bias"), b)));
            }
            for (path, norm) in layer.norms() {
                tensors.push((format!("model.layers.{i}.{path}.weight"), norm));
            }
        }
        tensors.push(("model.norm.weight".to_owned(), &self.norm));
        tensors.extend(self.lm_head.as_ref().map(|head| ("lm_head.weight".to_owned(), head)));
        tensors
    }
}
