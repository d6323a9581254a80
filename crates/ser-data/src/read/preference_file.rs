//! A file of labelled pairs, read as a stream.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::{PairId, PairSource, Preference, Side};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::columns::{LabelledRow, detect_layout, read_row};
use super::row_problem::{RowProblem, describe};
use super::rows::{RowPlace, Rows};
use crate::DataError;

/// How a file's rows are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// `chosen` and `rejected` hold whole dialogues, written out as `\n\nHuman: …\n\nAssistant: …` (HH-RLHF).
    HhRlhf,
    /// `chosen`, `rejected` and mostly `prompt` hold text or lists of messages (`role`, `content`).
    Columns,
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

/// How a file is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadSettings {
    /// What to do about a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// The layout; `None` means that the first row shows it.
    pub layout: Option<Layout>,
    /// A row of more bytes is a bad row: a limit on memory, whatever the file.
    pub max_row_bytes: usize,
}

impl Default for ReadSettings {
    fn default() -> Self {
        ReadSettings { on_bad_row: OnBadRow::Stop, layout: None, max_row_bytes: 64 << 20 }
    }
}

/// A row that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedRow {
    /// The line it begins on, from 1.
    pub line: u64,
    /// Why.
    pub problem: String,
}

/// What was read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadSummary {
    /// Rows seen, bad ones included.
    pub rows: u64,
    /// Pairs that came of them.
    pub pairs: u64,
    /// Pairs whose two conversations had different prompts; they keep what the prompts share.
    pub prompts_differ: u64,
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

/// A file of labelled pairs: JSON lines or one JSON array, gzipped or not.
///
/// Rows become preferences in file order: answer A is the chosen one, and ids are row numbers from 0, bad rows counted,
/// blank lines not. Memory holds one row at a time.
pub struct PreferenceFile {
    path: PathBuf,
    rows: Rows,
    settings: ReadSettings,
    layout: Option<Layout>,
    summary: ReadSummary,
    buffer: Vec<u8>,
    ended: bool,
}

impl std::fmt::Debug for PreferenceFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreferenceFile")
            .field("path", &self.path)
            .field("rows", &self.summary.rows)
            .finish_non_exhaustive()
    }
}

impl PreferenceFile {
    /// Opens a file; rows are read as they are asked for.
    ///
    /// # Errors
    /// A file that is missing, cannot be read, or is of a format that is not supported.
    pub fn open(path: impl AsRef<Path>, settings: &ReadSettings) -> Result<Self, DataError> {
        let path = path.as_ref();
        Ok(PreferenceFile {
            path: path.to_path_buf(),
            rows: Rows::open(path, settings.max_row_bytes)?,
            settings: settings.clone(),
            layout: settings.layout,
            summary: ReadSummary::default(),
            buffer: Vec::new(),
            ended: false,
        })
    }

    /// The layout, once a row has shown it.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// What was read so far.
    pub fn summary(&self) -> &ReadSummary {
        &self.summary
    }

    /// Reads all that is left.
    ///
    /// # Errors
    /// As [`next_preference`](Self::next_preference).
    pub fn read_all(mut self) -> Result<(Vec<Preference>, ReadSummary), DataError> {
        let mut all = Vec::new();
        while let Some(preference) = self.next_preference()? {
            all.push(preference);
        }
        Ok((all, self.summary))
    }

    /// The next labelled pair, `None` at the end.
    ///
    /// # Errors
    /// A bad row under [`OnBadRow::Stop`]; a file that is cut short or damaged, or holds no pair at all.
    pub fn next_preference(&mut self) -> Result<Option<Preference>, DataError> {
        if self.ended {
            return Ok(None);
        }
        loop {
            let Some(place) = self.rows.next(&mut self.buffer)? else {
                self.ended = true;
                break;
            };
            let id = PairId(self.summary.rows);
            self.summary.rows += 1;
            match self.read_row(place, id) {
                Ok(row) => return Ok(Some(self.take(row))),
                Err((line, problem)) => self.bad_row(line, problem)?,
            }
        }
        if self.summary.pairs > 0 {
            return Ok(None);
        }
        Err(match self.summary.skipped_rows.first() {
            None => DataError::NoRows { path: self.path.clone() },
            Some(first) => DataError::NoUsableRow {
                path: self.path.clone(),
                rows: self.summary.rows,
                line: first.line,
                problem: first.problem.clone(),
            },
        })
    }

    fn take(&mut self, row: LabelledRow) -> Preference {
        let LabelledRow { pair, margin, prompts_differ } = row;
        self.summary.pairs += 1;
        self.summary.prompts_differ += u64::from(prompts_differ);
        self.summary.blank_answers += u64::from(pair.responses.iter().any(|answer| answer.trim().is_empty()));
        Preference { margin, ..Preference::human(Arc::new(pair), Side::A) }
    }

    /// Parses the row in the buffer; an error has the line it is on.
    fn read_row(&mut self, place: RowPlace, id: PairId) -> Result<LabelledRow, (u64, RowProblem)> {
        if place.too_long {
            return Err((place.line, RowProblem::TooLong { limit: self.settings.max_row_bytes }));
        }
        let row = parse_object(&self.buffer, place.line)?;
        let layout = self.layout.unwrap_or_else(|| detect_layout(&row));
        let row = read_row(layout, id, row).map_err(|problem| (place.line, problem))?;
        self.layout = Some(layout);
        Ok(row)
    }

    fn bad_row(&mut self, line: u64, problem: RowProblem) -> Result<(), DataError> {
        match self.settings.on_bad_row {
            OnBadRow::Stop => {
                self.ended = true;
                Err(DataError::Row { path: self.path.clone(), line, problem })
            }
            OnBadRow::Skip => {
                self.summary.skipped += 1;
                if self.summary.skipped_rows.len() < ReadSummary::LISTED {
                    self.summary.skipped_rows.push(SkippedRow { line, problem: problem.to_string() });
                }
                Ok(())
            }
        }
    }
}

impl PairSource for PreferenceFile {
    type Error = DataError;

    fn next_preferences(&mut self, max: usize) -> Result<Vec<Preference>, DataError> {
        let mut next = Vec::new();
        while next.len() < max
            && let Some(preference) = self.next_preference()?
        {
            next.push(preference);
        }
        Ok(next)
    }
}

fn parse_object(bytes: &[u8], line: u64) -> Result<Map<String, Value>, (u64, RowProblem)> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(row)) => Ok(row),
        Ok(other) => Err((line, RowProblem::NotAnObject { found: describe(&other) })),
        Err(error) => {
            // The parser counts lines from the row's beginning; the file's line is said beside the problem.
            let place = format!(" at line {} column {}", error.line(), error.column());
            let said = error.to_string();
            let problem = format!("{} at column {}", said.strip_suffix(&place).unwrap_or(&said), error.column());
            Err((line + (error.line() as u64).saturating_sub(1), RowProblem::Json { problem }))
        }
    }
}
