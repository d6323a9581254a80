//! Keys of prompts.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use ser_core::Pair;
use sha2::{Digest, Sha256};

/// A prompt's hash: equal for pairs that answer the same conversation, independent of the file.
///
/// A pair without a prompt is identified by its two answers, in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromptKey(u128);

impl PromptKey {
    /// The key of a pair's prompt.
    pub fn of(pair: &Pair) -> Self {
        let mut hash = Sha256::new();
        // Lengths distinguish ("ab", "c") from ("a", "bc").
        let mut add = |kind: &str, text: &str| {
            hash.update(kind);
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        };
        for turn in &pair.prompt {
            add(turn.role.as_str(), &turn.content);
            if let Some(extra) = turn.extra_json() {
                add("extra", &extra);
            }
        }
        if pair.prompt.is_empty() {
            let [a, b] = &pair.responses;
            add("answer", a.min(b));
            add("answer", a.max(b));
        }
        PromptKey(first_bytes(hash))
    }

    /// The hash itself.
    #[cfg(feature = "index")]
    pub(crate) fn to_bits(self) -> u128 {
        self.0
    }

    #[cfg(feature = "index")]
    pub(crate) fn from_bits(bits: u128) -> Self {
        PromptKey(bits)
    }

    /// The prompt's position in the order that a seed gives.
    pub(crate) fn shuffled(self, seed: u64) -> u128 {
        seeded("split", seed, &self.0.to_le_bytes())
    }
}

/// A hash of bytes under a seed and a purpose: draws for different purposes are independent.
pub(crate) fn seeded(purpose: &str, seed: u64, of: &[u8]) -> u128 {
    first_bytes(Sha256::new().chain_update(purpose).chain_update(seed.to_le_bytes()).chain_update(of))
}

/// A random generator for a purpose, seeded by a text only.
pub(crate) fn seeded_draw(purpose: &str, text: &[u8]) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(Sha256::new().chain_update(purpose).chain_update(text).finalize().into())
}

/// One id per pair, equal for pairs with the same prompt: the input of [`ser_core::Clusters::Ids`].
///
/// The ids are 64 bits of the prompt's hash, so they depend on neither the order of the pairs nor the file.
pub fn prompt_clusters<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Vec<u64> {
    pairs.into_iter().map(|pair| PromptKey::of(pair).0 as u64).collect()
}

fn first_bytes(hash: Sha256) -> u128 {
    hash.finalize().iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use ser_core::{Message, PairId};

    use super::*;

    #[test]
    fn prompts_are_distinguished_and_answers_are_ignored() {
        let key = |prompt: &str, a: &str, b: &str| PromptKey::of(&Pair::from_text(PairId(0), prompt, a, b));
        assert_eq!(key("q", "a", "b"), key("q", "c", "d"));
        assert_ne!(key("q", "a", "b"), key("q ", "a", "b"));
        let turns = |turns: &[&str]| {
            let prompt = turns.iter().map(|turn| Message::user(*turn)).collect();
            PromptKey::of(&Pair { prompt, ..Pair::from_text(PairId(0), "", "x", "y") })
        };
        assert_ne!(turns(&["ab", "c"]), turns(&["a", "bc"]));
        let bare = |a, b| PromptKey::of(&Pair { prompt: Vec::new(), ..Pair::from_text(PairId(0), "", a, b) });
        assert_eq!(bare("x", "y"), bare("y", "x"));
        assert_ne!(bare("x", "y"), bare("x", "z"));
        let pairs = [("q", "a"), ("r", "a"), ("q", "c")].map(|(q, a)| Pair::from_text(PairId(0), q, a, "b"));
        let ids = prompt_clusters(&pairs);
        assert!(ids[0] == ids[2] && ids[0] != ids[1], "{ids:?}");
    }
}
