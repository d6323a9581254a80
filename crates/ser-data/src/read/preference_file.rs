//! Files of labelled pairs, read as a stream.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ser_core::{PairId, PairSource, Preference};
use serde_json::Value;

use super::container::PlainText;
use super::files::data_files;
use super::layout::Layout;
use super::layouts::{LabelledPair, Row, RowPairs, detect_layout, read_row, row_id, unpaired, with_known_names};
use super::settings::{PairOrigin, ReadSettings, ReadSummary, SkippedRow};
use super::source::{Found, Source};
use crate::DataError;
use crate::RowPosition;
use crate::RowProblem;

/// Labelled pairs of one or several files: JSON lines, a JSON array (alone or as `data` of an object), multi-line JSON
/// objects, or a table (`.csv`, `.tsv`, with column names in the first line), in UTF-8 or UTF-16, plain, `.gz` or
/// (feature `zstd`) `.zst`; and (feature `parquet`) parquet.
///
/// Rows are read in the order of the files' names and within a file in order. Answer A is the chosen one. A row takes
/// as many ids as it has pairs, but at least one, from 0; bad rows are counted, blank lines are not. So if every row is
/// one pair, the id is the row's number. One row at a time is in memory.
pub struct PreferenceFile {
    path: PathBuf,
    /// The files not yet read.
    files: VecDeque<PathBuf>,
    current: Option<(Arc<Path>, Source)>,
    settings: ReadSettings,
    layout: Option<Layout>,
    summary: ReadSummary,
    /// Pairs of the last row not yet returned.
    waiting: VecDeque<(Preference, PairOrigin)>,
    next_id: u64,
    ended: bool,
}

/// How a row names itself and the part of the data that it belongs to.
struct RowNames {
    id: Option<Value>,
    subset: Option<String>,
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
    /// Opens the files of `path` ([`data_files`]): a file, a folder, a glob, or `hf://owner/name`. Rows are read on
    /// demand.
    ///
    /// # Errors
    /// A file that is missing, unreadable, or of an unsupported format; invalid settings.
    pub fn open(path: impl AsRef<Path>, settings: &ReadSettings) -> Result<Self, DataError> {
        settings.check()?;
        let path = path.as_ref();
        let mut file = PreferenceFile {
            path: path.to_path_buf(),
            files: data_files(path, settings.split.as_deref())?.into(),
            current: None,
            settings: settings.clone(),
            layout: settings.layout,
            summary: ReadSummary::default(),
            waiting: VecDeque::new(),
            next_id: 0,
            ended: false,
        };
        // Errors of the first file are reported at once.
        file.next_file()?;
        Ok(file)
    }

    /// The layout, once a row has determined it.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// Summary of the rows read so far.
    pub fn summary(&self) -> &ReadSummary {
        &self.summary
    }

    /// Reads all remaining pairs.
    ///
    /// # Errors
    /// Those of [`next_preference`](Self::next_preference).
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
    /// A bad row under [`OnBadRow::Stop`](crate::OnBadRow::Stop); a file that is cut short or damaged; files without
    /// any pair.
    pub fn next_preference(&mut self) -> Result<Option<Preference>, DataError> {
        Ok(self.next_with_origin()?.map(|(preference, _)| preference))
    }

