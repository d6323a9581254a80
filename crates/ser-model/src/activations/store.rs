//! The activations of one network, in main memory up to a budget and in a file.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use sha2::{Digest, Sha256};
use tch::{Device, Tensor};

use super::file::ActivationFile;
use super::settings::ActivationSettings;
use super::text::FrozenText;
use crate::ModelError;
use crate::checkpoint::Bytes;
use crate::network::{Entry, Network};

/// Whether activations are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The texts come again.
    Yes,
    /// The texts come once, such as a policy's answers: keeping them would fill memory and disk.
    No,
}

/// The rows that enter the lowest layer with an adapter, of the texts of one network.
///
/// The rows of a text are computed in a forward pass of their own. So they are the same bits whatever batch the text is in and
/// whether they were kept, in every precision and on every device, and a resumed training repeats an uninterrupted one. In a
/// batch with other texts, libtorch's products would round differently.
#[derive(Debug)]
pub(crate) struct KeptActivations {
    settings: ActivationSettings,
    /// The most bytes in main memory.
    budget: usize,
    /// By the layer that they enter.
    layers: RefCell<HashMap<usize, KeptLayer>>,
    usage: Cell<Usage>,
}

/// What is kept of the rows that enter one layer.
#[derive(Debug)]
struct KeptLayer {
    memory: HashMap<Box<[u32]>, Tensor>,
    file: Option<ActivationFile>,
}

/// Counts of one store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Forward passes through the frozen layers, one text each.
    pub(crate) computed: usize,
    /// Texts that were read from the file.
    pub(crate) read: usize,
    /// Bytes in main memory, with their keys.
    pub(crate) bytes: usize,
    /// Whether a text did not fit.
    full: bool,
}

impl KeptActivations {
    /// An empty store.
    pub(crate) fn new(settings: &ActivationSettings) -> Self {
        let budget = settings.memory.saturating_mul(1 << 20);
        KeptActivations { settings: settings.clone(), budget, layers: RefCell::default(), usage: Cell::default() }
    }

    /// The rows that enter the lowest layer above the network's frozen ones, for the packed batch of `texts`; `None` if there
    /// are no frozen layers below an adapter.
    pub(crate) fn entry(
        &self,
        network: &Network,
        texts: &[FrozenText<'_>],
        keep: Keep,
    ) -> Result<Option<Entry>, ModelError> {
        let layer = network.frozen_layers();
        if layer == 0 {
            return Ok(None);
        }
        let rows = tch::no_grad(|| {
            let rows =
                texts.iter().map(|text| self.rows(network, layer, *text, keep)).collect::<Result<Vec<_>, _>>()?;
            Ok::<_, ModelError>(Tensor::f_cat(&rows, 0)?.f_to_device(network.device)?.f_to_kind(network.kind)?)
        })?;
        tracing::trace!(layer, texts = texts.len(), usage = ?self.usage.get(), "activations of frozen layers");
        Ok(Some(Entry { layer, rows }))
    }

    /// Forgets everything in memory, and which files are open: for weights that change.
    pub(crate) fn clear(&self) {
        self.layers.borrow_mut().clear();
        self.usage.set(Usage { bytes: 0, full: false, ..self.usage.get() });
    }

    /// Another budget, in bytes.
    #[cfg(test)]
    pub(crate) fn with_budget(self, budget: usize) -> Self {
        KeptActivations { budget, ..self }
    }

    #[cfg(test)]
    pub(crate) fn usage(&self) -> Usage {
        self.usage.get()
    }

    /// The rows of one text that enter `layer`, in main memory and in the kind that they are kept in.
    fn rows(&self, network: &Network, layer: usize, text: FrozenText<'_>, keep: Keep) -> Result<Tensor, ModelError> {
        let (key, kind) = (text.key(), self.settings.kind(network.kind));
        let mut layers = self.layers.borrow_mut();
        let kept = match layers.entry(layer) {
            std::collections::hash_map::Entry::Occupied(kept) => kept.into_mut(),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                let folder = self.settings.folder.as_deref();
                let file =
                    folder.map(|folder| ActivationFile::open(folder, &self.identity(network, layer)?)).transpose()?;
                vacant.insert(KeptLayer { memory: HashMap::new(), file })
            }
        };
        if let Some(rows) = kept.memory.get(&key) {
            return Ok(rows.shallow_clone());
        }
        let mut usage = self.usage.get();
        let hidden = network.config.hidden_size;
        let row_bytes = hidden as usize * kind.elt_size_in_bytes();
        let rows = match kept.file.as_mut().and_then(|file| file.read(&key)) {
            Some(bytes) => {
                usage.read += 1;
                let shape = [(bytes.len() / row_bytes) as i64, hidden];
                ser_libtorch::tensor_from_bytes(&bytes, &shape, kind, kind, Device::Cpu)?
            }
            None => {
                usage.computed += 1;
                let batch = text.pack(&network.config, network.device)?;
                let rows = network.rows_entering(layer, &batch)?.f_to_device(Device::Cpu)?.f_to_kind(kind)?;
                if let Some(file) = kept.file.as_mut().filter(|_| keep == Keep::Yes) {
                    file.append(&key, &Bytes::of(&rows)?.data);
                }
                rows
            }
        };
        if keep == Keep::Yes && self.budget > 0 {
            let bytes = rows.numel() * kind.elt_size_in_bytes() + size_of_val(&*key);
            if usage.bytes.saturating_add(bytes) <= self.budget {
                usage.bytes += bytes;
                kept.memory.insert(key, rows.shallow_clone());
            } else if !usage.full {
                usage.full = true;
                if kept.file.is_none() {
                    tracing::warn!(
                        "model.activations.memory ({} MiB) is full after {} texts: activations of the others are computed each \
                         time; raise it, or set model.activations.folder",
                        self.settings.memory,
                        kept.memory.len(),
                    );
                }
            }
        }
        self.usage.set(usage);
        Ok(rows)
    }

    /// A hash of everything but the tokens that the rows entering `layer` depend on: the embedding, the weights of the layers
    /// below, the network's shape, precision, device and kernels. Tokenizer and template are in the tokens, which are the keys.
    fn identity(&self, network: &Network, layer: usize) -> Result<[u8; 32], ModelError> {
        let (kind, device) = (network.kind, network.device);
        let kernels = if device == Device::Cpu { ser_libtorch::instruction_set() } else { "gpu" };
        let order = if cfg!(target_endian = "big") { "big" } else { "little" };
        let about = format!(
            "{} {layer} {kind:?} {kernels} {order} {:?}\n{}",
            env!("CARGO_PKG_VERSION"),
            self.settings.format,
            network.config.to_json(),
        );
        let mut hash = Sha256::new();
        hash.update(about);
        for (name, tensor) in network.tensors_below(layer) {
            hash.update(name);
            hash.update(&Bytes::of(tensor)?.data);
        }
        Ok(hash.finalize().into())
    }
}
