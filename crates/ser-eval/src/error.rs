//! Errors of this crate.

use std::path::PathBuf;

use ser_core::{BoxError, Stopped};

/// Why an evaluation or a report failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// There are no pairs.
    #[error("{what} needs at least one pair, but there is none")]
    Empty {
        /// The measurement.
        what: &'static str,
    },
    /// The pairs cannot be read.
    #[error("the measured pairs cannot be read")]
    Pairs(#[source] BoxError),
    /// A prompt's answers cannot be measured.
    #[error("the prompt with id {id:?} cannot be measured: {problem}")]
    Answers {
        /// The row's id.
        id: String,
        /// The problem and its remedy.
        problem: &'static str,
    },
    /// An array of scores does not have two columns.
    #[error("scores have {columns} columns; they need two, r_chosen and r_rejected")]
    ScoreColumns {
        /// Number of columns.
        columns: usize,
    },
    /// Two parallel lists differ in length.
    #[error("{left_name} number {left} but {right_name} {right}; both must list the same pairs in the same order")]
    LengthMismatch {
        /// Name of the first list.
        left_name: &'static str,
        /// Its length.
        left: usize,
        /// Name of the second list.
        right_name: &'static str,
        /// Its length.
        right: usize,
    },
    /// More successes than trials.
    #[error("there are {successes} successes in only {trials} trials")]
    MoreSuccessesThanTrials {
        /// Number of successes.
        successes: u64,
        /// Number of trials.
        trials: u64,
    },
    /// The bootstrap has too few resamples.
    #[error("bootstrap.resamples is {resamples}; it must be at least {least}, or the interval's ends mean nothing")]
    TooFewResamples {
        /// The number requested.
        resamples: u32,
        /// The minimum.
        least: u32,
    },
    /// The confidence level is invalid.
    #[error("bootstrap.confidence is {confidence}; it must lie strictly between 0 and 1 (0.95 is usual)")]
    BadConfidence {
        /// The level requested.
        confidence: f64,
    },
    /// The reliability table has no bins.
    #[error("calibration needs at least one bin, but bins is 0")]
    NoBins,
    /// The report contains a number that JSON cannot represent.
    #[error("the report's {pointer} is NaN or infinite; every number of a report must be finite")]
    NotFinite {
        /// JSON pointer to the number.
        pointer: String,
    },
    /// The file is not a report.
    #[error("{} is not a report: line {line}, column {column}: {reason}", path.display())]
    BadReport {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Column of the line.
        column: usize,
        /// Why it is not a report.
        reason: String,
    },
    /// The report cannot be written as JSON.
    #[error("the report cannot be written as JSON: {reason}")]
    Unserializable {
        /// The serializer's message.
        reason: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A judge's setting is invalid.
    #[error("judge.{setting} is {value}; it must {rule}")]
    BadJudgeSetting {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The API key is missing.
    #[error("the environment variable {variable} is not set; set it to the judge's API key, or leave api_key_env out")]
    NoApiKey {
        /// The variable.
        variable: String,
    },
    /// The API key is invalid.
    #[error("the value of the environment variable {variable} {reason}")]
    BadApiKey {
        /// The variable.
        variable: String,
        /// Why it is invalid.
        reason: &'static str,
    },
    /// The cache has a line that is not a judge's answer.
    #[error("{} line {line} is not a judge's answer ({reason}); remove the line, or use another cache", path.display())]
    BadCacheLine {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The problem of the line.
        reason: String,
    },
    /// Another process uses the cache.
    #[error("{} is in use by another judge; wait for it, or use another cache", path.display())]
    CacheInUse {
        /// The file.
        path: PathBuf,
    },
    /// The endpoint refuses every request.
    #[error("the judge's endpoint refuses requests, {reason}; check endpoint, model and API key")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The status and the endpoint's message.
        reason: String,
    },
    /// The endpoint does not answer.
    #[error(
        "the judge's endpoint left {requests} requests without an answer, the last with: {reason}; run again later"
    )]
    NoAnswers {
        /// Number of requests without an answer.
        requests: u64,
        /// The failure of the last one.
        reason: String,
    },
    /// A line of a file of answers is not an answer.
    #[error("{} line {line} {problem}", path.display())]
    BadAnswer {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// The problem of the line.
        problem: String,
    },
    /// A file of answers has no lines.
    #[error("{} has no answers", path.display())]
    NoAnswersInFile {
        /// The file.
        path: PathBuf,
    },
    /// Two rows of a file of answers have the same id, or without ids the same prompt.
    #[error("{} has {}", path.display(), repeated(id.as_deref(), *lines))]
    RepeatedAnswer {
        /// The file.
        path: PathBuf,
        /// Both lines, from 1.
        lines: [usize; 2],
        /// The id; none if rows are matched by prompt.
        id: Option<String>,
    },
    /// A file of answers has no row for a row of the other file.
    #[error(
        "{} has nothing for the {key} of {} line {line} ({more} more are missing): --common judges the rows that both \
         files have",
        path.display(),
        other.display()
    )]
    MissingAnswer {
        /// The file without the row.
        path: PathBuf,
        /// `id` or `prompt`.
        key: &'static str,
        /// The file with the row.
        other: PathBuf,
        /// The line of the row, from 1.
        line: usize,
        /// The number of further missing rows.
        more: usize,
    },
    /// Two rows with the same id have different prompts.
    #[error(
        "{} line {} and {} line {} have the same id, but not the same prompt",
        paths[0].display(), lines[0], paths[1].display(), lines[1]
    )]
    OtherPrompt {
        /// Both files.
        paths: [PathBuf; 2],
        /// Both lines, from 1.
        lines: [usize; 2],
    },
    /// Two files of answers have no prompt in common.
    #[error("{} and {} have no prompt in common", paths[0].display(), paths[1].display())]
    NoCommonPrompt {
        /// Both files.
        paths: [PathBuf; 2],
    },
    /// The judge was stopped on request.
    #[error("the judge was stopped; the answers so far are in the cache, if there is one")]
    Stopped(#[from] Stopped),
}

fn repeated(id: Option<&str>, [first, second]: [usize; 2]) -> String {
    match id {
        Some(id) => format!("the id {id} twice, on lines {first} and {second}"),
        None => {
            format!("the same prompt twice, on lines {first} and {second}: give every row of both files an \"id\"")
        }
    }
}
