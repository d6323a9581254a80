//! Measures a reward model on labelled pairs: accuracy, subsets, RewardBench.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ndarray::aview2;
use ser_core::{Clusters, Context, Pair, Preference, Scorer, Screening};
use ser_data::{Layout, PairOrigin, PreferenceFile, ReadSettings, ReadSummary, prompt_clusters};
use ser_eval::{
    Bootstrap, Estimate, Evaluation, RewardBench, RewardBench2, ScoredAnswers, SubsetAccuracy, accuracy_by_subset,
    chosen_first, write_results,
};
use serde::Serialize;

use crate::Error;

const STAGE: &str = "evaluation";

/// Labelled pairs to measure reward models on, with the ids and subsets of their rows.
#[derive(Debug)]
pub struct TestPairs {
    preferences: Vec<Preference>,
    origins: Vec<PairOrigin>,
    layout: Option<Layout>,
    summary: ReadSummary,
}

/// Results of a reward model on [`TestPairs`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TestResult {
    /// The model's name.
    pub model: String,
    /// Accuracy and calibration over all pairs that were scored.
    pub evaluation: Evaluation,
    /// Accuracy per subset, where the rows have a column `subset`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subsets: Vec<SubsetAccuracy>,
    /// RewardBench's sections, where a section's subsets are all present.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_bench: Option<RewardBench>,
    /// RewardBench 2's scores, where rows have several answers of a kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_bench_2: Option<RewardBench2>,
    /// Rows with a pair that the model cannot score, numbered from 1 over all files. They are not measured.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows_left_out: Vec<u64>,
}

impl TestPairs {
    /// Reads all pairs of `path`: a file, a folder, a pattern or a dataset of a hub. Of RewardBench 2, all combinations of a
    /// row's answers are read, whatever `max_pairs_per_prompt` says.
    ///
    /// # Errors
    /// An invalid file, with the line.
    pub fn open(path: &Path, settings: &ReadSettings) -> Result<Self, Error> {
        let read = Self::read(path, settings)?;
        if read.layout == Some(Layout::RewardBench) && read.summary.over_pair_limit > 0 {
            let all = ReadSettings { max_pairs_per_prompt: usize::MAX, ..settings.clone() };
            return Self::read(path, &all);
        }
        Ok(read)
    }

    fn read(path: &Path, settings: &ReadSettings) -> Result<Self, Error> {
        let mut file = PreferenceFile::open(path, settings)?;
        let (mut preferences, mut origins) = (Vec::new(), Vec::new());
        while let Some((preference, origin)) = file.next_with_origin()? {
            preferences.push(preference);
            origins.push(origin);
        }
        Ok(TestPairs { preferences, origins, layout: file.layout(), summary: file.summary().clone() })
    }

    /// What was left out while reading.
    pub fn summary(&self) -> &ReadSummary {
        &self.summary
    }

    /// The pairs. Answer A is the chosen one.
    pub fn pairs(&self) -> Vec<Arc<Pair>> {
        self.preferences.iter().map(|preference| Arc::clone(&preference.pair)).collect()
    }

    /// Measures a model. An answer that is in several pairs of a row is scored once or a few times, not in every pair.
    ///
    /// # Errors
    /// [`Error::Stage`] with the scorer's error or if no pair can be measured.
    pub fn measure<S: Scorer + ?Sized>(
        &self,
        model: &str,
        scorer: &mut S,
        bootstrap: &Bootstrap,
        cx: &mut Context<'_>,
    ) -> Result<TestResult, Error> {
        let pairs = self.pairs();
        let screened = scorer.screen(&pairs, cx).map_err(Error::stage(STAGE))?;
        // Equal answers have scores as well, and count as wrong.
        let rows: HashSet<u64> = screened
            .iter()
            .zip(&self.origins)
            .filter(|(screening, _)| **screening == Screening::TooLong)
            .map(|(_, origin)| origin.row)
            .collect();
        let kept: Vec<(&Preference, &PairOrigin)> =
            self.preferences.iter().zip(&self.origins).filter(|(_, origin)| !rows.contains(&origin.row)).collect();
        let scores = score_answers(&kept, scorer, cx)?;

        let pairs = || kept.iter().map(|(preference, _)| preference.pair.as_ref());
        let prompts = prompt_clusters(pairs());
        let clusters = Clusters::Ids(&prompts);
        let evaluation = Evaluation::measure(aview2(&scores), clusters, bootstrap).map_err(Error::stage(STAGE))?;
        let names: Option<Vec<&str>> = kept.iter().map(|(_, origin)| origin.subset.as_deref()).collect();
        let (mut subsets, mut reward_bench, mut reward_bench_2) = (Vec::new(), None, None);
        if let Some(names) = names {
            subsets = accuracy_by_subset(aview2(&scores), &names, clusters, bootstrap).map_err(Error::stage(STAGE))?;
            let answers = answers_of_rows(&kept, &scores);
            if answers.len() == kept.len() {
                let bench = RewardBench::measure(model, aview2(&scores), &names, clusters, bootstrap);
                reward_bench = Some(bench.map_err(Error::stage(STAGE))?).filter(|bench| !bench.sections.is_empty());
            } else if self.layout == Some(Layout::RewardBench) {
                // In other layouts with several answers a row, an answer may be better than one and worse than another.
                let bench = RewardBench2::measure(model, &answers, bootstrap);
                reward_bench_2 = Some(bench.map_err(Error::stage(STAGE))?);
            }
        }
        let mut rows_left_out: Vec<u64> = rows.into_iter().map(|row| row + 1).collect();
        rows_left_out.sort_unstable();
        Ok(TestResult { model: model.to_owned(), evaluation, subsets, reward_bench, reward_bench_2, rows_left_out })
    }
}

