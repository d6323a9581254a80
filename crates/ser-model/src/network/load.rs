//! A network and its tokenizer, loaded from a model side by side.

use std::panic::resume_unwind;
use std::path::Path;
use std::thread;

use ser_data::{PairTokenizer, TextSettings};
use tch::Kind;

use super::decoder::Network;
use crate::checkpoint::{Checkpoint, LayerMap, Weights, load_tokenizer};
use crate::config::NetworkConfig;
use crate::{Device, ModelError};

/// What a model's folder or file holds.
pub(crate) struct Loaded {
    pub(crate) network: Network,
    /// Limited to the network's vocabulary.
    pub(crate) tokenizer: PairTokenizer,
    pub(crate) weights: Weights,
}

/// Loads a network to compute in `kind`, and its tokenizer on a thread of its own, which takes about as long. An error of the
/// tokenizer comes first.
pub(crate) fn load(
    model: &Path,
    text: &TextSettings,
    with_lm_head: bool,
    kind: Kind,
    device: Device,
) -> Result<Loaded, ModelError> {
    let config = NetworkConfig::from_folder(model)?;
    let vocab = usize::try_from(config.vocab_size).unwrap_or(0);
    let network = || {
        let weights = Weights::from_folder(model)?;
        let map = LayerMap::new(&config.weight_sizes(kind), device)?;
        let first = map.first();
        let mut checkpoint = Checkpoint::new(&weights, kind, map);
        let network = Network::new(config, &mut checkpoint, with_lm_head, kind, first)?;
        checkpoint.finish(model)?;
        Ok::<_, ModelError>((network, weights))
    };
    let (tokenizer, network) = thread::scope(|scope| {
        let tokenizer = scope.spawn(|| load_tokenizer(model, text));
        let network = network();
        (tokenizer.join().unwrap_or_else(|panic| resume_unwind(panic)), network)
    });
    let tokenizer = tokenizer?.with_network_vocab(vocab);
    let (network, weights) = network?;
    Ok(Loaded { network, tokenizer, weights })
}
