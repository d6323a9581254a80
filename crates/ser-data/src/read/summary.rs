//! Messages about the rows that were read.

use std::path::Path;

use super::settings::{OnBadRow, ReadSummary, SkippedRow};
use crate::DataError;
use crate::RowPosition;
use crate::RowProblem;

impl ReadSummary {
    /// Maximum number of rows and column names that are listed; all rows are counted.
    pub const LISTED: usize = 1000;

    /// Notes on the reading that a program should report, one sentence each: unread columns, rows left out and why, ties,
    /// and contradictions. Empty if every row and column was read.
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
                    rows.iter().take(SHOWN).map(|row| format!("{}: {}", row.position, row.problem)).collect();
                let more = if rows.len() > SHOWN { "; …" } else { "" };
                let shown = if shown.is_empty() { String::new() } else { format!(" ({}{more})", shown.join("; ")) };
                notes.push(format!("{what}: {count}{shown}"));
            }
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

    /// Returns an error for a row that cannot be used, or counts it.
    pub(crate) fn bad_row(
        &mut self,
        file: &Path,
        position: RowPosition,
        problem: RowProblem,
        on_bad_row: OnBadRow,
    ) -> Result<(), DataError> {
        let file = file.to_path_buf();
        match on_bad_row {
            OnBadRow::Stop => Err(DataError::Row { path: file, position, problem }),
            OnBadRow::Skip => {
                tracing::debug!(file = %file.display(), %position, %problem, "row skipped");
                self.skipped += 1;
                if self.skipped_rows.len() < Self::LISTED {
                    let problem = match problem {
                        // With skipping, no error names the setting.
                        RowProblem::SeveralPrompts { .. } | RowProblem::UnreadText { .. } => {
                            format!("{problem}; {}", problem.remedy())
                        }
                        _ => problem.to_string(),
                    };
                    self.skipped_rows.push(SkippedRow { file, position, problem });
                }
                Ok(())
            }
        }
    }

    /// The error if no row gave a pair.
    pub(crate) fn nothing_usable(&self, path: &Path) -> DataError {
        let (path, rows) = (path.to_path_buf(), self.rows);
        let why = match self.skipped_rows.first() {
            Some(first) => format!("the first of those left out ({}) because {}", first.position, first.problem),
            None if rows == 0 => return DataError::NoRows { path },
            None if self.ties == 0 => "as they have no two answers with unequal scores".to_string(),
            None => format!("as all {} comparisons in them are ties", self.ties),
        };
        DataError::NoUsableRow { path, rows, why }
    }
}
