//! Settings of the generator.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::cues::Cue;
use super::prompt::distinct_prompts;

/// Settings of the corpus. The defaults are those of the demo.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorpusSettings {
    /// Pairs to split and train on.
    pub pairs: usize,
    /// Further pairs, with distinct prompts, to measure accuracy on.
    pub test_pairs: usize,
    /// Seed of every draw.
    pub seed: u64,
    /// Number of cues of manner in each answer, of [`Cue::GENERAL`].
    pub general_cues: usize,
    /// Number of cues of substance in each answer, of [`Cue::TOPICAL`].
    pub topical_cues: usize,
    /// An answer has 0 to this number of plain statements, independent of its quality.
    pub max_statements: usize,
    /// The minimum difference in quality between the two answers of a pair, in [0, 0.9]. Quality lies in [0, 1].
    pub min_gap: f64,
    /// Share of training pairs whose gold label prefers the answer of lower quality, in [0, 0.5): annotator noise.
    pub label_noise: f64,
    /// The same for the test pairs: 0 means adjudicated labels, so that accuracy is measured against the truth.
    pub test_label_noise: f64,
    /// Zipf exponent of the phrases' frequencies, in [0, 3]: the phrase of rank k is drawn in proportion to k^-skew; 0
    /// makes all phrases equally frequent.
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

/// Invalid settings of the corpus.
#[derive(Clone, Debug, Error, PartialEq)]
#[non_exhaustive]
pub enum CorpusError {
    /// There are more pairs than prompts.
    #[error("the built-in corpus has {available} distinct prompts, but pairs + test_pairs asks for {wanted}")]
    TooManyPairs {
        /// Pairs asked for.
        wanted: usize,
        /// Available prompts.
        available: usize,
    },
    /// No cues, or more than there are.
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
    /// A number is out of range.
    #[error("{name} is {value}, but must lie in {range}")]
    OutOfRange {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        value: f64,
        /// The allowed range.
        range: &'static str,
    },
}

impl CorpusSettings {
    /// Checks the settings.
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
