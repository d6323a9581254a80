//! What became of the rows that were read, for people.

use std::path::Path;

use super::row_problem::RowProblem;
use super::settings::{OnBadRow, Place, ReadSummary, SkippedRow};
use crate::DataError;

impl ReadSummary {
    /// At most this many rows are listed; all are counted.
    pub const LISTED: usize = 1000;

    /// What was left out or does not fit together, a sentence each, for a program to print. Ties, pairs over the limit of a
    /// question and the like are settings at work; they are only counted.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(first) = self.skipped_rows.first() {
            let SkippedRow { file, place, problem } = first;
            let (skipped, rows) = (self.skipped, self.rows);
            notes.push(format!(
                "rows left out, as they cannot be used: {skipped} of {rows}; the first is {}, {place}: {problem}",
                file.display()
            ));
        }
        for (what, count) in [
            (
                "pairs whose chosen answer has a lower score than the rejected one (the label counts)",
                self.contradicting_scores,
            ),
            ("pairs with a margin under 0, which contradicts their label", self.negative_margins),
            ("answers without a score or a text, which are in no pair", self.unscored_answers),
            ("rows with a number or a truth value as prompt or answer, read as text", self.values_as_text),
        ] {
            if count > 0 {
                notes.push(format!("{what}: {count}"));
            }
        }
        notes
    }

    /// Stops at a row that cannot be used, or counts it.
    pub(crate) fn bad_row(
        &mut self,
        file: &Path,
        place: Place,
        problem: RowProblem,
        on_bad_row: OnBadRow,
    ) -> Result<(), DataError> {
        let file = file.to_path_buf();
        match on_bad_row {
            OnBadRow::Stop => Err(DataError::Row { path: file, place, problem }),
            OnBadRow::Skip => {
                self.skipped += 1;
                if self.skipped_rows.len() < Self::LISTED {
                    self.skipped_rows.push(SkippedRow { file, place, problem: problem.to_string() });
                }
                Ok(())
            }
        }
    }

    /// Why nothing came of the rows.
    pub(crate) fn nothing_usable(&self, path: &Path) -> DataError {
        let (path, rows) = (path.to_path_buf(), self.rows);
        let why = match self.skipped_rows.first() {
            Some(first) => format!("the first of those left out ({}) because {}", first.place, first.problem),
            None if rows == 0 => return DataError::NoRows { path },
            None if self.ties == 0 => "as they hold no two answers of unequal score".to_string(),
            None => format!("as all {} comparisons in them are ties", self.ties),
        };
        DataError::NoUsableRow { path, rows, why }
    }
}
