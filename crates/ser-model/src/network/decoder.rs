//! The decoder: embedding, layers and final norm, shared by every model family.

use tch::{Device, Kind, Tensor};

use super::adapters::Adapters;
use super::attention::{Attention, Rows};
use super::kernels::{linear, rms_norm};
use super::layer::Layer;
use super::linear::{ForwardMode, Linear};
use super::lora::AdapterDelta;
use super::packed::PackedBatch;
use super::rope::{Rotation, RotationCache};
use crate::ModelError;
use crate::checkpoint::TensorSource;
use crate::config::NetworkConfig;
use crate::seeds::Seeds;

/// The activations at which a forward pass starts.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The layer that they enter.
    pub(crate) layer: usize,
    /// [rows, hidden], the rows of a packed batch.
    pub(crate) rows: Tensor,
}

/// Per-device inputs shared by all layers.
#[derive(Debug)]
pub(crate) struct RotaryTables {
    devices: Vec<DeviceTables>,
}

/// The inputs of the layers on one device.
#[derive(Debug)]
struct DeviceTables {
    device: Device,
    rotation: Rotation,
    /// The rows that leave the last layer; `None` for all.
    last: Option<Tensor>,
}

/// Embedding, layers and final norm, without a head.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) config: NetworkConfig,
    pub(crate) device: Device,
    /// The kind that it computes in. Weights are of that kind, or f32 if they are trained.
    pub(crate) kind: Kind,
    /// The adapters of the linear maps, and which of them is active.
    pub(crate) adapters: Adapters,
    pub(crate) layers: Vec<Layer>,
    embedding: Tensor,
    norm: Tensor,
    /// The output embedding; `None` if it is tied to the input embedding.
    lm_head: Option<Tensor>,
    rotations: RotationCache,
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
        Ok(Network {
            config,
            device,
            kind,
            adapters: Adapters::default(),
            layers,
            embedding,
            norm,
            lm_head,
            rotations: RotationCache::default(),
        })
    }

    /// The output of the final norm: [rows, hidden] or [texts, hidden]. The active adapter applies, if there is one.
    pub(crate) fn forward(
        &self,
        batch: &PackedBatch,
        rows: Rows,
        dropout: Option<&Seeds>,
    ) -> Result<Tensor, ModelError> {
        self.forward_after(None, batch, rows, dropout)
    }

    /// As [`forward`](Self::forward), from the rows of `entry` if they are given.
    pub(crate) fn forward_after(
        &self,
        entry: Option<Entry>,
        batch: &PackedBatch,
        rows: Rows,
        dropout: Option<&Seeds>,
    ) -> Result<Tensor, ModelError> {
        let mode = ForwardMode { adapter: self.adapters.active(), dropout, rows: batch.places.as_ref() };
        let entry = self.entry_or_embedding(entry, batch)?;
        self.forward_from(entry, &self.tables(batch, rows)?, &mut &*batch, mode)
    }

    /// `entry`, or the embedded tokens of the batch.
    pub(crate) fn entry_or_embedding(&self, entry: Option<Entry>, batch: &PackedBatch) -> Result<Entry, ModelError> {
        entry.map_or_else(|| Ok(Entry { layer: 0, rows: self.embed(&batch.tokens)? }), Ok)
    }

    /// As [`forward`](Self::forward), with the given tokens, rotary tables and attention.
    pub(crate) fn forward_rows(
        &self,
        tokens: &Tensor,
        tables: &RotaryTables,
        attention: &mut dyn Attention,
        mode: ForwardMode<'_>,
    ) -> Result<Tensor, ModelError> {
        let entry = Entry { layer: 0, rows: self.embed(tokens)? };
        self.forward_from(entry, tables, attention, mode)
    }

    /// As [`forward_rows`](Self::forward_rows), from the rows that enter a layer.
    fn forward_from(
        &self,
        entry: Entry,
        tables: &RotaryTables,
        attention: &mut dyn Attention,
        mode: ForwardMode<'_>,
    ) -> Result<Tensor, ModelError> {
        let mut x = entry.rows;
        for i in entry.layer..self.layers.len() {
            x = self.layer(i, &x, attention, tables, mode)?;
        }
        self.last_norm(&x)
    }

    /// The rows of a batch that enter layer `end`, computed without adapters: [rows, hidden].
    pub(crate) fn rows_entering(&self, end: usize, batch: &PackedBatch) -> Result<Tensor, ModelError> {
        let (tables, mode) = (self.tables(batch, Rows::All)?, ForwardMode::without_dropout(None));
        let mut x = self.embed(&batch.tokens)?;
        for i in 0..end {
            x = self.layer(i, &x, &mut &*batch, &tables, mode)?;
        }
        Ok(x)
    }

    /// The inputs shared by all layers for a batch.
    pub(crate) fn tables(&self, batch: &PackedBatch, rows: Rows) -> Result<RotaryTables, ModelError> {
        self.tables_at(&batch.positions, &batch.lengths, (rows == Rows::Last).then_some(batch.last_rows.as_slice()))
    }

    /// The inputs shared by all layers for rows at `positions` in texts of `lengths` tokens. Only the rows `last` leave
    /// the last layer; `None` for all.
    pub(crate) fn tables_at(
        &self,
        positions: &[i64],
        lengths: &[i64],
        last: Option<&[i64]>,
    ) -> Result<RotaryTables, ModelError> {
        let mut devices: Vec<DeviceTables> = Vec::new();
        for layer in &self.layers {
            let device = layer.device();
            if devices.iter().any(|tables| tables.device == device) {
                continue;
            }
            let rotation = self.rotations.rows(&self.config, positions, lengths, self.kind, device)?;
            let last = last.map(|rows| ser_libtorch::upload(rows, device)).transpose()?;
            devices.push(DeviceTables { device, rotation, last });
        }
        Ok(RotaryTables { devices })
    }

    /// [rows] -> [rows, hidden]
    pub(crate) fn embed(&self, tokens: &Tensor) -> Result<Tensor, ModelError> {
        let embedded = Tensor::f_embedding(&self.embedding, tokens, -1, false, false)?;
        if embedded.kind() == self.kind { Ok(embedded) } else { Ok(embedded.f_to_kind(self.kind)?) }
    }

    /// Layer `i`. The last one computes only the rows that leave it.
    pub(crate) fn layer(
        &self,
        i: usize,
        x: &Tensor,
        attention: &mut dyn Attention,
        tables: &RotaryTables,
        mode: ForwardMode<'_>,
    ) -> Result<Tensor, ModelError> {
        let unchanged = || Ok(x.shallow_clone());
        let Some(layer) = self.layers.get(i) else { return unchanged() };
        let Some(tables) = tables.devices.iter().find(|tables| tables.device == layer.device()) else {
            return unchanged();
        };
        let last = tables.last.as_ref().filter(|_| i + 1 == self.layers.len());
        // Copies only where the layers are spread over several GPUs.
        layer.forward(&x.f_to_device(tables.device)?, attention, last, &tables.rotation, &self.config, mode)
    }

    pub(crate) fn last_norm(&self, x: &Tensor) -> Result<Tensor, ModelError> {
        rms_norm(&x.f_to_device(self.device)?, &self.norm, self.config.rms_norm_eps)
    }

    /// Whether the embedding is trained too.
    pub(crate) fn embedding_is_trained(&self) -> bool {
        self.embedding.requires_grad()
    }

    /// The number of layers below the lowest one that the active adapter changes, if nothing in them is trained. Their output
    /// is a function of the text alone. While adapters are disabled, all layers are such; the number is then that of the last
    /// adapter, so that what was computed for it serves. 0 without adapters.
    pub(crate) fn frozen_layers(&self) -> usize {
        let Some(slot) = self.adapters.active().or(self.adapters.names().len().checked_sub(1)) else { return 0 };
        let changes = |linear: &Linear| linear.delta(slot).is_some_and(AdapterDelta::is_some);
        let adapted = |layer: &Layer| layer.linears().iter().any(|(_, linear)| changes(linear));
        self.layers.iter().position(adapted).unwrap_or(0).min(self.lowest_trained())
    }

    /// The lowest layer with a trained tensor, of its own or of the active adapter; the number of layers if no layer has one.
    /// 0 if the embedding is trained.
    pub(crate) fn lowest_trained(&self) -> usize {
        let slot = self.adapters.active();
        let trained = |layer: &Layer| {
            layer.linears().iter().any(|(_, linear)| linear.is_trained(slot))
                || layer.norms().iter().any(|(_, norm)| norm.requires_grad())
        };
        if self.embedding_is_trained() {
            return 0;
        }
        self.layers.iter().position(trained).unwrap_or(self.layers.len())
    }

    /// Next-token logits of hidden rows: [rows, hidden] -> [rows, vocab].
    pub(crate) fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        linear(hidden, self.lm_head.as_ref().unwrap_or(&self.embedding), None)
    }

    /// The tensors that the input of layer `end` depends on, without adapters, under Hugging Face's names.
    pub(crate) fn tensors_below(&self, end: usize) -> Vec<(String, &Tensor)> {
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), &self.embedding)];
        for (i, layer) in self.layers.iter().enumerate().take(end) {
            for (path, linear) in layer.linears() {
                tensors.push((format!("model.layers.{i}.{path}.weight"), &linear.weight));
                tensors.extend(linear.bias.as_ref().map(|b| (format!("model.layers.{i}.{path}.bias"), b)));
            }
            for (path, norm) in layer.norms() {
                tensors.push((format!("model.layers.{i}.{path}.weight"), norm));
            }
        }
        tensors
    }

    /// All tensors of the network, without adapters, under Hugging Face's names.
    pub(crate) fn tensors(&self) -> Vec<(String, &Tensor)> {
        let mut tensors = self.tensors_below(self.layers.len());
        tensors.push(("model.norm.weight".to_owned(), &self.norm));
        tensors.extend(self.lm_head.as_ref().map(|head| ("lm_head.weight".to_owned(), head)));
        tensors
    }
}
