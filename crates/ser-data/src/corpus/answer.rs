//! Answers: a few cues, phrased well or poorly as the answer's quality has it, among plain statements.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde::{Deserialize, Serialize};

use super::cues::Cue;
use super::settings::CorpusSettings;
use super::topics::{TOPICS, Topic};

/// One cue as an answer shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownCue {
    /// Which.
    pub cue: Cue,
    /// Whether it speaks for the answer.
    pub good: bool,
    /// The phrase's place in the list of good or poor phrases (the topic's own for a cue of substance).
    pub phrase: usize,
}

/// What is true of one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerTruth {
    /// Latent quality in [0, 1]: the probability with which each cue was made a good one.
    pub quality: f64,
    /// The cues, in the order of the text.
    pub cues: Vec<ShownCue>,
}

/// A list of phrases: whose topic (`None` for a cue of manner), which cue, good or poor.
type ListKey = (Option<&'static str>, Cue, bool);

/// How frequent each phrase is in one corpus.
pub(super) struct Lexicon {
    /// The places of a list's phrases, most frequent first, with cumulated weights.
    ranks: BTreeMap<ListKey, Vec<(usize, f64)>>,
}

impl Lexicon {
    /// Shuffles the ranks, so that no phrase is frequent in every corpus.
    pub(super) fn new(skew: f64, rng: &mut impl Rng) -> Self {
        let mut ranks = BTreeMap::new();
        for topic in TOPICS {
            for cue in Cue::GENERAL.into_iter().chain(Cue::TOPICAL) {
                for good in [false, true] {
                    let key = Lexicon::key(topic, cue, good);
                    let size = topic.phrases(cue).of(good).len();
                    ranks.entry(key).or_insert_with(|| shuffled_ranks(size, skew, rng));
                }
            }
        }
        Lexicon { ranks }
    }

    fn key(topic: &Topic, cue: Cue, good: bool) -> ListKey {
        (cue.shared_phrases().is_none().then_some(topic.name), cue, good)
    }

    /// A phrase's place and text.
    fn draw(&self, topic: &Topic, cue: Cue, good: bool, rng: &mut impl Rng) -> (usize, &'static str) {
        let ranks = self.ranks.get(&Lexicon::key(topic, cue, good)).map_or(&[][..], Vec::as_slice);
        let point = rng.random::<f64>() * ranks.last().map_or(0.0, |last| last.1);
        let rank = ranks.partition_point(|&(_, sum)| sum <= point).min(ranks.len().saturating_sub(1));
        let place = ranks.get(rank).map_or(0, |&(place, _)| place);
        (place, topic.phrases(cue).of(good).get(place).copied().unwrap_or_default())
    }
}

/// The numbers below `size` in random order, with the cumulated weights of their ranks.
fn shuffled_ranks(size: usize, skew: f64, rng: &mut impl Rng) -> Vec<(usize, f64)> {
    let mut places: Vec<usize> = (0..size).collect();
    places.shuffle(rng);
    let mut sum = 0.0;
    let cumulate = |(rank, place)| {
        sum += (rank as f64 + 1.0).powf(-skew);
        (place, sum)
    };
    places.into_iter().enumerate().map(cumulate).collect()
}

/// An answer on `topic` of the given quality.
pub(super) fn answer(
    topic: &Topic,
    quality: f64,
    lexicon: &Lexicon,
    settings: &CorpusSettings,
    rng: &mut impl Rng,
) -> (String, AnswerTruth) {
    let mut shown: Vec<Cue> = Cue::GENERAL.choose_multiple(rng, settings.general_cues).copied().collect();
    shown.extend(Cue::TOPICAL.choose_multiple(rng, settings.topical_cues));
    shown.shuffle(rng);
    // Places in the text: `None` is a plain statement.
    let mut plan: Vec<Option<Cue>> = shown.iter().copied().filter(|c| !is_end(*c)).map(Some).collect();
    plan.extend((0..rng.random_range(0..=settings.max_statements)).map(|_| None));
    plan.shuffle(rng);
    if shown.contains(&Cue::Tone) {
        plan.insert(0, Some(Cue::Tone));
    }
    if shown.contains(&Cue::Closing) {
        plan.push(Some(Cue::Closing));
    }

    let mut statements: Vec<&str> = topic.statements.to_vec();
    statements.shuffle(rng);
    let mut cues = Vec::with_capacity(shown.len());
    let mut sentences = Vec::with_capacity(plan.len());
    for place in plan {
        let Some(cue) = place else {
            sentences.extend(statements.pop().map(String::from));
            continue;
        };
        let good = rng.random::<f64>() < quality;
        let (phrase, text) = lexicon.draw(topic, cue, good, rng);
        cues.push(ShownCue { cue, good, phrase });
        let mut sentence = fill(text, topic, rng);
        if cue == Cue::Focus {
            let next = if good { statements.pop() } else { elsewhere(topic, rng) };
            sentence = format!("{sentence} {}", lower_first(next.unwrap_or_default()));
        }
        sentences.push(sentence);
    }
    (sentences.join(" "), AnswerTruth { quality, cues })
}

/// Whether a cue has its own place, at the beginning or the end of the answer.
fn is_end(cue: Cue) -> bool {
    matches!(cue, Cue::Tone | Cue::Closing)
}

/// A statement on another topic.
fn elsewhere(topic: &Topic, rng: &mut impl Rng) -> Option<&'static str> {
    let others: Vec<&Topic> = TOPICS.iter().filter(|other| other.name != topic.name).collect();
    others.choose(rng)?.statements.choose(rng).copied()
}

/// Puts a thing and a number in their places.
fn fill(text: &str, topic: &Topic, rng: &mut impl Rng) -> String {
    let thing = topic.things.choose(rng).copied().unwrap_or("it");
    let number = rng.random_range(2..40_u32).to_string();
    let text = text.replace("{thing}", thing).replace("{n}", &number);
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The text with its first letter in lower case.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
