//! The built-in corpus: a generated preference task with known truth.
//!
//! A question on one of fourteen topics has two answers. Each answer has a latent quality q in [0, 1] and shows a few
//! of ten cues (tone, detail, reasons, ...); each cue is phrased well with probability q, poorly otherwise, by one
//! of dozens of phrases. The gold label prefers the answer of higher quality, except for a known share of noise. So no
//! single cue decides, cues of one answer agree more often than not, and a model that knows some phrases can
//! learn the others from their context. `docs/corpus.md` describes the corpus and its measurements.

mod answer;
mod cues;
mod prompt;
mod read;
mod settings;
mod topics;

use std::cmp::Ordering;
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::{Pair, PairId, Preference, Side};
use serde::{Deserialize, Serialize};

pub use answer::{AnswerTruth, ShownCue};
pub use cues::Cue;
pub use read::{CueCounts, count_cues};
pub use settings::{CorpusError, CorpusSettings};

use answer::{Lexicon, Outline};
use topics::Topic;

/// The truth about one pair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairTruth {
    /// The prompt's topic.
    pub topic: String,
    /// Truth about answer A (the one that the gold label prefers) and answer B.
    pub answers: [AnswerTruth; 2],
    /// Whether the gold label is noise: it prefers the answer of lower quality.
    pub noisy: bool,
}

/// Labelled pairs and, in the same order, the truth about them.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CorpusPart {
    /// Gold labels. As in a file of chosen and rejected answers, the preferred answer is always A.
    pub preferences: Vec<Preference>,
    /// The truth about each pair; for analysis, never for training.
    pub truths: Vec<PairTruth>,
}

/// The whole corpus.
#[derive(Clone, Debug, PartialEq)]
pub struct Corpus {
    /// Pairs to split and train on.
    pub train: CorpusPart,
    /// Pairs to measure accuracy on. No prompt is in both parts.
    pub test: CorpusPart,
}

impl Corpus {
    /// The texts of the training part, prompts and both answers, for training a tokenizer.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.train.preferences.iter().flat_map(|preference| {
            let prompt = preference.pair.prompt.iter().map(|message| message.content.as_str());
            prompt.chain(preference.pair.responses.iter().map(String::as_str))
        })
    }
}

/// Generates a corpus. Equal settings give the same corpus on any machine.
///
/// # Errors
/// A setting out of its range; see [`CorpusSettings::check`].
pub fn generate(settings: &CorpusSettings) -> Result<Corpus, CorpusError> {
    settings.check()?;
    // Stream 0 draws what the pairs share; pair i draws from stream i + 1.
    let mut shared = ChaCha8Rng::seed_from_u64(settings.seed);
    let lexicon = Lexicon::new(settings.phrase_skew, &mut shared);
    let total = settings.pairs + settings.test_pairs;
    let prompts = rand::seq::index::sample(&mut shared, prompt::distinct_prompts(), total);

    let mut corpus = Corpus { train: CorpusPart::default(), test: CorpusPart::default() };
    let numbered = prompts.into_iter().filter_map(prompt::prompt).enumerate();
    for (index, (topic, question)) in numbered {
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        rng.set_stream(index as u64 + 1);
        let (part, noise) = if index < settings.pairs {
            (&mut corpus.train, settings.label_noise)
        } else {
            (&mut corpus.test, settings.test_label_noise)
        };
        let pair = truthful_pair(topic, &lexicon, settings, &mut rng);
        let noisy = rng.random::<f64>() < noise;
        let (preference, truth) = labelled(index as u64, topic, question, pair, noisy);
        part.preferences.push(preference);
        part.truths.push(truth);
    }
    Ok(corpus)
}

/// An answer's text and truth.
type Answer = (String, AnswerTruth);

/// Maximum number of redraws of a pair until it is balanced; a corpus of very few cues may have no balanced pair.
const REDRAWS: usize = 100;

/// Surface comparisons of two answers: characters, words, commas, and alphabetical order.
const SURFACE: [fn(&str, &str) -> Ordering; 4] = [
    |a, b| a.len().cmp(&b.len()),
    |a, b| a.split(' ').count().cmp(&b.split(' ').count()),
    |a, b| a.matches(',').count().cmp(&b.matches(',').count()),
    |a, b| a.cmp(b),
];

/// Two different answers, the one of higher quality first. Their surface comparison is drawn beforehand: poor phrases
/// are somewhat longer, and length must not reveal quality.
fn truthful_pair(topic: &Topic, lexicon: &Lexicon, settings: &CorpusSettings, rng: &mut impl Rng) -> [Answer; 2] {
    let (higher, lower) = qualities(settings.min_gap, rng);
    let unwanted = SURFACE.map(|_| if rng.random() { Ordering::Less } else { Ordering::Greater });
    let mut draws = 0;
    loop {
        let outline = Outline::draw(topic, lexicon, settings, rng);
        let (better, worse) = (outline.answer(higher, rng), outline.answer(lower, rng));
        let balanced = SURFACE.iter().zip(unwanted).all(|(compare, not)| compare(&better.0, &worse.0) != not);
        draws += 1;
        if better.0 != worse.0 && (balanced || draws > REDRAWS) {
            return [better, worse];
        }
    }
}

/// The pair as in a file: the preferred answer first, which is the worse one if the label is noise.
fn labelled(id: u64, topic: &Topic, question: String, pair: [Answer; 2], noisy: bool) -> (Preference, PairTruth) {
    let [better, worse] = pair;
    let ((a, truth_a), (b, truth_b)) = if noisy { (worse, better) } else { (better, worse) };
    let pair = Pair::from_text(PairId(id), question, a, b);
    let truth = PairTruth { topic: topic.name.to_owned(), answers: [truth_a, truth_b], noisy };
    (Preference::human(Arc::new(pair), Side::A), truth)
}

/// Two uniform qualities that differ by at least `gap`, the higher one first.
fn qualities(gap: f64, rng: &mut impl Rng) -> (f64, f64) {
    loop {
        let (a, b): (f64, f64) = (rng.random(), rng.random());
        if (a - b).abs() >= gap {
            return (a.max(b), a.min(b));
        }
    }
}
