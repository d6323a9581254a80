//! How files are read, and what was read.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::DataError;

/// How a file's rows are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// `chosen` and `rejected` hold whole dialogues, written out as `\n\nHuman: …\n\nAssistant: …` (HH-RLHF: base, online
    /// and rejection-sampled).
    HhRlhf,
    /// `chosen`, `rejected` and mostly `prompt` hold text or lists of messages (`role`, `content`): TRL's columns, and
    /// UltraFeedback binarized. `margin` is read; where `score_chosen` and `score_rejected` are equal the row is a tie.
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
    /// `conversations[]`, `chosen` and `rejected` with `from` and `value`, or `instruction`, `input`, `chosen`, `rejected`
    /// (LLaMA-Factory).
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
    /// Where answers have scores, two whose scores are equal or differ by less are a tie, which makes no pair.
    pub min_score_gap: f64,
    /// Where a question has several scored answers, at most so many pairs are made of them, drawn at random (which ones
    /// depends on the question alone). 10 is what StackLLaMA took of StackExchange.
    pub max_pairs_per_prompt: usize,
    /// Whether pairs that are made of scored answers (StackExchange, UltraFeedback) get the difference as their margin.
    pub score_margin: bool,
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
            score_margin: true,
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
    /// Pairs with a dialogue in which one speaker has two turns in a row; they were joined into one.
    pub turns_joined: u64,
    /// Pairs with an answer of nothing but whitespace. They are read, as HH-RLHF has some; screening leaves them out.
    pub blank_answers: u64,
    /// Rows left out.
    pub skipped: u64,
    /// The first [`ReadSummary::LISTED`] rows left out.
    pub skipped_rows: Vec<SkippedRow>,
}

impl ReadSummary {
    /// At most this many rows are listed; all are counted.
    pub const LISTED: usize = 1000;
}
