//! How files are read, and what was read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::DataError;

/// How a file's rows are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// `chosen` and `rejected` hold whole dialogues, written out as `\n\nHuman: …\n\nAssistant: …` (HH-RLHF: base, online
    /// and rejection-sampled).
    HhRlhf,
    /// `chosen`, `rejected` and mostly `prompt` hold text, a message or a list of messages (`role`, `content`): TRL's
    /// columns, and UltraFeedback binarized. The prompt may also stand in `question`, `query`, `input`, `user`, `post`,
    /// `text`, `context`, `messages` and the like, in any case of letters, with earlier turns in `history` and a system
    /// prompt in `system`. `margin` is read; where `score_chosen` and `score_rejected` are equal the row is a tie.
    Columns,
    /// `instruction` and `completions[]` with `response` and `overall_score` (UltraFeedback, original): pairs of every
    /// two completions of unequal score.
    UltraFeedback,
    /// `info.post`, `info.title`, `info.subreddit`, `summaries[].text` and `choice` (TL;DR, summarize-from-feedback).
    Tldr,
    /// `question` and `answers[]` with `text` and `pm_score` (StackExchange preferences), HTML: pairs of every two answers
    /// of unequal score.
    StackExchange,
    /// `question`, `response_j`, `response_k`, the first the better one (StackExchange paired).
    StackExchangePaired,
    /// `conversations[]`, `chosen` and `rejected` with `from` and `value` or `role` and `content`, or `instruction`, `input`,
    /// `history`, `chosen`, `rejected` (LLaMA-Factory). It is read as [`Layout::Columns`] is.
    LlamaFactory,
    /// `instruction`, `input`, `response1`, `response2` and `annotator1` to `annotator3`, of which the majority counts
    /// (PandaLM).
    #[serde(rename = "pandalm")]
    PandaLm,
    /// `prompt`, `response 1`, `response 2` and `label`: 0 the first, 1 the second, 2 a tie (Auto-J).
    #[serde(rename = "autoj")]
    AutoJ,
    /// `prompt`, `chosen` and `rejected` as text (RewardBench), or as lists of texts (RewardBench 2): pairs of every
    /// chosen and every rejected one.
    RewardBench,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Layout; 10] = [
        Layout::HhRlhf,
        Layout::Columns,
        Layout::UltraFeedback,
        Layout::Tldr,
        Layout::StackExchange,
        Layout::StackExchangePaired,
        Layout::LlamaFactory,
        Layout::PandaLm,
        Layout::AutoJ,
        Layout::RewardBench,
    ];

    /// The name that settings and flags know.
    pub fn as_str(self) -> &'static str {
        match self {
            Layout::HhRlhf => "hh_rlhf",
            Layout::Columns => "columns",
            Layout::UltraFeedback => "ultra_feedback",
            Layout::Tldr => "tldr",
            Layout::StackExchange => "stack_exchange",
            Layout::StackExchangePaired => "stack_exchange_paired",
            Layout::LlamaFactory => "llama_factory",
            Layout::PandaLm => "pandalm",
            Layout::AutoJ => "autoj",
            Layout::RewardBench => "reward_bench",
        }
    }
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Layout {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        let found = Layout::ALL.into_iter().find(|layout| layout.as_str() == name);
        found.ok_or_else(|| DataError::UnknownLayout { name: name.to_string() })
    }
}

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
    /// The layout; `None` means that the first row shows it.
    pub layout: Option<Layout>,
    /// Of a folder or a repository that holds several splits (`train-00000-of-00002.parquet`, `test.jsonl.gz`), the one to
    /// read.
    pub split: Option<String>,
    /// A row of more bytes is a bad row: a limit on memory, whatever the file.
    pub max_row_bytes: usize,
    /// A compressed file that unpacks to more than this many times its size, and to more than 256 MiB, is refused.
    pub max_expansion: u64,
    /// Where answers have scores, two whose scores are equal or differ by less are a tie, which makes no pair.
    pub min_score_gap: f64,
    /// Where a question has several scored answers, at most so many pairs are made of them, drawn at random (which ones
    /// depends on the question alone). 10 is what StackLLaMA took of StackExchange.
    pub max_pairs_per_prompt: usize,
    /// Whether pairs that are made of scored answers (StackExchange, UltraFeedback) get the difference as their margin.
    pub score_margin: bool,
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
            layout: None,
            split: None,
            max_row_bytes: 64 << 20,
            max_expansion: 500,
            min_score_gap: 0.0,
            max_pairs_per_prompt: 10,
            score_margin: true,
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
    /// Rows left out.
    pub skipped: u64,
    /// The first [`ReadSummary::LISTED`] rows left out.
    pub skipped_rows: Vec<SkippedRow>,
    /// The first [`ReadSummary::LISTED`] rows without a pair because all their comparisons are ties.
    #[serde(default)]
    pub tied_rows: Vec<SkippedRow>,
    /// Names of columns with values that no pair comes from, at most [`ReadSummary::LISTED`].
    #[serde(default)]
    pub unread_columns: BTreeSet<String>,
}

impl ReadSummary {
    /// At most this many rows and column names are listed; all rows are counted.
    pub const LISTED: usize = 1000;

    /// What a program should tell of the reading, a sentence each: columns that were not read, rows that were left out and
    /// why, ties. Empty where every row and column was read.
    pub fn notes(&self) -> Vec<String> {
        const SHOWN: usize = 20;
        let mut notes = Vec::new();
        if !self.unread_columns.is_empty() {
            let shown: Vec<_> =
                self.unread_columns.iter().take(SHOWN).map(|name| name.escape_debug().to_string()).collect();
            let more = self.unread_columns.len().saturating_sub(SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            notes.push(format!("columns not read: {}{more}", shown.join(", ")));
        }
        for (count, rows, what) in
            [(self.skipped, &self.skipped_rows, "rows left out"), (self.ties, &self.tied_rows, "ties left out")]
        {
            if count > 0 {
                let shown: Vec<_> =
                    rows.iter().take(SHOWN).map(|row| format!("{}: {}", row.place, row.problem)).collect();
                let more = if rows.len() > SHOWN { "; …" } else { "" };
                let shown = if shown.is_empty() { String::new() } else { format!(" ({}{more})", shown.join("; ")) };
                notes.push(format!("{what}: {count}{shown}"));
            }
        }
        notes
    }
}