impl TestResult {
    /// A table of the results. Ends with a line break.
    pub fn to_text(&self) -> String {
        let mut lines: Vec<(String, String)> = Vec::new();
        let percent = |value: f64| format!("{:5.1} %", 100.0 * value);
        let estimate = |e: &Estimate| {
            format!("{}  [{:.1}, {:.1}]  {} pairs", percent(e.value), 100.0 * e.low, 100.0 * e.high, e.pairs)
        };
        lines.extend(self.subsets.iter().map(|subset| (subset.subset.clone(), estimate(&subset.accuracy))));
        lines.push(("all pairs".to_owned(), estimate(&self.evaluation.accuracy)));
        if let Some(bench) = &self.reward_bench {
            lines.extend(bench.sections.iter().map(|s| (format!("RewardBench, {}", s.section), percent(s.score))));
            lines.extend(bench.score.map(|score| ("RewardBench".to_owned(), percent(score))));
        }
        if let Some(bench) = &self.reward_bench_2 {
            lines.extend(bench.subsets.iter().map(|subset| {
                let interval = subset
                    .interval
                    .map_or_else(String::new, |[low, high]| format!("  [{:.1}, {:.1}]", 100.0 * low, 100.0 * high));
                let name = format!("RewardBench 2, {}", subset.subset);
                (name, format!("{}{interval}  {} prompts", percent(subset.score), subset.prompts))
            }));
            lines.extend(bench.score.map(|score| ("RewardBench 2".to_owned(), percent(score))));
        }
        lines.extend(self.evaluation.ece.map(|ece| ("calibration error".to_owned(), percent(ece))));
        let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        lines.iter().map(|(name, result)| format!("{name:<width$}  {result}\n")).collect()
    }

    /// Writes the results as `NAME.json` into a folder, named after the model, and returns the path: those of RewardBench or
    /// RewardBench 2 in the shape of their leaderboards, if they were measured, or else all.
    ///
    /// # Errors
    /// [`Error::Stage`] if the file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, Error> {
        let of_first = || self.reward_bench.as_ref().map(RewardBench::leaderboard);
        let written = match self.reward_bench_2.as_ref().map(RewardBench2::leaderboard).or_else(of_first) {
            Some(leaderboard) => write_results(&leaderboard, &self.model, folder),
            None => write_results(self, &self.model, folder),
        };
        written.map_err(Error::stage(STAGE))
    }
}

/// An answer of a row.
type Answer<'a> = (u64, &'a str);

fn answers<'a>((preference, origin): &(&'a Preference, &'a PairOrigin)) -> [Answer<'a>; 2] {
    [preference.chosen(), preference.rejected()].map(|text| (origin.row, text))
}

/// The raw scores of all pairs, the chosen answer's first. A pair is scored if one of its answers is in no earlier pair.
fn score_answers<S: Scorer + ?Sized>(
    kept: &[(&Preference, &PairOrigin)],
    scorer: &mut S,
    cx: &mut Context<'_>,
) -> Result<Vec<[f64; 2]>, Error> {
    let mut seen: HashSet<Answer<'_>> = HashSet::new();
    let scored: Vec<&(&Preference, &PairOrigin)> = kept
        .iter()
        .filter(|pair| {
            let [chosen, rejected] = answers(pair).map(|answer| seen.insert(answer));
            // Answers that are more than text are not told apart by it.
            chosen || rejected || pair.0.pair.response_turns.is_some()
        })
        .collect();
    let pairs: Vec<Arc<Pair>> = scored.iter().map(|(preference, _)| Arc::clone(&preference.pair)).collect();
    let scores = scorer.score(&pairs, cx).map_err(Error::stage(STAGE))?;
    let mut by_answer: HashMap<Answer<'_>, f64> = HashMap::new();
    let mut by_pair = HashMap::new();
    for (pair, scores) in scored.iter().zip(scores) {
        let [chosen, rejected] = chosen_first(scores, pair.0.preferred);
        let [of_chosen, of_rejected] = answers(pair);
        by_answer.entry(of_chosen).or_insert(chosen);
        by_answer.entry(of_rejected).or_insert(rejected);
        by_pair.insert(pair.0.pair.id, [chosen, rejected]);
    }
    let score = |answer: Answer<'_>| by_answer.get(&answer).copied().unwrap_or(f64::NAN);
    Ok(kept.iter().map(|pair| by_pair.get(&pair.0.pair.id).copied().unwrap_or(answers(pair).map(score))).collect())
}

