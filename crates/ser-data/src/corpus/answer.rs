//! Answers: cues, phrased well or poorly according to the answer's quality, among plain statements.

use std::collections::BTreeMap;

use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde::{Deserialize, Serialize};

use super::cues::Cue;
use super::settings::CorpusSettings;
use super::topics::{TOPICS, Topic};

/// A cue in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownCue {
    /// The cue.
    pub cue: Cue,
    /// Whether it is phrased well.
    pub good: bool,
    /// Index of the phrase in the list of good or poor phrases (the topic's own list for a cue of substance).
    pub phrase: usize,
}

/// The truth about one answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnswerTruth {
    /// Latent quality in [0, 1]: the probability that a cue is phrased well.
    pub quality: f64,
    /// The cues, in the order of the text.
    pub cues: Vec<ShownCue>,
}

/// Identifies a list of phrases: its topic (`None` for a cue of manner) and its cue.
type ListKey = (Option<&'static str>, Cue);

/// Frequencies of phrases in one corpus.
pub(super) struct Lexicon {
    /// The indices of a cue's phrases, most frequent first, with cumulative weights.
    ranks: BTreeMap<ListKey, Vec<(usize, f64)>>,
}

impl Lexicon {
    /// Shuffles the ranks, so that no phrase is frequent in every corpus.
    pub(super) fn new(skew: f64, rng: &mut impl Rng) -> Self {
        let mut ranks = BTreeMap::new();
        for topic in TOPICS {
            for cue in Cue::GENERAL.into_iter().chain(Cue::TOPICAL) {
                let size = topic.phrases(cue).positions();
                ranks.entry(Lexicon::key(topic, cue)).or_insert_with(|| shuffled_ranks(size, skew, rng));
            }
        }
        Lexicon { ranks }
    }

    fn key(topic: &Topic, cue: Cue) -> ListKey {
        (cue.shared_phrases().is_none().then_some(topic.name), cue)
    }

    /// An index into a cue's lists, and the phrases there: the good one and the poor one, about the same thing and
    /// number.
    fn draw(&self, topic: &Topic, cue: Cue, rng: &mut impl Rng) -> (usize, [String; 2]) {
        let ranks = self.ranks.get(&Lexicon::key(topic, cue)).map_or(&[][..], Vec::as_slice);
        let point = rng.random::<f64>() * ranks.last().map_or(0.0, |last| last.1);
        let rank = ranks.partition_point(|&(_, sum)| sum <= point).min(ranks.len().saturating_sub(1));
        let position = ranks.get(rank).map_or(0, |&(position, _)| position);
        let thing = topic.things.choose(rng).copied().unwrap_or("it");
        let number = rng.random_range(2..40_u32).to_string();
        let said = |good| {
            let phrase = topic.phrases(cue).of(good).get(position).copied().unwrap_or_default();
            upper_first(&phrase.replace("{thing}", thing).replace("{n}", &number))
        };
        (position, [said(true), said(false)])
    }
}

/// The numbers below `size` in random order, with the cumulative weights of their ranks.
fn shuffled_ranks(size: usize, skew: f64, rng: &mut impl Rng) -> Vec<(usize, f64)> {
    let mut positions: Vec<usize> = (0..size).collect();
    positions.shuffle(rng);
    let mut sum = 0.0;
    let cumulate = |(rank, position)| {
        sum += (rank as f64 + 1.0).powf(-skew);
        (position, sum)
    };
    positions.into_iter().enumerate().map(cumulate).collect()
}

/// The outline that both answers to a question follow: which cues, in which order, with which phrases.
pub(super) struct Outline {
    points: Vec<Point>,
}

/// One sentence of an outline.
enum Point {
    /// The same in both answers.
    Statement(&'static str),
    /// Phrased well or poorly.
    Cue { cue: Cue, phrase: usize, good: String, poor: String },
}

impl Outline {
    /// Draws an outline for a question on `topic`.
    pub(super) fn draw(topic: &Topic, lexicon: &Lexicon, settings: &CorpusSettings, rng: &mut impl Rng) -> Self {
        let mut shown: Vec<Cue> = Cue::GENERAL.choose_multiple(rng, settings.general_cues).copied().collect();
        shown.extend(Cue::TOPICAL.choose_multiple(rng, settings.topical_cues));
        shown.shuffle(rng);
        // Slots of the text: `None` is a plain statement.
        let mut plan: Vec<Option<Cue>> = shown.iter().copied().filter(|c| !is_end(*c)).map(Some).collect();
        plan.extend((0..rng.random_range(0..=settings.max_statements)).map(|_| None));
        plan.shuffle(rng);
        if shown.contains(&Cue::Tone) {
            plan.insert(0, Some(Cue::Tone));
        }
        if shown.contains(&Cue::Closing) {
            plan.push(Some(Cue::Closing));
        }
        let mut statements: Vec<&'static str> = topic.statements.to_vec();
        statements.shuffle(rng);
        let point = |position| match position {
            None => statements.pop().map(Point::Statement),
            Some(cue) => {
                let (phrase, [mut good, mut poor]) = lexicon.draw(topic, cue, rng);
                if cue == Cue::Focus {
                    good = format!("{good} {}", lower_first(statements.pop().unwrap_or_default()));
                    poor = format!("{poor} {}", lower_first(elsewhere(topic, rng).unwrap_or_default()));
                }
                Some(Point::Cue { cue, phrase, good, poor })
            }
        };
        Outline { points: plan.into_iter().filter_map(point).collect() }
    }

    /// An answer of the given quality that follows the outline.
    pub(super) fn answer(&self, quality: f64, rng: &mut impl Rng) -> (String, AnswerTruth) {
        let mut cues = Vec::with_capacity(self.points.len());
        let mut sentences = Vec::with_capacity(self.points.len());
        for point in &self.points {
            sentences.push(match point {
                Point::Statement(text) => text,
                Point::Cue { cue, phrase, good: well, poor: poorly } => {
                    let good = rng.random::<f64>() < quality;
                    cues.push(ShownCue { cue: *cue, good, phrase: *phrase });
                    if good { well.as_str() } else { poorly.as_str() }
                }
            });
        }
        (sentences.join(" "), AnswerTruth { quality, cues })
    }
}

/// Whether a cue has a fixed slot at the start or the end of the answer.
fn is_end(cue: Cue) -> bool {
    matches!(cue, Cue::Tone | Cue::Closing)
}

/// A statement on another topic.
fn elsewhere(topic: &Topic, rng: &mut impl Rng) -> Option<&'static str> {
    let others: Vec<&Topic> = TOPICS.iter().filter(|other| other.name != topic.name).collect();
    others.choose(rng)?.statements.choose(rng).copied()
}

/// The text with its first letter in upper case.
fn upper_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The text with its first letter in lower case.
fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
