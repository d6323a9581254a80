//! Settings and summary of reading.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layout::Layout;
use crate::DataError;
use crate::RowPosition;

/// Handling of a row that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRow {
    /// Stop with an error.
    #[default]
    Stop,
    /// Leave it out; [`ReadSummary`] counts and lists it.
    Skip,
}

/// Settings of reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadSettings {
    /// Handling of a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// Whether the prompt of a longer conversation is reduced to its last user turn, as the paper does for HH-RLHF
    /// (C.1); the turns before it are dropped.
    pub last_round_only: bool,
    /// The layout; `None`: the first row determines it.
    pub layout: Option<Layout>,
    /// The split to read from a folder or repository with several splits (`train-00000-of-00002.parquet`,
    /// `test.jsonl.gz`).
    pub split: Option<String>,
    /// Maximum size of a row in bytes, a bound on memory; a larger row is a bad row.
    pub max_row_bytes: usize,
    /// A compressed file that unpacks to more than this multiple of its size, and to more than 256 MiB, is refused.
    pub max_expansion: u64,
    /// If answers have scores or ranks, two whose scores are equal or differ by less are a tie, which makes no pair.
    pub min_score_gap: f64,
    /// If a question has several scored answers, the maximum number of pairs made of them, drawn at random (the draw
    /// depends only on the question). StackLLaMA used 10 for StackExchange.
    pub max_pairs_per_prompt: usize,
    /// If answers have scores or ranks, or a preference has a strength: the pair's margin per unit of difference,
    /// margin = `score_margin` x difference, in raw score units of the reward model. None: pairs have no margin, and
    /// the loss uses its own, as in the paper.
    ///
    /// A margin replaces the loss's m. Scores of UltraFeedback differ by up to 9, those of StackExchange by more, while
    /// the hinge's m is 1: a scale of 1 / (mean difference) keeps the mean margin at 1. A column `margin` of the data
    /// is used unchanged. Pairs that the loop labels itself get the mean margin of the labelled seed.
    pub score_margin: Option<f64>,
    /// The prompt column of rows with `chosen` and `rejected`, as text or as messages, if it has an unknown name; if it
    /// is set, no other column is used as the prompt.
    pub prompt_column: Option<String>,
    /// Columns of rows with `chosen` and `rejected` that may stay unread. A row in which several columns, or a column
    /// with an unknown name, could be the prompt is refused unless `prompt_column` names it or the others are listed
    /// here.
    pub ignore_columns: Vec<String>,
}

impl Default for ReadSettings {
    fn default() -> Self {
        ReadSettings {
            on_bad_row: OnBadRow::Stop,
            last_round_only: false,
            layout: None,
            split: None,
            max_row_bytes: 64 << 20,
            max_expansion: 500,
            min_score_gap: 0.0,
            max_pairs_per_prompt: 10,
            score_margin: None,
            prompt_column: None,
            ignore_columns: Vec::new(),
        }
    }
}

impl ReadSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`DataError::Setting`] names the setting.
    pub fn check(&self) -> Result<(), DataError> {
        let refuse = |name, value: String, problem| Err(DataError::Setting { name, value, problem });
        for (name, value) in
            [("max_row_bytes", self.max_row_bytes), ("max_pairs_per_prompt", self.max_pairs_per_prompt)]
        {
            if value == 0 {
                return refuse(name, value.to_string(), "leaves out everything; give at least 1");
            }
        }
        if !(self.min_score_gap >= 0.0 && self.min_score_gap.is_finite()) {
            return refuse(
                "min_score_gap",
                self.min_score_gap.to_string(),
                "is not a gap; give a number of at least 0",
            );
        }
        if let Some(scale) = self.score_margin.filter(|scale| !(*scale > 0.0 && scale.is_finite())) {
            return refuse("score_margin", scale.to_string(), "is not a scale; give a number over 0, or leave it out");
        }
        Ok(())
    }
}

/// Origin of a pair.
#[derive(Clone, Debug, PartialEq)]
pub struct PairOrigin {
    /// The file.
    pub file: Arc<Path>,
    /// Position of its row in the file.
    pub position: RowPosition,
    /// The row's number among all rows of all files, from 0, including bad rows and ties.
    pub row: u64,
    /// The value of the row's own `id`, `pair_id` or `uuid`, if it has one.
    pub id: Option<Value>,
    /// The text of the row's column `subset`, as RewardBench has it.
    pub subset: Option<String>,
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedRow {
    /// The file.
    pub file: PathBuf,
    /// Position in the file.
    #[serde(alias = "place")]
    pub position: RowPosition,
    /// The reason.
    pub problem: String,
}

/// Summary of the rows read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadSummary {
    /// Files opened.
    pub files: u64,
    /// Rows read, including bad ones.
    pub rows: u64,
    /// Pairs made of them.
    pub pairs: u64,
    /// Comparisons in which neither answer is better.
    pub ties: u64,
    /// Pairs over [`ReadSettings::max_pairs_per_prompt`].
    pub over_pair_limit: u64,
    /// Pairs whose two conversations had different prompts; their prompt is the common beginning.
    pub prompts_differ: u64,
    /// Pairs with a written-out dialogue in which one speaker has two turns in a row; those of the prompt were joined.
    /// Lists of messages keep their turns.
    pub turns_joined: u64,
    /// Pairs with an answer of only whitespace. They are read, as HH-RLHF has some; screening leaves them out.
    pub blank_answers: u64,
    /// Answers, of several to a question, without a score or text; they are in no pair.
    pub unscored_answers: u64,
    /// Pairs whose chosen answer has a lower score than the rejected one, or whose label contradicts their scores. They
    /// keep their label and get no margin from their scores.
    pub contradicting_scores: u64,
    /// Pairs with a negative margin in the data, which contradicts their label.
    pub negative_margins: u64,
    /// Rows whose prompt or answer is a number or a truth value; it is read as text.
    pub values_as_text: u64,
    /// Rows left out.
    pub skipped: u64,
    /// The first [`ReadSummary::LISTED`] rows left out.
    pub skipped_rows: Vec<SkippedRow>,
    /// The first [`ReadSummary::LISTED`] rows without a pair because all their comparisons are ties.
    pub tied_rows: Vec<SkippedRow>,
    /// Names of columns with values that no pair uses, at most [`ReadSummary::LISTED`].
    pub unread_columns: BTreeSet<String>,
}
