//! The built-in corpus is deterministic, and fair: nothing but its cues depends on which answer is better.

#![allow(clippy::unwrap_used)]

use approx::assert_abs_diff_eq;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};

use ser_core::{Preference, Side};
use ser_data::corpus::{self, Corpus, CorpusError, CorpusPart, CorpusSettings, Cue, PairTruth};
use sha2::{Digest, Sha256};

fn made(seed: u64) -> Corpus {
    corpus::generate(&CorpusSettings { seed, ..CorpusSettings::default() }).unwrap()
}

fn rows(part: &CorpusPart) -> impl Iterator<Item = (&Preference, &PairTruth)> {
    part.preferences.iter().zip(&part.truths)
}

/// Accuracy of preferring the answer with the greater measure, against the truth; a tie is worth half.
fn greater_wins<T: PartialOrd>(part: &CorpusPart, measure: impl Fn(&str) -> T) -> f64 {
    let mut right = 0.0;
    for (preference, truth) in rows(part) {
        let [a, b] = &preference.pair.responses;
        let (better, worse) = if truth.noisy { (measure(b), measure(a)) } else { (measure(a), measure(b)) };
        right += match better.partial_cmp(&worse) {
            Some(Ordering::Greater) => 1.0,
            Some(Ordering::Less) => 0.0,
            _ => 0.5,
        };
    }
    right / part.preferences.len() as f64
}

