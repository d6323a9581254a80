//! The split of an index, one byte per pair.

use std::collections::HashSet;

use super::TokenIndex;
use crate::split::SplitEnds;
use crate::{DataError, ShuffledOrder, SplitPart, SplitSettings};

/// The part of each pair of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSplit {
    /// `None` for a pair that answers a held-out prompt.
    parts: Vec<Option<SplitPart>>,
}

impl IndexSplit {
    /// The part of a pair; `None` for a pair that answers a held-out prompt, and beyond the end.
    pub fn part(&self, position: u64) -> Option<SplitPart> {
        self.parts.get(usize::try_from(position).ok()?).copied().flatten()
    }

    /// The number of pairs in a part.
    pub fn size(&self, part: SplitPart) -> u64 {
        self.parts.iter().filter(|other| **other == Some(part)).count() as u64
    }

    /// The number of pairs that answer a held-out prompt and are in no part.
    pub fn held_out(&self) -> u64 {
        self.parts.iter().filter(|part| part.is_none()).count() as u64
    }

    /// The indices of a part's pairs, in the index's order.
    pub fn indices(&self, part: SplitPart) -> impl Iterator<Item = u64> + '_ {
        (0..).zip(&self.parts).filter(move |(_, other)| **other == Some(part)).map(|(position, _)| position)
    }

    /// The indices of a part's pairs in an order drawn from the seed.
    pub fn shuffled(&self, part: SplitPart, seed: u64) -> impl Iterator<Item = u64> + '_ {
        let order = ShuffledOrder::new(self.parts.len() as u64, seed);
        (0..self.parts.len() as u64)
            .filter_map(move |position| order.at(position))
            .filter(move |position| self.part(*position) == Some(part))
    }
}

impl TokenIndex {
    /// Splits the pairs as [`split`](crate::split()) does, with one byte of memory per pair. Pairs that answer a prompt
    /// of `held_out`, a labelled set, are in no part; the settings' share for the test should then be 0.
    ///
    /// # Errors
    /// Settings that [`SplitSettings::check`] refuses; too few pairs for a labelled part.
    pub fn split(&self, settings: &SplitSettings, held_out: Option<&TokenIndex>) -> Result<IndexSplit, DataError> {
        settings.check()?;
        let mut taken = HashSet::new();
        for key in
            held_out.into_iter().flat_map(|index| (0..index.len()).filter_map(|position| index.prompt_key(position)))
        {
            taken.insert(key);
        }
        let keys = || {
            let all = (0..self.len()).filter_map(|position| self.prompt_key(position));
            all.map(|key| (!taken.contains(&key)).then(|| key.shuffled(settings.seed)))
        };
        let ends = SplitEnds::find(&|| keys().flatten(), settings);
        let split = IndexSplit { parts: keys().map(|key| key.map(|key| ends.part(key))).collect() };
        if split.size(SplitPart::Labelled) == 0 {
            return Err(DataError::TooFewPairs { part: "the labelled seed", pairs: split.parts.len() });
        }
        Ok(split)
    }
}
