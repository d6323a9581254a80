//! What tells one prompt from another.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use ser_core::Pair;
use sha2::{Digest, Sha256};

/// A prompt's hash: equal for pairs that answer the same conversation, whatever file they come from.
///
/// A pair without a prompt is known by its two answers, in either order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromptKey(u128);

impl PromptKey {
    /// The key of a pair's prompt.
    pub fn of(pair: &Pair) -> Self {
        let mut hash = Sha256::new();
        // Lengths keep ("ab", "c") and ("a", "bc") apart.
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

    /// Where the prompt stands in the order that a seed gives.
    pub(crate) fn shuffled(self, seed: u64) -> u128 {
        seeded("split", seed, &self.0.to_le_bytes())
    }
}

/// A hash of something under a seed, for a purpose: draws for different purposes are independent.
pub(crate) fn seeded(purpose: &str, seed: u64, of: &[u8]) -> u128 {
    first_bytes(Sha256::new().chain_update(purpose).chain_update(seed.to_le_bytes()).chain_update(of))
}

/// A generator of random numbers for a purpose, drawn from a text alone.
pub(crate) fn seeded_draw(purpose: &str, text: &[u8]) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(Sha256::new().chain_update(purpose).chain_update(text).finalize().into())
}

fn first_bytes(hash: Sha256) -> u128 {
    hash.finalize().iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

#[cfg(test)]
mod tests {
    use ser_core::{Message, PairId};

    use super::*;

    #[test]
    fn prompts_are_told_apart_and_answers_do_not_count() {
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
    }
}
