//! The split of an index, a byte a pair.

use std::collections::HashSet;

use super::TokenIndex;
use crate::split::SplitEnds;
use crate::{DataError, ShuffledOrder, SplitPart, SplitSettings};

/// What each pair of an index is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexSplit {
    /// `None` for a pair that answers a held-out prompt.
    parts: Vec<Option<SplitPart>>,
}

impl IndexSplit {
    /// What a pair is for; `None` for a pair that answers a held-out prompt, and beyond the end.
    pub fn part(&self, place: u64) -> Option<SplitPart> {
        self.parts.get(usize::try_from(place).ok()?).copied().flatten()
    }

    /// How many pairs a part has.
    pub fn size(&self, part: SplitPart) -> u64 {
        self.parts.iter().filter(|other| **other == Some(part)).count() as u64
    }

    /// How many pairs answer a held-out prompt and are in no part.
    pub fn held_out(&self) -> u64 {
        self.parts.iter().filter(|part| part.is_none()).count() as u64
    }

    /// The places of a part's pairs, in the index's order.
    pub fn places(&self, part: SplitPart) -> impl Iterator<Item = u64> + '_ {
        (0..).zip(&self.parts).filter(move |(_, other)| **other == Some(part)).map(|(place, _)| place)
    }

    /// The places of a part's pairs in an order drawn from the seed.
    pub fn shuffled(&self, part: SplitPart, seed: u64) -> impl Iterator<Item = u64> + '_ {
        let order = ShuffledOrder::new(self.parts.len() as u64, seed);
        (0..self.parts.len() as u64)
            .filter_map(move |place| order.at(place))
            .filter(move |place| self.part(*place) == Some(part))
    }
}

impl TokenIndex {
    /// Splits the pairs as [`split`](crate::split()) does, in memory of a byte a pair. Pairs that answer a prompt of
    /// `held_out`, a set with labels of its own, are in no part; the settings' share for the test should then be 0.
    ///
    /// # Errors
    /// Settings that [`SplitSettings::check`] refuses; so few pairs that none would be labelled.
    pub fn split(&self, settings: &SplitSettings, held_out: Option<&TokenIndex>) -> Result<IndexSplit, DataError> {
        settings.check()?;
        let mut taken = HashSet::new();
        for key in held_out.into_iter().flat_map(|index| (0..index.len()).filter_map(|place| index.prompt_key(place))) {
            taken.insert(key);
        }
        let keys = || {
            let all = (0..self.len()).filter_map(|place| self.prompt_key(place));
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
