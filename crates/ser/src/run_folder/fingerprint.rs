//! Fingerprints of data: the manifest records them, and a resumed run is compared with them.

use ser_core::{Message, Pair, Preference, RawText, Side};
use serde::ser::{Serialize, SerializeMap, Serializer};
use sha2::{Digest, Sha256};

use super::digest::hex;

/// The number of items and the SHA-256 of their contents. As JSON: `{"pairs": 12, "sha256": "..."}`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fingerprint {
    /// The items' name in the plural: `pairs`, `prompts`.
    unit: &'static str,
    count: usize,
    sha256: String,
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(self.unit, &self.count)?;
        map.serialize_entry("sha256", &self.sha256)?;
        map.end()
    }
}

impl Fingerprint {
    pub(crate) fn of_preferences(preferences: &[Preference]) -> Self {
        let mut hasher = PairsHasher::default();
        preferences.iter().for_each(|preference| hasher.preference(preference));
        hasher.finish()
    }

    pub(crate) fn of_prompts(prompts: &[Vec<Message>]) -> Self {
        let mut hasher = Sha256::new();
        prompts.iter().for_each(|prompt| hash_prompt(prompt, &mut hasher));
        Fingerprint { unit: "prompts", count: prompts.len(), sha256: hex(&hasher.finalize()) }
    }
}

/// The fingerprint of pairs, labelled pairs or labels that are added one by one.
#[derive(Default)]
pub(crate) struct PairsHasher {
    count: usize,
    hasher: Sha256,
}

impl PairsHasher {
    pub(crate) fn preference(&mut self, preference: &Preference) {
        self.count += 1;
        hash_preference(preference, &mut self.hasher);
    }

    pub(crate) fn pair(&mut self, pair: &Pair) {
        self.count += 1;
        hash_pair(pair, &mut self.hasher);
    }

    pub(crate) fn label(&mut self, label: Option<Side>) {
        self.count += 1;
        self.hasher.update([code(label)]);
    }

    pub(crate) fn finish(self) -> Fingerprint {
        Fingerprint { unit: "pairs", count: self.count, sha256: hex(&self.hasher.finalize()) }
    }
}

/// Adds a text with its length, so that neighbouring texts cannot be confused.
pub(crate) fn hash_text(text: &str, hasher: &mut Sha256) {
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text);
}

fn hash_message(message: &Message, hasher: &mut Sha256) {
    hash_text(message.role.as_str(), hasher);
    hash_text(&message.content, hasher);
    if let Some(extra) = message.extra_json() {
        hash_text(&extra, hasher);
    }
}

fn hash_prompt(prompt: &[Message], hasher: &mut Sha256) {
    hasher.update((prompt.len() as u64).to_le_bytes());
    prompt.iter().for_each(|message| hash_message(message, hasher));
}

fn hash_pair(pair: &Pair, hasher: &mut Sha256) {
    hasher.update(pair.id.0.to_le_bytes());
    hash_prompt(&pair.prompt, hasher);
    pair.response_turns.iter().flat_map(|turns| turns.iter().flatten()).for_each(|turn| hash_message(turn, hasher));
    pair.responses.iter().for_each(|response| hash_text(response, hasher));
    match &pair.raw {
        RawText::Whole(texts) => texts.iter().for_each(|whole| hash_text(whole, hasher)),
        RawText::Joined => hash_text("joined", hasher),
        RawText::None => hash_text("none", hasher),
    }
}

fn hash_preference(preference: &Preference, hasher: &mut Sha256) {
    hash_pair(&preference.pair, hasher);
    hasher.update([code(Some(preference.preferred))]);
    // A margin is never NaN, so NaN encodes a missing one.
    for number in [preference.weight, preference.probability, preference.margin.unwrap_or(f64::NAN)] {
        hasher.update(number.to_bits().to_le_bytes());
    }
}

fn code(side: Option<Side>) -> u8 {
    match side {
        None => 0,
        Some(Side::A) => 1,
        Some(Side::B) => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unit_and_count_are_part_of_the_json() {
        let prompts = [vec![Message::user("q")], vec![Message::user("r")]];
        let json = serde_json::to_value(Fingerprint::of_prompts(&prompts)).unwrap();
        assert_eq!(json["prompts"], 2);
        assert_eq!(json["sha256"].as_str().unwrap().len(), 64);
        assert_ne!(Fingerprint::of_prompts(&prompts[..1]).sha256, Fingerprint::of_prompts(&prompts[1..]).sha256);
    }
}
