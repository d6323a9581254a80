//! Counts over the pairs of a dataset: prompts, duplicates, contradictions, lengths.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use ser_core::Preference;

use crate::{LengthCounts, PromptKey};

/// Counts over labelled pairs, updated one pair at a time. It stores a hash per pair and one per prompt.
///
/// ```
/// use std::sync::Arc;
/// use ser_core::{Pair, PairId, Preference, Side};
///
/// let pair = |id| Arc::new(Pair::from_text(PairId(id), "Why?", "It rains.", "So."));
/// let mut counts = ser_data::PreferenceCounts::default();
/// for preference in [Preference::human(pair(0), Side::A), Preference::human(pair(1), Side::B)] {
///     counts.add(&preference);
/// }
/// assert_eq!((counts.pairs, counts.prompts(), counts.contradictions, counts.longer_chosen), (2, 1, 1, 1));
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct PreferenceCounts {
    /// Pairs.
    pub pairs: u64,
    /// Pairs with the same prompt, the same answers and the same label as an earlier one.
    pub duplicates: u64,
    /// Pairs with the same prompt and answers as an earlier one, and the other label.
    pub contradictions: u64,
    /// Pairs with two equal answers.
    pub identical: u64,
    /// Pairs whose chosen answer has more characters.
    pub longer_chosen: u64,
    /// Pairs with a margin.
    pub margins: u64,
    /// Turns of each prompt.
    pub turns: LengthCounts,
    /// Characters of each prompt.
    pub prompt: LengthCounts,
    /// Characters of each chosen answer.
    pub chosen: LengthCounts,
    /// Characters of each rejected answer.
    pub rejected: LengthCounts,
    prompts: HashSet<u64>,
    /// By prompt and both answers in a fixed order: whether the first such pair had them in that order.
    seen: HashMap<u64, bool>,
    hasher: RandomState,
}

impl PreferenceCounts {
    /// Counts a pair.
    pub fn add(&mut self, preference: &Preference) {
        let pair = &preference.pair;
        let (chosen, rejected) = (preference.chosen(), preference.rejected());
        let prompt = self.hasher.hash_one(PromptKey::of(pair));
        self.pairs += 1;
        self.prompts.insert(prompt);
        let straight = chosen < rejected;
        let (low, high) = if straight { (chosen, rejected) } else { (rejected, chosen) };
        match self.seen.insert(self.hasher.hash_one((prompt, low, high)), straight) {
            Some(before) if before == straight => self.duplicates += 1,
            Some(_) => self.contradictions += 1,
            None => {}
        }
        self.identical += u64::from(chosen == rejected);
        let characters = |text: &str| text.chars().count();
        let (of_chosen, of_rejected) = (characters(chosen), characters(rejected));
        self.longer_chosen += u64::from(of_chosen > of_rejected);
        self.margins += u64::from(preference.margin.is_some());
        self.turns.add(pair.prompt.len());
        self.prompt.add(pair.prompt.iter().map(|turn| characters(&turn.content)).sum());
        self.chosen.add(of_chosen);
        self.rejected.add(of_rejected);
    }

    /// The number of different prompts.
    pub fn prompts(&self) -> u64 {
        self.prompts.len() as u64
    }
}
