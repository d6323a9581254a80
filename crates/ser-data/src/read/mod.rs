//! Files to labelled pairs.

mod columns;
mod dialogue;
mod preference_file;
mod row_problem;
mod rows;

pub use preference_file::{Layout, OnBadRow, PreferenceFile, ReadSettings, ReadSummary, SkippedRow};
pub use row_problem::RowProblem;
