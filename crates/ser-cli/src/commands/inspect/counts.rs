//! Counts over a dataset.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use ser::Preference;
use ser::data::{LengthCounts, PromptKey};

/// Counts over the pairs of a dataset.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) pairs: u64,
    pub(super) prompts: HashSet<u64>,
    /// By prompt and both answers in a fixed order: whether the first such pair had them in that order.
    seen: HashMap<u64, bool>,
    hasher: RandomState,
    pub(super) duplicates: u64,
    pub(super) contradictions: u64,
    pub(super) identical: u64,
    pub(super) longer_chosen: u64,
    pub(super) margins: u64,
    pub(super) turns: LengthCounts,
    pub(super) prompt: LengthCounts,
    pub(super) chosen: LengthCounts,
    pub(super) rejected: LengthCounts,
}

impl Counts {
    pub(super) fn add(&mut self, preference: &Preference) {
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
}
