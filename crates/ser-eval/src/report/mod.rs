//! What a run found out, as data: `report.json`, `report.html` and the terminal's table are views of [`Report`].

mod comparison_table;
mod facts;
mod file;
mod headline;
mod policy;
mod text;

use std::collections::BTreeMap;

use ser_core::{FitSummary, LearningStatus};
use serde::{Deserialize, Serialize};

pub use comparison_table::comparison_table;
pub(crate) use file::write_whole;
pub use policy::{Comparison, Curve, PolicyReport, PolicyStage, PolicyTraining, Sample, SampleAnswer};

pub(crate) use facts::{few_pairs, few_test_pairs, what_changed, what_steps};
pub(crate) use headline::{Row, percent, points, rows, thousands, whole_percent};

use crate::{Calibration, Estimate, EvalError, Evaluation, ScoreDifferences, SubsetAccuracy};

/// Everything a run reports.
///
/// Two runs that did the same have reports that differ in [`timing`](Report::timing) only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The report's heading.
    pub title: String,
    /// Version of the library that ran.
    pub library_version: String,
    /// The run's settings, whole.
    #[serde(serialize_with = "file::sorted")]
    pub settings: serde_json::Value,
    /// Every seed by its name.
    pub seeds: BTreeMap<String, u64>,
    /// What was read, left out, and split.
    pub data: DataCounts,
    /// Loop 0 and the loops after it, in order.
    pub rounds: Vec<Round>,
    /// Why the loop ended, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// SER and what it is compared with, each on the same test pairs.
    pub baselines: Vec<Baseline>,
    /// What the loops changed on the test pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// Reliability of SER's model on the test pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
    /// Accuracy of SER's model on the named parts of the test set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subsets: Vec<SubsetAccuracy>,
    /// Policies trained and compared; none where the run trained no policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyReport>,
    /// What the reader should know before trusting the rest, a sentence each.
    pub warnings: Vec<String>,
    /// All that depends on the clock.
    #[serde(default)]
    pub timing: Timing,
}

/// What became of the input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct DataCounts {
    /// Where the rows came from.
    pub source: String,
    /// Rows read.
    pub rows: u64,
    /// Rows left out, by reason.
    pub left_out: Vec<Count>,
    /// Pairs in each part of the data.
    pub splits: Vec<Count>,
}

/// A number of pairs under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What is counted, as a person reads it.
    pub name: String,
    /// How many.
    pub count: u64,
}

impl Count {
    /// `count` of `name`.
    pub fn new(name: impl Into<String>, count: u64) -> Self {
        Count { name: name.into(), count }
    }
}

/// One loop: what it selected, and the model trained on that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    /// 0 for the seed model.
    pub number: u32,
    /// As a person reads it: `Loop 0`.
    pub name: String,
    /// State of the model that labelled this round's pairs; none for Loop 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<LearningStatus>,
    /// The rule that selected, as a person reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The pairs it labelled itself; none for Loop 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<Selection>,
    /// Pairs trained on, the human-labelled ones included.
    pub trained_on: u64,
    /// How the fit went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<FitSummary>,
    /// Accuracy on the pairs by which the best round is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
    /// How many of those pairs there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_pairs: Option<u64>,
    /// Score differences of the test pairs whose answers are most alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub similar_pairs: Option<ScoreDifferences>,
    /// The model on the test pairs.
    pub evaluation: Evaluation,
    /// Whether this round's model is the run's result.
    pub chosen: bool,
}

/// What a round selected from the pool, and (by the audit, which alone reads gold labels) how good its labels were.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// Pairs in the pool when the round began.
    pub pool: u64,
    /// Pairs kept.
    pub kept: u64,
    /// Share of the pool kept, in [0, 1].
    pub coverage: f64,
    /// Share of the kept pairs whose pseudo-label agrees with the gold label; none without gold, or with nothing kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<Estimate>,
    /// Share of the kept pairs labelled before whose label changed; none where no pair had a label before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip_rate: Option<f64>,
    /// The pool by Delta (Eq. 2), from 0 to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub delta_histogram: Vec<DeltaBin>,
}

/// Pool pairs whose Delta lies in [low, high), or in [low, high] for the last bin.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeltaBin {
    /// Least Delta.
    pub low: f64,
    /// Greatest Delta.
    pub high: f64,
    /// Pairs of the pool.
    pub pairs: u64,
    /// Those of them that were kept.
    pub kept: u64,
    /// Those of `pairs` that have a gold label.
    #[serde(default)]
    pub with_gold: u64,
    /// Those of `with_gold` whose higher-scored answer is the gold one; none without gold.
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
    /// From which pairs are right before and after, in the same order.
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

/// Who a row of the comparison is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BaselineKind {
    /// The seed model alone.
    Loop0,
    /// The run's result: the chosen round's model.
    Ser,
    /// Trained on every human label: the ceiling.
    Full,
    /// The same loops with as many pool pairs each as SER kept, drawn at random, with the models' own labels.
    Random,
    /// Trained on the seed and the very pairs SER kept, with human labels.
    Oracle,
}

impl BaselineKind {
    /// The row's name, as a person reads it.
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

/// SER or a baseline, on the same test pairs as Loop 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Baseline {
    /// Who.
    pub kind: BaselineKind,
    /// The model on the test pairs.
    pub evaluation: Evaluation,
    /// Pairs trained on.
    pub trained_on: u64,
    /// Human labels that were read to make it: of the pairs trained on, and of the validation pairs where they chose the
    /// model, fitted its anchor, certified its thresholds or ended its loops.
    pub human_labels: u64,
    /// Optimizer steps of all its trainings; for SER those of Loop 0 to the chosen loop. None where not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Its accuracy minus Loop 0's, from the same resamples of pairs; none for Loop 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gain: Option<Estimate>,
    /// (accuracy - Loop 0) / (Full - Loop 0); none where Full is not over Loop 0. See [`Report::close_gaps`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_closed: Option<f64>,
}

/// Everything that depends on the clock, apart from the rest so that reports can be compared without it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    /// When the run started, as a person reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Seconds from start to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_seconds: Option<f64>,
    /// Seconds of each stage, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<StageTime>,
}

/// How long a stage took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    /// The stage's name.
    pub stage: String,
    /// Seconds.
    pub seconds: f64,
}

impl Report {
    /// The baseline of a kind, if the run has it.
    pub fn baseline(&self, kind: BaselineKind) -> Option<&Baseline> {
        self.baselines.iter().find(|b| b.kind == kind)
    }

    /// Optimizer steps of SER's trainings and of Full's, where both are known.
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
