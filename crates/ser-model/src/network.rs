//! The decoder network: one way through it, over packed batches, for every family.

use tch::{Device, Kind, Tensor};

use crate::adapters::Adapters;
use crate::kernels::{linear, rms_norm};
use crate::layer::Layer;
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

/// How the rows of one forward pass see each other, and rows before them. Called once per layer, the first one first.
pub(crate) trait Attention {
    /// q: [rows, heads, dim], or the last rows alone if those are `asking`; k, v: [rows, kv_heads, dim]; result as q. Of
    /// its text, a place sees itself and the `window` - 1 places before it.
    fn attend(
        &mut self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        asking: Rows,
        window: Option<i64>,
    ) -> Result<Tensor, ModelError>;
}

/// Within the texts of a packed batch.
impl Attention for &PackedBatch {
    fn attend(
        &mut self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        asking: Rows,
        window: Option<i64>,
    ) -> Result<Tensor, ModelError> {
        let segments = match asking {
            Rows::All => &self.segments,
            Rows::Last => &self.last_segments,
        };
        crate::attention::attend(q, k, v, segments, window)
    }
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
    /// The kind it computes in. Weights are of that kind, or f32 if they are trained.
    pub(crate) kind: Kind,
    /// Which adapters the linear maps hold, and which of them computes.
    pub(crate) adapters: Adapters,
    pub(crate) layers: Vec<Layer>,
    embedding: Tensor,
    norm: Tensor,
    /// The output embedding where it is not the input's.
    lm_head: Option<Tensor>,
}

impl Way {
    /// The way of rows at some of its own rows.
    pub(crate) fn at(&self, index: &Tensor) -> Result<Self, ModelError> {
        let mut places = Vec::with_capacity(self.places.len());
        for place in &self.places {
            let rotation = place.rotation.select(&index.f_to_device(place.device)?)?;
            places.push(Place { device: place.device, rotation, last: None });
        }
        Ok(Way { places })
    }
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
        let pass = Pass { adapter: self.adapters.active(), dropout };
        self.run(&batch.tokens, &self.way(batch, rows)?, &mut &*batch, pass)
    }

    /// The same with rows of tokens from anywhere.
    pub(crate) fn run(
        &self,
        tokens: &Tensor,
        way: &Way,
        attention: &mut dyn Attention,
        pass: Pass<'_>,
    ) -> Result<Tensor, ModelError> {
        let mut x = self.embed(tokens)?;
        for i in 0..self.layers.len() {
            x = self.layer(i, &x, attention, way, pass)?;
        }
        self.last_norm(&x)
    }

    /// What every layer needs of a batch.
    pub(crate) fn way(&self, batch: &PackedBatch, rows: Rows) -> Result<Way, ModelError> {
        self.way_of(&batch.positions, &batch.lengths, (rows == Rows::Last).then_some(batch.last_rows.as_slice()))
    }

    /// What every layer needs of rows at `positions` in texts of `lengths` tokens, of which only `last` leave.
    pub(crate) fn way_of(&self, positions: &[i64], lengths: &[i64], last: Option<&[i64]>) -> Result<Way, ModelError> {
        let mut way = Way { places: Vec::new() };
        for layer in &self.layers {
            let device = layer.device();
            if way.places.iter().any(|place| place.device == device) {
                continue;
            }
            let rotation = Rotation::new(&self.config, positions, lengths, self.kind, device)?;
            let last = last.map(|rows| Tensor::f_from_slice(rows)?.f_to_device(device)).transpose()?;
            way.places.push(Place { device, rotation, last });
        }
        Ok(way)
    }

    /// [rows] -> [rows, hidden]
    pub(crate) fn embed(&self, tokens: &Tensor) -> Result<Tensor, ModelError> {
        let embedded = Tensor::f_embedding(&self.embedding, tokens, -1, false, false)?;
        if embedded.kind() == self.kind { Ok(embedded) } else { Ok(embedded.f_to_kind(self.kind)?) }
    }

    /// Layer `i`; the last one leaves out the rows that are not wanted.
    pub(crate) fn layer(
        &self,
        i: usize,
        x: &Tensor,
        attention: &mut dyn Attention,
        way: &Way,
        pass: Pass<'_>,
    ) -> Result<Tensor, ModelError> {
        let unchanged = || Ok(x.shallow_clone());
        let Some(layer) = self.layers.get(i) else { return unchanged() };
        let Some(place) = way.places.iter().find(|place| place.device == layer.device()) else { return unchanged() };
        let last = place.last.as_ref().filter(|_| i + 1 == self.layers.len());
        // From one GPU to the next, where the layers are spread; else nothing happens.
        layer.forward(&x.f_to_device(place.device)?, attention, last, &place.rotation, &self.config, pass)
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
        linear(hidden, self.lm_head.as_ref().unwrap_or(&self.embedding), None)
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
