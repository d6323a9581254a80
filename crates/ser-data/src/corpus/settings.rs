//! What one may ask of the generator.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cues::Cue;
use super::prompt::distinct_prompts;

/// How the corpus is made. The defaults are those of the demo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorpusSettings {
    /// Pairs to split and train on.
    pub pairs: usize,
    /// Further pairs, with prompts of their own, to measure accuracy on.
    pub test_pairs: usize,
    /// Seed of every draw.
    pub seed: u64,
    /// Cues of manner that each answer shows, of [`Cue::GENERAL`].
    pub general_cues: usize,
    /// Cues of substance that each answer shows, of [`Cue::TOPICAL`].
    pub topical_cues: usize,
    /// An answer has 0 to this many plain statements, whatever its quality.
    pub max_statements: usize,
    /// The least difference of quality between the two answers of a pair, in [0, 0.9]. Quality lies in [0, 1].
    pub min_gap: f64,
    /// Share of training pairs whose gold label prefers the answer of lower quality, in [0, 0.5): people disagree.
    pub label_noise: f64,
    /// The same for the test pairs: 0 makes them adjudicated ones, so that accuracy is that on the truth.
    pub test_label_noise: f64,
    /// Zipf exponent of the phrases' frequencies, in [0, 3]: the phrase of rank k is drawn in proportion to
    /// k^-skew; 0 makes all equally frequent.
    pub phrase_skew: f64,
}

impl Default for CorpusSettings {
    fn default() -> Self {
        CorpusSettings {
            pairs: 3000,
            test_pairs: 1000,
            seed: 0,
            general_cues: 8,
            topical_cues: 5,
            max_statements: 0,
            min_gap: 0.6,
            label_noise: 0.2,
            test_label_noise: 0.0,
            phrase_skew: 0.5,
        }
    }
}

/// Settings that no corpus can be made from.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum CorpusError {
    /// More pairs than there are prompts.
    #[error("the built-in corpus has {available} distinct prompts, but pairs + test_pairs asks for {wanted}")]
    TooManyPairs {
        /// Pairs asked for.
        wanted: usize,
        /// Prompts there are.
        available: usize,
    },
    /// No cue, or more than there are.
    #[error(
        "general_cues is {general} and topical_cues {topical}: they must be at most {} and {}, and not both 0",
        Cue::GENERAL.len(),
        Cue::TOPICAL.len()
    )]
    Cues {
        /// `general_cues`.
        general: usize,
        /// `topical_cues`.
        topical: usize,
    },
    /// A number outside its range.
    #[error("{name} is {value}, but must lie in {range}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What was asked for.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
}

impl CorpusSettings {
    /// Whether a corpus can be made from these.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn check(&self) -> Result<(), CorpusError> {
        let wanted = self.pairs.saturating_add(self.test_pairs);
        if wanted > distinct_prompts() {
            return Err(CorpusError::TooManyPairs { wanted, available: distinct_prompts() });
        }
        let (general, topical) = (self.general_cues, self.topical_cues);
        if general > Cue::GENERAL.len() || topical > Cue::TOPICAL.len() || general + topical == 0 {
            return Err(CorpusError::Cues { general, topical });
        }
        let in_range = |name, value: f64, ok: bool, range| {
            if ok { Ok(()) } else { Err(CorpusError::OutOfRange { name, value, range }) }
        };
        in_range("min_gap", self.min_gap, (0.0..=0.9).contains(&self.min_gap), "[0, 0.9]")?;
        in_range("label_noise", self.label_noise, (0.0..0.5).contains(&self.label_noise), "[0, 0.5)")?;
        let test_noise = self.test_label_noise;
        in_range("test_label_noise", test_noise, (0.0..0.5).contains(&test_noise), "[0, 0.5)")?;
        in_range("phrase_skew", self.phrase_skew, (0.0..=3.0).contains(&self.phrase_skew), "[0, 3]")
    }
}