    /// The next labelled pair and the row it comes from, `None` at the end.
    ///
    /// # Errors
    /// Those of [`next_preference`](Self::next_preference).
    pub fn next_with_origin(&mut self) -> Result<Option<(Preference, PairOrigin)>, DataError> {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                return Ok(Some(next));
            }
            if self.ended {
                return Ok(None);
            }
            // An error is returned once.
            self.ended = true;
            match self.next_row()? {
                Some((position, row)) => {
                    self.summary.rows += 1;
                    if self.layout.is_none()
                        && let Ok(row) = &row
                        && let Some(problem) = unpaired(row)
                    {
                        let path = self.file().to_path_buf();
                        return Err(DataError::NotPairs { path, problem });
                    }
                    match row.and_then(|row| self.read_row(row)) {
                        Ok((found, names)) => self.take(found, position, names),
                        Err(problem) => self.bad_row(position, problem)?,
                    }
                    self.ended = false;
                }
                None if self.next_file()? => self.ended = false,
                None => return self.check_end().map(|()| None),
            }
        }
    }

    /// Opens the next file; false if there is none.
    fn next_file(&mut self) -> Result<bool, DataError> {
        self.current = None;
        let Some(path) = self.files.pop_front() else { return Ok(false) };
        tracing::debug!(file = %path.display(), "reading a file of pairs");
        let source = Source::open(&path, &self.settings, PlainText::Refused)?;
        self.summary.files += 1;
        #[cfg(feature = "parquet")]
        if let Source::Parquet { rows, .. } = &source {
            rows.unread().iter().for_each(|name| self.note_unread(name));
        }
        self.current = Some((path.into(), source));
        Ok(true)
    }

    fn next_row(&mut self) -> Result<Option<Found<Row>>, DataError> {
        match &mut self.current {
            Some((_, source)) => source.next_row(),
            None => Ok(None),
        }
    }

    /// The current file.
    fn file(&self) -> Arc<Path> {
        self.current.as_ref().map_or_else(|| self.path.as_path().into(), |(file, _)| Arc::clone(file))
    }

    /// Takes the pairs of a row.
    fn take(&mut self, found: RowPairs, position: RowPosition, names: RowNames) {
        let RowNames { id, subset } = names;
        let row = self.summary.rows.saturating_sub(1);
        let origin = PairOrigin { file: self.file(), position, row, id, subset };
        if found.pairs.is_empty() && found.ties > 0 && self.summary.tied_rows.len() < ReadSummary::LISTED {
            let problem = "neither answer is better".to_string();
            self.summary.tied_rows.push(SkippedRow { file: origin.file.to_path_buf(), position, problem });
        }
        self.summary.ties += found.ties;
        self.summary.over_pair_limit += found.over_limit;
        self.summary.unscored_answers += found.unscored;
        self.summary.values_as_text += u64::from(found.values_as_text);
        let first = self.next_id;
        self.next_id += found.pairs.len().max(1) as u64;
        for (number, labelled) in (first..).zip(found.pairs) {
            let LabelledPair { mut pair, preferred, margin, prompts_differ, turns_joined, contradicted } = labelled;
            pair.id = PairId(number);
            self.summary.pairs += 1;
            self.summary.prompts_differ += u64::from(prompts_differ);
            self.summary.turns_joined += u64::from(turns_joined);
            self.summary.contradicting_scores += u64::from(contradicted);
            self.summary.negative_margins += u64::from(margin.is_some_and(|margin| margin < 0.0));
            self.summary.blank_answers += u64::from(pair.responses.iter().any(|answer| answer.trim().is_empty()));
            let preference = Preference { margin, ..Preference::human(Arc::new(pair), preferred) };
            self.waiting.push_back((preference, origin.clone()));
        }
    }

    /// The pairs of a row and its names.
    fn read_row(&mut self, row: Row) -> Result<(RowPairs, RowNames), RowProblem> {
        let row = with_known_names(row);
        let layout = self.layout.unwrap_or_else(|| match detect_layout(&row) {
            // Dialogues that contain their prompt are not searched for another.
            Layout::HhRlhf if self.settings.prompt_column.is_some() => Layout::Columns,
            layout => layout,
        });
        let subset = row.get("subset").and_then(Value::as_str).map(str::to_owned);
        let names = RowNames { id: row_id(&row), subset };
        let (found, unread) = read_row(layout, row, &self.settings)?;
        self.layout = Some(layout);
        unread.iter().for_each(|name| self.note_unread(name));
        Ok((found, names))
    }

    fn note_unread(&mut self, name: &str) {
        let names = &mut self.summary.unread_columns;
        if names.len() < ReadSummary::LISTED
            && !names.contains(name)
            && !self.settings.ignore_columns.iter().any(|i| i == name)
        {
            names.insert(name.to_string());
        }
    }

    fn bad_row(&mut self, position: RowPosition, problem: RowProblem) -> Result<(), DataError> {
        self.next_id += 1;
        let file = self.file();
        self.summary.bad_row(&file, position, problem, self.settings.on_bad_row)
    }

    /// Files without a single pair are an error.
    fn check_end(&self) -> Result<(), DataError> {
        if self.summary.pairs > 0 { Ok(()) } else { Err(self.summary.nothing_usable(&self.path)) }
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
