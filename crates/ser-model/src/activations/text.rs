//! The texts whose activations are kept.

use ser_data::TokenizedPair;
use tch::Device;

use crate::ModelError;
use crate::config::NetworkConfig;
use crate::network::PackedBatch;

/// The tokens of one part of a packed batch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FrozenText<'a> {
    /// Two answers to a shared prompt.
    Pair(&'a TokenizedPair),
    /// A single text.
    Single(&'a [u32]),
}

impl FrozenText<'_> {
    /// What its rows depend on: the lengths of prompt and first answer, and all tokens. A single text is a first answer
    /// without a prompt, and without a second answer, which no pair lacks.
    pub(super) fn key(self) -> Box<[u32]> {
        let (prompt, a, b): (&[u32], &[u32], &[u32]) = match self {
            FrozenText::Pair(pair) => {
                let [a, b] = &pair.answers;
                (&pair.prompt, a, b)
            }
            FrozenText::Single(text) => (&[], text, &[]),
        };
        let lengths = [prompt.len() as u32, a.len() as u32];
        [lengths.as_slice(), prompt, a, b].concat().into()
    }

    /// A batch of it alone.
    pub(super) fn pack(self, config: &NetworkConfig, device: Device) -> Result<PackedBatch, ModelError> {
        match self {
            FrozenText::Pair(pair) => PackedBatch::of_pairs(&[pair], config, device),
            FrozenText::Single(text) => PackedBatch::of_texts(&[text], config, device),
        }
    }
}
