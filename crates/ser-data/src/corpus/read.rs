//! Finds the cues in a text, for a judge that knows the corpus's truth.

use std::sync::LazyLock;

use super::cues::Cue;
use super::topics::TOPICS;

/// Counts of good and poor phrases in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CueCounts {
    /// Occurrences of good phrases.
    pub good: usize,
    /// Occurrences of poor phrases.
    pub poor: usize,
}

impl CueCounts {
    /// (good + 1) / (good + poor + 2): the posterior mean of the quality under a uniform prior. Quality is the expected
    /// share of good cues, so length does not increase it, and a text without cues has 1/2.
    pub fn quality(self) -> f64 {
        (self.good + 1) as f64 / (self.good + self.poor + 2) as f64
    }
}

/// A phrase in lower case, cut at its `{thing}` and `{n}`.
struct Pattern {
    parts: Vec<String>,
    good: bool,
}

static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
    let shared = Cue::GENERAL.into_iter().filter_map(Cue::shared_phrases);
    let own = TOPICS.iter().flat_map(|topic| Cue::TOPICAL.map(|cue| topic.phrases(cue)));
    let mut patterns = Vec::new();
    for phrases in shared.chain(own) {
        for good in [true, false] {
            patterns.extend(phrases.of(good).iter().map(|phrase| Pattern::new(phrase, good)));
        }
    }
    patterns
});

impl Pattern {
    fn new(phrase: &str, good: bool) -> Self {
        let parts = phrase.replace("{n}", "{thing}").to_lowercase();
        Pattern { parts: parts.split("{thing}").filter(|part| !part.is_empty()).map(str::to_owned).collect(), good }
    }

    /// The number of occurrences in a lower-case text; a gap is filled by at most one sentence.
    fn occurrences(&self, mut text: &str) -> usize {
        let mut found = 0;
        let Some((first, rest)) = self.parts.split_first() else { return 0 };
        while let Some(at) = text.find(first.as_str()) {
            text = text.get(at + first.len()..).unwrap_or_default();
            let mut after = text;
            let whole = rest.iter().all(|part| match after.split_once(part.as_str()) {
                Some((gap, behind)) if !gap.contains(['.', '!', '?']) => {
                    after = behind;
                    true
                }
                _ => false,
            });
            if whole {
                (found, text) = (found + 1, after);
            }
        }
        found
    }
}

/// Counts the corpus's good and poor phrases in a text, for every corpus and every filler.
pub fn count_cues(text: &str) -> CueCounts {
    let text = text.to_lowercase();
    let mut counts = CueCounts::default();
    for pattern in PATTERNS.iter() {
        let found = pattern.occurrences(&text);
        if pattern.good {
            counts.good += found;
        } else {
            counts.poor += found;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::{CorpusSettings, generate};

    #[test]
    fn every_cue_of_every_answer_is_found() {
        let corpus = generate(&CorpusSettings { pairs: 400, test_pairs: 0, ..Default::default() }).unwrap();
        let (mut exact, mut answers) = (0, 0);
        for (preference, truth) in corpus.train.preferences.iter().zip(&corpus.train.truths) {
            for (text, truth) in preference.pair.responses.iter().zip(&truth.answers) {
                let found = count_cues(text);
                let of = |good| truth.cues.iter().filter(|cue| cue.good == good).count();
                assert!(found.good >= of(true) && found.poor >= of(false), "{text}: {found:?}");
                exact += usize::from((found.good, found.poor) == (of(true), of(false)));
                answers += 1;
            }
        }
        // A phrase may be part of another, or occur in a statement.
        assert!(exact * 100 > answers * 95, "{exact} of {answers}");
    }

    #[test]
    fn gaps_stay_within_a_sentence() {
        let pattern = Pattern::new("Only a complete fool gets {thing} wrong.", false);
        assert_eq!(pattern.occurrences("only a complete fool gets the tent wrong. so."), 1);
        assert_eq!(pattern.occurrences("only a complete fool gets it. you are wrong."), 0);
        assert_eq!(CueCounts { good: 3, poor: 1 }.quality(), 4.0 / 6.0);
        assert_eq!(count_cues("").quality(), 0.5);
    }
}
