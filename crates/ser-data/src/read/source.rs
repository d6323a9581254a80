//! Reads files as rows of JSON values, independent of the container.

use std::path::Path;

use serde_json::Value;

use super::container::{Container, PlainText};
use super::describe::describe;
use super::layouts::Row;
use super::non_finite;
#[cfg(feature = "parquet")]
use super::open::is_parquet;
use super::open::open_text;
#[cfg(feature = "parquet")]
use super::parquet_rows::ParquetRows;
use super::rows::TextRows;
use super::settings::ReadSettings;
use super::table_rows::TableRows;
use crate::DataError;
use crate::RowPosition;
use crate::RowProblem;

/// A source of rows.
pub(crate) enum Source {
    Text {
        rows: TextRows,
        buffer: Vec<u8>,
        /// Whether a line is text and not JSON.
        plain: bool,
        max_row_bytes: usize,
    },
    Table(Box<TableRows>),
    #[cfg(feature = "parquet")]
    Parquet {
        rows: Box<ParquetRows>,
        row: u64,
        max_row_bytes: usize,
    },
}

/// A row or its problem, with its position.
pub(crate) type Found<T> = (RowPosition, Result<T, RowProblem>);

impl Source {
    pub(crate) fn open(path: &Path, settings: &ReadSettings, plain_text: PlainText) -> Result<Self, DataError> {
        let max_row_bytes = settings.max_row_bytes;
        #[cfg(feature = "parquet")]
        if is_parquet(path)? {
            let rows = Box::new(ParquetRows::open(path, settings)?);
            return Ok(Source::Parquet { rows, row: 0, max_row_bytes });
        }
        let text = open_text(path, settings.max_expansion)?;
        let container = Container::of(path, &text.head, plain_text);
        if let Container::Table(delimiter) = container {
            return Ok(Source::Table(Box::new(TableRows::open(path, text, delimiter, settings)?)));
        }
        let plain = container == Container::Plain && plain_text == PlainText::Lines;
        let rows = TextRows::new(path, text, container, settings);
        Ok(Source::Text { rows, buffer: Vec::new(), plain, max_row_bytes })
    }

    /// The next row as any JSON value.
    pub(crate) fn next_value(&mut self) -> Result<Option<Found<Value>>, DataError> {
        match self {
            Source::Text { rows, buffer, plain, max_row_bytes } => {
                let Some(position) = rows.next(buffer)? else { return Ok(None) };
                let (line, value) = if position.too_long {
                    (position.line, Err(RowProblem::TooLong { limit: *max_row_bytes }))
                } else if *plain {
                    (position.line, plain_line(buffer))
                } else {
                    parse(buffer, position.line)
                };
                Ok(Some((RowPosition::Line(line), value)))
            }
            Source::Table(rows) => {
                Ok(rows.next()?.map(|(line, row)| (RowPosition::Line(line), row.map(Value::Object))))
            }
            #[cfg(feature = "parquet")]
            Source::Parquet { rows, row, max_row_bytes } => {
                let Some(columns) = rows.next()? else { return Ok(None) };
                *row += 1;
                let too_long = |columns: &Row| columns.values().map(text_bytes).sum::<usize>() > *max_row_bytes;
                let found = match columns {
                    Ok(columns) if too_long(&columns) => Err(RowProblem::TooLong { limit: *max_row_bytes }),
                    other => other.map(Value::Object),
                };
                Ok(Some((RowPosition::Row(*row), found)))
            }
        }
    }

    /// The next row, which must be an object.
    pub(crate) fn next_row(&mut self) -> Result<Option<Found<Row>>, DataError> {
        let object = |value| match value {
            Value::Object(row) => Ok(row),
            other => Err(RowProblem::NotAnObject { found: describe(&other) }),
        };
        Ok(self.next_value()?.map(|(position, value)| (position, value.and_then(object))))
    }
}

/// Total bytes of text in a value.
#[cfg(feature = "parquet")]
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(columns) => columns.values().map(text_bytes).sum(),
        _ => 0,
    }
}

fn plain_line(bytes: &[u8]) -> Result<Value, RowProblem> {
    let line = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let text = std::str::from_utf8(line).map_err(|_| RowProblem::Json { problem: "no UTF-8".to_string() })?;
    Ok(Value::from(text))
}

/// The value of a JSON text, or its problem, and the line.
fn parse(bytes: &[u8], line: u64) -> (u64, Result<Value, RowProblem>) {
    match non_finite::parse(bytes) {
        Ok(value) => (line, Ok(value)),
        Err(error) => {
            let problem = RowProblem::of_json(&error);
            (line + (error.line() as u64).saturating_sub(1), Err(problem))
        }
    }
}
