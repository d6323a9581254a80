//! The results of a run as data: `report.json`, `report.html` and the terminal's table are views of [`Report`].

mod comparison_table;
mod file;
mod headline;
mod policy;
mod sentences;
mod table;
mod text;

use std::collections::BTreeMap;

use ser_core::{FitSummary, LearningStatus};
use serde::{Deserialize, Serialize};

pub use comparison_table::comparison_table;
pub(crate) use file::write_whole;
pub use policy::{Comparison, Curve, PolicyReport, PolicyStage, PolicyTraining, SampleAnswer, SamplePrompt};

pub(crate) use headline::{Row, percent, points, rows, thousands, whole_percent};
pub(crate) use sentences::{few_pairs, few_test_pairs, what_changed, what_steps};

use crate::{Calibration, Estimate, EvalError, Evaluation, ScoreDifferences, SubsetAccuracy};

/// All results of a run.
///
/// Reports of equal runs differ only in [`timing`](Report::timing).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Title of the report.
    pub title: String,
    /// Version of the library.
    pub library_version: String,
    /// All settings of the run.
    #[serde(serialize_with = "file::sorted")]
    pub settings: serde_json::Value,
    /// Every seed by its name.
    pub seeds: BTreeMap<String, u64>,
    /// Rows read, rows left out, and the split.
    pub data: DataCounts,
    /// Loop 0 and the later iterations, in order.
    #[serde(rename = "rounds")]
    pub iterations: Vec<IterationReport>,
    /// Why the loop ended, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// SER and the baselines, all on the same test pairs.
    pub baselines: Vec<Baseline>,
    /// Changes on the test pairs between Loop 0 and the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// Calibration of SER's model on the test pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Accuracy of SER's model on the named subsets of the test set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subsets: Vec<SubsetAccuracy>,
    /// Policies trained and compared; none if the run trained no policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyReport>,
    /// Reasons to distrust the results, one sentence each.
    pub warnings: Vec<String>,
    /// Everything that depends on the clock.
    #[serde(default)]
    pub timing: Timing,
}

/// Counts of the input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataCounts {
    /// Source of the rows.
    pub source: String,
    /// Rows read.
    pub rows: u64,
    /// Rows left out, by reason.
    pub left_out: Vec<Count>,
    /// Pairs in each part of the data.
    pub splits: Vec<Count>,
}

/// A named number of pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Display name.
    pub name: String,
    /// Number of pairs.
    pub count: u64,
}

impl Count {
    /// Makes a count.
    pub fn new(name: impl Into<String>, count: u64) -> Self {
        Count { name: name.into(), count }
    }
}

/// One iteration: its selection, and the model trained on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IterationReport {
    /// 0 for the seed model.
    pub number: u32,
    /// Display name: `Loop 0`.
    pub name: String,
    /// State of the model that labelled this iteration's pairs; none for Loop 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<LearningStatus>,
    /// Display name of the rule that selected the pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The self-labelled pairs; none for Loop 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// Pairs trained on, including the human-labelled ones.
    pub trained_on: u64,
    /// Summary of the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<FitSummary>,
    /// Accuracy on the validation pairs, which choose the best iteration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
    /// Number of validation pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_pairs: Option<u64>,
    /// Score differences of the test pairs whose answers are most alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similar_pairs: Option<ScoreDifferences>,
    /// The model on the test pairs.
    pub evaluation: Evaluation,
    /// Whether this iteration's model is the run's result.
    pub chosen: bool,
}

/// An iteration's selection from the pool, and the quality of its labels by the audit (the only reader of gold labels).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Pairs in the pool at the start of the iteration.
    pub pool: u64,
    /// Pairs kept.
    pub kept: u64,
    /// Share of the pool kept, in [0, 1].
    pub coverage: f64,
    /// Share of the kept pairs whose pseudo-label agrees with the gold label; none without gold labels or kept pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Estimate>,
    /// Share of the previously labelled kept pairs whose label changed; none if no pair had a label before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip_rate: Option<f64>,
    /// The pool by Delta (Eq. 2), from 0 to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delta_histogram: Vec<SelectionBin>,
}

/// Pool pairs whose Delta lies in [low, high), or in [low, high] for the last bin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelectionBin {
    /// Lower edge.
    pub low: f64,
    /// Upper edge.
    pub high: f64,
    /// Pairs of the pool.
    pub pairs: u64,
    /// The number of selected pairs among them.
    pub kept: u64,
    /// Pairs among them with a gold label.
    #[serde(default)]
    pub with_gold: u64,
    /// Pairs of `with_gold` whose higher-scored answer is the gold one; none without gold labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correct: Option<u64>,
}

