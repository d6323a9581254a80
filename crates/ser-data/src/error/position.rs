//! Positions in files.

use serde::{Deserialize, Serialize};

/// Position of a row in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowPosition {
    /// A line of a text file, from 1.
    Line(u64),
    /// A row of a parquet file, from 1.
    Row(u64),
}

impl std::fmt::Display for RowPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RowPosition::Line(line) => write!(f, "line {line}"),
            RowPosition::Row(row) => write!(f, "row {row}"),
        }
    }
}