fn digest(corpus: &Corpus) -> String {
    let mut hash = Sha256::new();
    for (preference, truth) in rows(&corpus.train).chain(rows(&corpus.test)) {
        hash.update(format!("{:?} {truth:?}\n", preference.pair));
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_seed_decides_everything() {
    assert_eq!(made(1), made(1));
    assert_ne!(digest(&made(1)), digest(&made(2)));
}

#[test]
fn sizes_ids_and_sides_are_as_documented() {
    let corpus = made(0);
    let settings = CorpusSettings::default();
    assert_eq!(corpus.train.preferences.len(), settings.pairs);
    assert_eq!(corpus.test.preferences.len(), settings.test_pairs);
    let all: Vec<&Preference> = corpus.train.preferences.iter().chain(&corpus.test.preferences).collect();
    for (index, preference) in all.iter().enumerate() {
        assert_eq!(preference.pair.id.0, index as u64);
        assert_eq!(preference.preferred, Side::A);
        assert_ne!(preference.chosen(), preference.rejected());
    }
    let prompts: HashSet<&str> = all.iter().map(|p| p.pair.prompt[0].content.as_str()).collect();
    assert_eq!(prompts.len(), all.len(), "every prompt is asked once");
    assert_eq!(corpus.texts().count(), 3 * settings.pairs);
}

#[test]
fn texts_are_whole_sentences_of_moderate_length() {
    let corpus = made(0);
    for text in corpus.texts() {
        assert!(text.starts_with(|c: char| c.is_uppercase()), "{text}");
        assert!(text.is_ascii() && !text.contains(['{', '}']) && !text.contains("  "), "{text}");
        assert!((5..=160).contains(&text.split(' ').count()), "{text}");
    }
}

#[test]
fn quality_makes_the_cues_and_gold_follows_quality_save_for_the_noise() {
    let corpus = made(0);
    let settings = CorpusSettings::default();
    let mut shown = [(0.0, 0.0); 10];
    let mut noisy = 0.0;
    for (_, truth) in rows(&corpus.train) {
        let [a, b] = &truth.answers;
        assert!((a.quality - b.quality).abs() >= settings.min_gap);
        assert_eq!(truth.noisy, a.quality < b.quality);
        noisy += f64::from(u8::from(truth.noisy));
        for answer in [a, b] {
            assert_eq!(answer.cues.len(), settings.general_cues + settings.topical_cues);
            let bin = &mut shown[((answer.quality * 10.0) as usize).min(9)];
            bin.0 += answer.cues.iter().filter(|cue| cue.good).count() as f64;
            bin.1 += answer.cues.len() as f64;
        }
    }
    assert_abs_diff_eq!(noisy / settings.pairs as f64, settings.label_noise, epsilon = 0.03);
    for (bin, (good, all)) in shown.into_iter().enumerate().filter(|(_, (_, all))| *all > 200.0) {
        let quality = (bin as f64 + 0.5) / 10.0;
        assert!((good / all - quality).abs() < 0.06, "quality {quality}: {good} good cues of {all}");
    }
    assert!(corpus.test.truths.iter().all(|truth| !truth.noisy));
}

#[test]
fn both_answers_make_the_same_points() {
    let corpus = made(0);
    let mut alike = 0;
    for (preference, truth) in rows(&corpus.train) {
        let [a, b] = &truth.answers;
        let points = |answer: &corpus::AnswerTruth| -> Vec<(Cue, usize)> {
            answer.cues.iter().map(|shown| (shown.cue, shown.phrase)).collect()
        };
        assert_eq!(points(a), points(b));
        // Where they make a point equally well, they say the same.
        let [a_text, b_text] = &preference.pair.responses;
        for (sentence, equal) in a_text.split(". ").zip(a.cues.iter().zip(&b.cues).map(|(a, b)| a.good == b.good)) {
            alike += usize::from(equal && b_text.contains(sentence.trim_end_matches('.')));
        }
    }
    assert!(alike > corpus.train.truths.len(), "{alike}");
}

#[test]
fn nothing_but_the_cues_tells_the_better_answer() {
    for seed in 0..3 {
        let train = made(seed).train;
        let accuracies = [
            ("characters", greater_wins(&train, str::len)),
            ("words", greater_wins(&train, |text| text.split(' ').count())),
            ("order", greater_wins(&train, |text| text.to_owned())),
            ("commas", greater_wins(&train, |text| text.matches(',').count())),
        ];
        for (name, accuracy) in accuracies {
            println!("seed {seed}: more {name} wins {accuracy:.3}");
            assert!((0.45..=0.55).contains(&accuracy), "seed {seed}: more {name} wins {accuracy}");
        }
    }
}

#[test]
fn no_cue_decides_alone_and_together_they_do() {
    // The more cues an answer shows, the oftener each is there to be judged by.
    for (general_cues, topical_cues, bounds) in [(3, 3, [0.73, 0.85]), (8, 5, [0.83, 0.9])] {
        cues_decide_together(&CorpusSettings { general_cues, topical_cues, ..Default::default() }, bounds);
    }
}

/// `[general, topical]`: what one cue may give at most.
fn cues_decide_together(settings: &CorpusSettings, [general, topical]: [f64; 2]) {
    let corpus = corpus::generate(settings).unwrap();
    let mut alone: BTreeMap<Cue, f64> = BTreeMap::new();
    let mut together = 0.0;
    for (_, truth) in rows(&corpus.test) {
        let votes = |cue: Option<Cue>| -> i32 {
            let count = |answer: &corpus::AnswerTruth| -> i32 {
                let counted = answer.cues.iter().filter(|shown| cue.is_none_or(|cue| shown.cue == cue));
                counted.map(|shown| if shown.good { 1 } else { -1 }).sum()
            };
            count(&truth.answers[0]) - count(&truth.answers[1])
        };
        // A tie is worth half.
        let right = |votes: i32| 0.5 + 0.5 * f64::from(votes.signum());
        for cue in Cue::GENERAL.into_iter().chain(Cue::TOPICAL) {
            *alone.entry(cue).or_default() += right(votes(Some(cue)));
        }
        together += right(votes(None));
    }
    let size = corpus.test.truths.len() as f64;
    for (cue, right) in alone {
        // A cue of substance has other phrases in each topic: it counts as fourteen small cues.
        let bound = if Cue::GENERAL.contains(&cue) { general } else { topical };
        assert!((0.53..=bound).contains(&(right / size)), "{cue:?} alone: {}", right / size);
    }
    assert!(together / size > 0.93, "together {}", together / size);
}

#[test]
fn settings_out_of_range_are_named() {
    let refused = |settings: CorpusSettings| corpus::generate(&settings).unwrap_err().to_string();
    let many = CorpusSettings { pairs: 1_000_000, ..CorpusSettings::default() };
    assert!(matches!(corpus::generate(&many), Err(CorpusError::TooManyPairs { wanted: 1_001_000, .. })));
    let overflow = CorpusSettings { pairs: usize::MAX, ..CorpusSettings::default() };
    assert!(matches!(corpus::generate(&overflow), Err(CorpusError::TooManyPairs { .. })));
    assert!(refused(CorpusSettings { topical_cues: 6, ..CorpusSettings::default() }).contains("topical_cues 6"));
    let none = CorpusSettings { topical_cues: 0, general_cues: 0, ..CorpusSettings::default() };
    assert!(refused(none).contains("not both 0"));
    assert!(refused(CorpusSettings { min_gap: f64::NAN, ..CorpusSettings::default() }).contains("min_gap is NaN"));
    assert!(refused(CorpusSettings { label_noise: 0.5, ..CorpusSettings::default() }).contains("label_noise is 0.5"));
    assert!(refused(CorpusSettings { test_label_noise: -0.1, ..CorpusSettings::default() }).contains("test_label"));
    assert!(refused(CorpusSettings { phrase_skew: 9.0, ..CorpusSettings::default() }).contains("phrase_skew is 9"));
    let empty = CorpusSettings { pairs: 0, test_pairs: 0, ..CorpusSettings::default() };
    assert!(corpus::generate(&empty).unwrap().train.preferences.is_empty());
}

#[test]
fn settings_read_from_json_and_refuse_unknown_names() {
    let read: CorpusSettings = serde_json::from_str(r#"{"pairs": 10}"#).unwrap();
    assert_eq!(read, CorpusSettings { pairs: 10, ..CorpusSettings::default() });
    assert!(serde_json::from_str::<CorpusSettings>(r#"{"pair": 10}"#).is_err());
}
