//! How files are read, and what was read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::layout::Layout;
use crate::DataError;

/// What to do about a row that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRow {
    /// Stop with an error.
    #[default]
    Stop,
    /// Leave it out; [`ReadSummary`] counts and lists it.
    Skip,
}

/// How files are read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadSettings {
    /// What to do about a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// Whether the prompt of a longer conversation is its last user turn alone, as the paper takes HH-RLHF (C.1); the
    /// turns before it are dropped.
    pub last_round_only: bool,
    /// The layout; `None` means that the first row shows it.
    pub layout: Option<Layout>,
    /// Of a folder or a repository that holds several splits (`train-00000-of-00002.parquet`, `test.jsonl.gz`), the one to
    /// read.
    pub split: Option<String>,
    /// A row of more bytes is a bad row: a limit on memory, whatever the file.
    pub max_row_bytes: usize,
    /// A compressed file that unpacks to more than this many times its size, and to more than 256 MiB, is refused.
    pub max_expansion: u64,
    /// Where answers have scores or ranks, two whose scores are equal or differ by less are a tie, which makes no pair.
    pub min_score_gap: f64,
    /// Where a question has several scored answers, at most so many pairs are made of them, drawn at random (which ones
    /// depends on the question alone). 10 is what StackLLaMA took of StackExchange.
    pub max_pairs_per_prompt: usize,
    /// Where answers have scores (or ranks, or a preference has a strength), the margin that a pair gets for each unit by
    /// which they differ: margin = `score_margin` x difference, in raw score units of the reward model. None: pairs have no
    /// margin, and all ask for the loss's own, as in the paper.
    ///
    /// A margin takes the place of the loss's m. Scores of UltraFeedback differ by up to 9, those of StackExchange by more,
    /// while the hinge's m is 1: a scale of 1 / (mean difference) keeps the mean margin at 1. A column `margin` of the
    /// data is taken as it is. Pairs that the loop labels itself get the mean margin of the labelled seed.
    pub score_margin: Option<f64>,
    /// The column that holds the prompt of rows with `chosen` and `rejected`, as text or as messages, where it has none of
    /// the known names; if it is set, no other column is taken for the prompt.
    pub prompt_column: Option<String>,
    /// Columns of rows with `chosen` and `rejected` that may stay unread. A row in which several columns, or a column of
    /// an unknown name, could be the prompt is refused unless `prompt_column` names it or the others are listed here.
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
    /// Refuses settings under which nothing could be read.
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
            return refuse("min_score_gap", self.min_score_gap.to_string(), "is no gap; give a number of at least 0");
        }
        if let Some(scale) = self.score_margin.filter(|scale| !(*scale > 0.0 && scale.is_finite())) {
            return refuse("score_margin", scale.to_string(), "is no scale; give a number over 0, or leave it out");
        }
        Ok(())
    }
}

/// Where a row begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// A line of a text file, from 1.
    Line(u64),
    /// A row of a parquet file, from 1.
    Row(u64),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// Where a pair comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct PairOrigin {
    /// The file.
    pub file: Arc<Path>,
    /// Where in the file its row begins.
    pub place: Place,
    /// The row's number among all rows of all files, from 0; bad rows and ties are counted.
    pub row: u64,
    /// What the row's own `id`, `pair_id` or `uuid` says, if it has one.
    pub id: Option<Value>,
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedRow {
    /// The file.
    pub file: PathBuf,
    /// Where in the file.
    pub place: Place,
    /// Why.
    pub problem: String,
}

/// What was read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReadSummary {
    /// Files begun.
    pub files: u64,
    /// Rows seen, bad ones included.
    pub rows: u64,
    /// Pairs that came of them.
    pub pairs: u64,
    /// Comparisons that say of neither answer that it is better.
    pub ties: u64,
    /// Pairs over [`ReadSettings::max_pairs_per_prompt`].
    pub over_pair_limit: u64,
    /// Pairs whose two conversations had different prompts; they keep what the prompts share.
    pub prompts_differ: u64,
    /// Pairs with a written-out dialogue in which one speaker has two turns in a row; those of the prompt were joined into
    /// one. Lists of messages keep their turns.
    pub turns_joined: u64,
    /// Pairs with an answer of nothing but whitespace. They are read, as HH-RLHF has some; screening leaves them out.
    pub blank_answers: u64,
    /// Answers of several to a question that have no score, or no text, and so are in no pair.
    pub unscored_answers: u64,
    /// Pairs whose chosen answer has a lower score than the rejected one, or whose label contradicts their scores. They keep
    /// their label, and get no margin from their scores.
    pub contradicting_scores: u64,
    /// Pairs with a margin under 0 in the data, which asks for less than that the chosen answer is better.
    pub negative_margins: u64,
    /// Rows in which a prompt or an answer is a number or a truth value; it is read as text.
    pub values_as_text: u64,
    /// Rows left out.
    pub skipped: u64,
    /// The first [`ReadSummary::LISTED`] rows left out.
    pub skipped_rows: Vec<SkippedRow>,
    /// The first [`ReadSummary::LISTED`] rows without a pair because all their comparisons are ties.
    pub tied_rows: Vec<SkippedRow>,
    /// Names of columns with values that no pair comes from, at most [`ReadSummary::LISTED`].
    pub unread_columns: BTreeSet<String>,
}