/// The scores of each row's distinct answers.
fn answers_of_rows(kept: &[(&Preference, &PairOrigin)], scores: &[[f64; 2]]) -> Vec<ScoredAnswers> {
    let mut rows: Vec<(u64, ScoredAnswers)> = Vec::new();
    let (mut seen_chosen, mut seen_rejected) = (HashSet::new(), HashSet::new());
    for (pair, [chosen, rejected]) in kept.iter().zip(scores) {
        let (_, origin) = pair;
        if rows.last().is_none_or(|(row, _)| *row != origin.row) {
            let id =
                origin.id.as_ref().map_or_else(String::new, |id| id.as_str().map_or(id.to_string(), str::to_owned));
            let subset = origin.subset.clone().unwrap_or_default();
            rows.push((origin.row, ScoredAnswers { subset, id, correct: Vec::new(), incorrect: Vec::new() }));
        }
        if let Some((_, scored)) = rows.last_mut() {
            let [of_chosen, of_rejected] = answers(pair);
            if seen_chosen.insert(of_chosen) {
                scored.correct.push(*chosen);
            }
            if seen_rejected.insert(of_rejected) {
                scored.incorrect.push(*rejected);
            }
        }
    }
    rows.into_iter().map(|(_, answers)| answers).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use ser_core::{PairScores, scorer_fn};

    use super::*;

    fn measure(lines: &[&str]) -> (TestResult, usize) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let test = TestPairs::open(&path, &ReadSettings::default()).unwrap();
        let mut scored = 0;
        // Longer is better.
        let mut scorer = scorer_fn(|pairs: &[Arc<Pair>], _: &mut Context<'_>| {
            scored += pairs.len();
            let length = |text: &String| text.len() as f64;
            Ok::<_, std::io::Error>(
                pairs.iter().map(|p| PairScores::new(length(&p.responses[0]), length(&p.responses[1]))).collect(),
            )
        });
        let result = test.measure("length", &mut scorer, &Bootstrap::default(), &mut Context::silent()).unwrap();
        (result, scored)
    }

    #[test]
    fn pairs_with_subsets_have_an_accuracy_each() {
        let (result, scored) = measure(&[
            r#"{"prompt": "p", "chosen": "long answer", "rejected": "short", "subset": "x", "id": 1}"#,
            r#"{"prompt": "q", "chosen": "no", "rejected": "longer", "subset": "y", "id": 2}"#,
            r#"{"prompt": "r", "chosen": "longest", "rejected": "long", "subset": "y", "id": 3}"#,
        ]);
        let subsets: Vec<_> = result.subsets.iter().map(|s| (s.subset.as_str(), s.accuracy.value)).collect();
        assert_eq!(subsets, [("x", 1.0), ("y", 0.5)]);
        assert_eq!((scored, result.reward_bench, result.reward_bench_2), (3, None, None));
        assert!((result.evaluation.accuracy.value - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn ranked_answers_of_another_layout_are_pairs_alone() {
        let (result, _) = measure(&[
            r#"{"prompt": "\n\nHuman: p\n\nAssistant:", "answers": [{"answer": "longest", "rank": 1}, {"answer": "long", "rank": 2}, {"answer": "no", "rank": 3}], "subset": "x"}"#,
        ]);
        assert_eq!((result.evaluation.accuracy.pairs, result.subsets.len()), (3, 1));
        assert_eq!((result.reward_bench, result.reward_bench_2), (None, None));
    }

    #[test]
    fn rows_of_several_answers_are_measured_by_their_best_and_each_answer_is_scored_once() {
        let many: Vec<String> = (0..12).map(|i| format!("\"{}\"", "x".repeat(i + 2))).collect();
        let ties = format!(
            r#"{{"prompt": "n", "chosen": [{}], "rejected": ["y"], "subset": "Ties", "id": "tied:1"}}"#,
            many.join(", ")
        );
        let (result, scored) = measure(&[
            r#"{"prompt": "p", "chosen": ["four"], "rejected": ["one", "tw", "yes"], "subset": "Math", "id": "1"}"#,
            r#"{"prompt": "q", "chosen": ["two"], "rejected": ["one", "three", "to"], "subset": "Math", "id": "2"}"#,
            &ties,
            r#"{"prompt": "n", "chosen": ["yes"], "rejected": ["no"], "subset": "Ties", "id": "ref:1"}"#,
        ]);
        let bench = result.reward_bench_2.as_ref().unwrap();
        let scores: Vec<_> = bench.subsets.iter().map(|s| (s.subset.as_str(), s.prompts)).collect();
        assert_eq!(scores, [("Math", 2), ("Ties", 2)]);
        assert_eq!(bench.subsets[0].score, 0.5);
        let parts = bench.subsets[1].ties.unwrap();
        assert_eq!((parts.tied, parts.single, parts.preferred), (1.0, 1.0, 0.0));
        // All 12 combinations of the third row are read, over the default limit of a question.
        assert_eq!((result.evaluation.accuracy.pairs, scored), (3 + 3 + 12 + 1, 19));
        let text = result.to_text();
        assert!(text.contains("RewardBench 2, Math   50.0 %  ["), "{text}");
    }
}
