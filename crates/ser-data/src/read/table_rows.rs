//! Reads comma- or tab-separated values a row at a time. The first line has the column names.

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use serde_json::Value;

use super::describe::beginning;
use super::layouts::Row;
use super::open::Text;
use super::rows::stream_error;
use super::settings::ReadSettings;
use crate::DataError;
use crate::RowProblem;

/// Buffer size of the CSV reader.
const BUFFER: usize = 1 << 16;

/// The first line of a row, and the row or its problem.
pub(crate) type TableRow = (u64, Result<Row, RowProblem>);

/// The rows of a table, streamed.
pub(crate) struct TableRows {
    path: PathBuf,
    reader: Reader<Watched>,
    columns: Vec<String>,
    record: ByteRecord,
    max_row_bytes: usize,
    max_expansion: u64,
}

impl TableRows {
    /// Reads the header.
    pub(crate) fn open(path: &Path, text: Text, delimiter: u8, settings: &ReadSettings) -> Result<Self, DataError> {
        let input = Watched { input: text.input, left: 0, odd_quotes: false, ended: false };
        let mut builder = ReaderBuilder::new();
        builder.delimiter(delimiter).has_headers(false).flexible(true).buffer_capacity(BUFFER);
        let mut rows = TableRows {
            path: path.to_path_buf(),
            reader: builder.from_reader(input),
            columns: Vec::new(),
            record: ByteRecord::new(),
            max_row_bytes: settings.max_row_bytes,
            max_expansion: settings.max_expansion,
        };
        if let Some(line) = rows.read_record()? {
            rows.columns = rows.header(line)?;
        }
        Ok(rows)
    }

    /// The next row, with its first line; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<TableRow>, DataError> {
        Ok(self.read_record()?.map(|line| (line, self.row())))
    }

    /// Reads a record; returns its first line.
    fn read_record(&mut self) -> Result<Option<u64>, DataError> {
        self.reader.get_mut().left = (self.max_row_bytes as u64).saturating_add(2 * BUFFER as u64);
        let read = self.reader.read_byte_record(&mut self.record);
        let line = self.record.position().unwrap_or(self.reader.position()).line();
        match read {
            Ok(false) => Ok(None),
            Ok(true) => {
                let input = self.reader.get_ref();
                if input.ended && input.odd_quotes {
                    return Err(self.broken(line, UNPAIRED.to_string()));
                }
                Ok(Some(line))
            }
            Err(error) => Err(match error.into_kind() {
                ErrorKind::Io(error) if error.get_ref().is_some_and(|cause| cause.is::<TooLong>()) => {
                    let limit = self.max_row_bytes;
                    let problem = format!(
                        "a row is longer than {limit} bytes (setting max_row_bytes), possibly because a quote is not closed"
                    );
                    self.broken(line, problem)
                }
                ErrorKind::Io(error) => stream_error(&self.path, line, self.max_expansion, error),
                // Any number of fields and any bytes are accepted, so no other error occurs.
                other => self.broken(line, format!("{other:?}")),
            }),
        }
    }

    fn broken(&self, line: u64, problem: String) -> DataError {
        DataError::BrokenTable { path: self.path.clone(), line, problem }
    }

    fn header(&self, line: u64) -> Result<Vec<String>, DataError> {
        let mut columns: Vec<String> = Vec::new();
        for field in &self.record {
            let Ok(name) = std::str::from_utf8(field) else {
                return Err(self.broken(line, "a column's name is not UTF-8".to_string()));
            };
            let name = name.trim();
            if !name.is_empty() && columns.iter().any(|other| other == name) {
                let name = beginning(name);
                return Err(self.broken(line, format!("the header names the column `{}` twice", name.escape_debug())));
            }
            columns.push(name.to_string());
        }
        Ok(columns)
    }

    /// The record as a row of text; a cell with messages as JSON becomes a list.
    fn row(&self) -> Result<Row, RowProblem> {
        if self.record.len() != self.columns.len() {
            return Err(RowProblem::FieldCount { found: self.record.len(), expected: self.columns.len() });
        }
        let bytes: usize = self.record.iter().map(<[u8]>::len).sum();
        if bytes > self.max_row_bytes {
            return Err(RowProblem::TooLong { limit: self.max_row_bytes });
        }
        let mut row = Row::new();
        for (column, field) in self.columns.iter().zip(&self.record) {
            // The row numbers of a table have no column name.
            if column.is_empty() {
                continue;
            }
            let named = || beginning(column).escape_debug().to_string();
            let text = std::str::from_utf8(field).map_err(|_| RowProblem::NotUtf8 { column: named() })?;
            let value = cell(text).ok_or_else(|| RowProblem::PythonText { column: named() })?;
            row.insert(column.clone(), value);
        }
        Ok(row)
    }
}

const UNPAIRED: &str = "its quotes do not pair up by the file's end: a quoted field is not closed, or a quote inside of \
                        a field is not doubled";

/// A cell's value: its text, or its messages as JSON. `None` if it has messages as Python prints them.
fn cell(text: &str) -> Option<Value> {
    let start = text.trim_start();
    if start.starts_with("[{'") {
        return None;
    }
    let speaks = |turn: &Value| turn.get("role").or_else(|| turn.get("from")).is_some();
    if start.starts_with('[')
        && let Ok(Value::Array(turns)) = serde_json::from_str(text)
        && !turns.is_empty()
        && turns.iter().all(speaks)
    {
        return Some(Value::Array(turns));
    }
    Some(Value::from(text))
}

/// A row exceeds the limit.
#[derive(Debug, thiserror::Error)]
#[error("the row is too long")]
struct TooLong;

/// The input of a table; detects rows without an end, and unpaired quotes.
struct Watched {
    input: Box<dyn BufRead + Send>,
    /// Bytes that the current row may still take.
    left: u64,
    odd_quotes: bool,
    ended: bool,
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.ended |= count == 0;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| io::Error::other(TooLong))?;
        let quotes = buffer.iter().take(count).filter(|byte| **byte == b'"').count();
        self.odd_quotes ^= quotes % 2 == 1;
        Ok(count)
    }
}