/// Test pairs on which Loop 0's model and the run's result differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Test pairs.
    pub pairs: u64,
    /// Wrong in Loop 0, right in the result.
    pub turned_right: u64,
    /// Right in Loop 0, wrong in the result.
    pub turned_wrong: u64,
}

impl Changes {
    /// Compares which pairs are right before and after, in the same order.
    ///
    /// # Errors
    /// [`EvalError::LengthMismatch`](crate::EvalError::LengthMismatch).
    pub fn between(before: &[bool], after: &[bool]) -> Result<Self, EvalError> {
        if before.len() != after.len() {
            let (left, right) = (before.len(), after.len());
            return Err(EvalError::LengthMismatch {
                left_name: "pairs before",
                left,
                right_name: "pairs after",
                right,
            });
        }
        let count = |from: bool, to: bool| before.iter().zip(after).filter(|(b, a)| (**b, **a) == (from, to)).count();
        Ok(Changes {
            pairs: before.len() as u64,
            turned_right: count(false, true) as u64,
            turned_wrong: count(true, false) as u64,
        })
    }
}

/// Subject of a row of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaselineKind {
    /// The seed model alone.
    Loop0,
    /// The run's result: the model of the chosen iteration.
    Ser,
    /// Trained on every human label: the upper bound.
    Full,
    /// The same iterations with equally many pool pairs drawn at random, with the models' own labels.
    Random,
    /// Trained on the seed and the pairs SER kept, with human labels.
    Oracle,
}

impl BaselineKind {
    /// The row's display name.
    pub fn label(self) -> &'static str {
        match self {
            BaselineKind::Loop0 => "Loop 0",
            BaselineKind::Ser => "SER",
            BaselineKind::Full => "Full",
            BaselineKind::Random => "Random",
            BaselineKind::Oracle => "Oracle",
        }
    }
}

/// Results of SER or of a baseline, on the same test pairs as Loop 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// The subject.
    pub kind: BaselineKind,
    /// The model on the test pairs.
    pub evaluation: Evaluation,
    /// Pairs trained on.
    pub trained_on: u64,
    /// Human labels used: of the pairs trained on, and of the validation pairs if they chose the model, fitted its
    /// anchor, certified its thresholds or ended its loop.
    pub human_labels: u64,
    /// Optimizer steps of all its trainings; for SER those of Loop 0 to the chosen iteration. None if unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Its accuracy minus Loop 0's, by paired resamples; none for Loop 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<Estimate>,
    /// (accuracy - Loop 0) / (Full - Loop 0); none unless Full exceeds Loop 0. See [`Report::close_gaps`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_closed: Option<f64>,
}

/// Everything that depends on the clock, kept separate so that reports can be compared without it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// Display form of the start time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Total duration in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_seconds: Option<f64>,
    /// Duration of each stage, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageTime>,
}

/// Duration of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// Name of the stage.
    pub stage: String,
    /// Seconds.
    pub seconds: f64,
}

impl Report {
    /// The baseline of a kind, if the run has it.
    pub fn baseline(&self, kind: BaselineKind) -> Option<&Baseline> {
        self.baselines.iter().find(|b| b.kind == kind)
    }

    /// Optimizer steps of SER's trainings and of Full's, if both are known.
    pub fn training_steps(&self) -> Option<(u64, u64)> {
        let steps = |kind| self.baseline(kind).and_then(|baseline| baseline.steps);
        steps(BaselineKind::Ser).zip(steps(BaselineKind::Full)).filter(|(_, full)| *full > 0)
    }

    /// Sets every baseline's [`gap_closed`](Baseline::gap_closed) from the accuracies of Loop 0 and Full.
    pub fn close_gaps(&mut self) {
        let accuracy = |kind| self.baseline(kind).map(|b| b.evaluation.accuracy.value);
        let bounds = accuracy(BaselineKind::Loop0).zip(accuracy(BaselineKind::Full)).filter(|(floor, top)| top > floor);
        for baseline in &mut self.baselines {
            baseline.gap_closed = match (baseline.kind, bounds) {
                (BaselineKind::Loop0, _) | (_, None) => None,
                (_, Some((floor, top))) => Some((baseline.evaluation.accuracy.value - floor) / (top - floor)),
            };
        }
    }
}
