//! The error of labelling rows.

use std::io;
use std::str::Utf8Error;

/// Why rows of scores could not be labelled. Lines count from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabelError {
    /// The input could not be read.
    #[error("the rows cannot be read")]
    Read(#[source] io::Error),
    /// The output could not be written.
    #[error("the labelled rows cannot be written")]
    Write(#[source] io::Error),
    /// A line is too long.
    #[error("line {line} is longer than {limit} MiB: give one row a line")]
    TooLong {
        /// The line.
        line: u64,
        /// The limit in MiB.
        limit: u64,
    },
    /// A line is not UTF-8.
    #[error("line {line} is not UTF-8")]
    NotUtf8 {
        /// The line.
        line: u64,
        /// The position of the bytes.
        source: Utf8Error,
    },
    /// A line is not a JSON object.
    #[error("line {line}, column {column} is not a JSON object: {problem}")]
    NotAnObject {
        /// The line.
        line: u64,
        /// The column, from 1.
        column: usize,
        /// The parser's message.
        problem: String,
    },
    /// A row without two scores.
    #[error("line {line}: {problem}")]
    NoScores {
        /// The line.
        line: u64,
        /// The field, its value and what is expected.
        problem: String,
    },
}
