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

/// What every layer needs of a batch, once per device that layers lie on.
#[derive(Debug)]
pub(crate) struct Way {
    places: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    device: Device,
    rotation: Rotation,
    /// The rows that leave the last layer, if not all.
    last: Option<Tensor>,
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
        let way = self.way(batch, rows)?;
        let pass = Pass { adapter: self.adapters.active(), dropout };
        let mut x = self.embed(batch)?;
        for i in 0..self.layers.len() {
            x = self.layer(i, &x, batch, &way, pass)?;
        }
        self.last_norm(&x)
    }

    /// What every layer needs of a batch.
    pub(crate) fn way(&self, batch: &PackedBatch, rows: Rows) -> Result<Way, ModelError> {
        let mut way = Way { places: Vec::new() };
        for layer in &self.layers {
            let device = layer.device();
            if way.places.iter().any(|place| place.device == device) {
                continue;
            }
            let rotation = Rotation::new(&self.config, &batch.positions, &batch.lengths, self.kind, device)?;
            let last = match rows {
                Rows::All => None,
                Rows::Last => Some(Tensor::f_from_slice(&batch.last_rows)?.f_to_device(device)?),
            };
            way.places.push(Place { device, rotation, last });
        }
        Ok(way)
    }

    /// [rows, hidden]
    pub(crate) fn embed(&self, batch: &PackedBatch) -> Result<Tensor, ModelError> {
        Ok(Tensor::f_embedding(&self.embedding, &batch.tokens, -1, false, false)?)
    }

    /// Layer `i`; the last one leaves out the rows that are not wanted.
    pub(crate) fn layer(
        &self,
        i: usize,
        x: &Tensor,
        batch: &PackedBatch,
        way: &Way,
        pass: Pass<'_>,
    ) -> Result<Tensor, ModelError> {
        let unchanged = || Ok(x.shallow_clone());
        let Some(layer) = self.layers.get(i) else { return unchanged() };
        let Some(place) = way.places.iter().find(|place| place.device == layer.device()) else { return unchanged() };
        let last = place.last.as_ref().filter(|_| i + 1 == self.layers.len());
        // From one GPU to the next, where the layers are spread; else nothing happens.
        layer.forward(&x.f_to_device(place.device)?, batch, last, &place.rotation, &self.config, pass)
    }

    pub(crate) fn last_norm(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        rms_norm(&x.f_to_device(self.device)?, &self.norm, self.config.rms_norm_eps)
    }

    /// Whether the embedding is trained too.
    pub(crate) fn embedding_is_trained(&self) -> bool {
        self.embedding.requires_grad()
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
