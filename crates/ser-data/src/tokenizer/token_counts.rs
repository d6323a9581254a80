//! Counts of pairs by their tokens.

use std::sync::Arc;

use ser_core::{Pair, Screening};

use super::PairTokenizer;
use crate::{DataError, LengthCounts};

/// Lengths of texts in tokens, and the screening of their pairs, updated one pair at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenCounts {
    /// Tokens of the whole text of each answer.
    pub lengths: LengthCounts,
    /// Pairs that can be trained on.
    pub usable: u64,
    /// Pairs with a text over the tokenizer's `max_length`.
    pub too_long: u64,
    /// Pairs whose two texts have the same tokens.
    pub identical: u64,
    /// Pairs with an empty answer.
    pub empty: u64,
}

impl TokenCounts {
    /// Tokenizes, screens and counts a pair.
    ///
    /// # Errors
    /// A pair that the template or the tokenizer refuses.
    pub fn add(&mut self, tokenizer: &PairTokenizer, pair: &Arc<Pair>) -> Result<(), DataError> {
        let (prompt, a, b) = tokenizer.tokenize_pair(pair)?.lengths();
        self.lengths.add(prompt + a);
        self.lengths.add(prompt + b);
        for screening in tokenizer.screen_pairs(std::slice::from_ref(pair))? {
            *match screening {
                Screening::Usable => &mut self.usable,
                Screening::TooLong => &mut self.too_long,
                Screening::Identical => &mut self.identical,
                Screening::Empty => &mut self.empty,
            } += 1;
        }
        Ok(())
    }

    /// Pairs counted.
    pub fn pairs(&self) -> u64 {
        self.usable + self.too_long + self.identical + self.empty
    }
}
