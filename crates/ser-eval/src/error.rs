//! What can go wrong in evaluation.

use std::path::PathBuf;

/// Why an evaluation or a report failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Nothing to evaluate.
    #[error("{what} needs at least one pair, but there is none")]
    Empty {
        /// What was asked for.
        what: &'static str,
    },
    /// Two lists that belong together differ in length.
    #[error("{left_name} number {left} but {right_name} {right}; they must be of the same pairs, in the same order")]
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
    #[error("{successes} successes cannot come of {trials} trials")]
    MoreSuccessesThanTrials {
        /// The successes.
        successes: u64,
        /// The trials.
        trials: u64,
    },
    /// A bootstrap that cannot be run.
    #[error("bootstrap.resamples is {resamples}; it must be at least {least}, or the interval's ends mean nothing")]
    TooFewResamples {
        /// The resamples asked for.
        resamples: u32,
        /// The least that make sense.
        least: u32,
    },
    /// A confidence level that is none.
    #[error("bootstrap.confidence is {confidence}; it must lie strictly between 0 and 1 (0.95 is usual)")]
    BadConfidence {
        /// The level asked for.
        confidence: f64,
    },
    /// A table of no bins.
    #[error("calibration needs at least one bin, but bins is 0")]
    NoBins,
    /// A report with a number that JSON cannot hold.
    #[error("the report's {place} is NaN or infinite; every number of a report must be finite")]
    NotFinite {
        /// Where, as a JSON pointer.
        place: String,
    },
    /// A report file that is not one.
    #[error("{} is not a report: line {line}, column {column}: {reason}", path.display())]
    BadReport {
        /// The file.
        path: PathBuf,
        /// Where in it.
        line: usize,
        /// Where in the line.
        column: usize,
        /// What is wrong.
        reason: String,
    },
    /// A report that could not be written as JSON.
    #[error("the report cannot be written as JSON: {reason}")]
    Unserializable {
        /// Why.
        reason: String,
    },
    /// A file that could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A judge's setting that makes no sense.
    #[error("judge.{setting} is {value}; it must {rule}")]
    BadJudgeSetting {
        /// The setting's name.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What it must.
        rule: &'static str,
    },
    /// No API key where one should be.
    #[error("the environment variable {variable} is not set; set it to the judge's API key, or leave api_key_env out")]
    NoApiKey {
        /// The variable.
        variable: String,
    },
    /// An API key that cannot be one.
    #[error("the value of the environment variable {variable} {reason}")]
    BadApiKey {
        /// The variable.
        variable: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A cache with a line that is no answer.
    #[error("{} line {line} is no answer of a judge ({reason}); take the line out, or use another cache", path.display())]
    BadCacheLine {
        /// The file.
        path: PathBuf,
        /// Where in it, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A cache that another process has.
    #[error("{} is in use by another judge; wait for it, or use another cache", path.display())]
    CacheInUse {
        /// The file.
        path: PathBuf,
    },
    /// An endpoint that turns every request down.
    #[error("the judge's endpoint refuses requests, {reason}; check endpoint, model and API key")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The status and what the endpoint says.
        reason: String,
    },
    /// An endpoint that does not answer.
    #[error(
        "the judge's endpoint left {requests} requests without an answer, the last with: {reason}; run again later"
    )]
    NoAnswers {
        /// How many.
        requests: u64,
        /// What the last one ended with.
        reason: String,
    },
    /// The observer said stop.
    #[error("the judge was stopped; the answers it has are kept where there is a cache")]
    Stopped,
}
