//! Parquet files to rows, a row at a time, only the columns that some layout reads.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};
use serde_json::{Number, Value};

use super::layouts::{KNOWN_COLUMNS, Row};
use crate::DataError;

/// Rows that are unpacked together of each column; few, as one may be large.
const BATCH: usize = 64;

/// The rows of a parquet file, streamed.
pub(crate) struct ParquetRows {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    /// The columns that are read.
    schema: SchemaDescPtr,
    /// Columns that are not read: they stand in a row as null, so that messages can name them.
    others: Vec<String>,
    next_group: usize,
    rows: Option<ReaderIter>,
}

impl ParquetRows {
    pub(crate) fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|error| DataError::io("read", path, error))?;
        let broken = |error: ParquetError| broken(path, &error);
        let reader = guarded(path, || SerializedFileReader::new(file))?;
        let root = reader.metadata().file_metadata().schema();
        let (known, others): (Vec<_>, Vec<_>) =
            root.get_fields().iter().cloned().partition(|field| KNOWN_COLUMNS.contains(&field.name()));
        let others = others.iter().map(|field| field.name().to_string()).collect();
        // A file without any of them has still rows, each of which is then told to lack a column.
        let schema = Type::group_type_builder(root.name()).with_fields(known).build().map_err(broken)?;
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(schema)));
        Ok(ParquetRows { path: path.to_path_buf(), reader, schema, others, next_group: 0, rows: None })
    }

    /// The next row, `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Row>, DataError> {
        loop {
            if let Some(row) = guarded(&self.path, || Ok(self.rows.as_mut().and_then(Iterator::next)))? {
                let row = row.map_err(|error| broken(&self.path, &error))?;
                let mut columns: Row = self.others.iter().map(|name| (name.clone(), Value::Null)).collect();
                columns.extend(row.into_columns().into_iter().map(|(name, field)| (name, value(field))));
                return Ok(Some(columns));
            }
            if self.next_group >= self.reader.num_row_groups() {
                return Ok(None);
            }
            let (reader, schema, next) = (&self.reader, &self.schema, self.next_group);
            let rows = guarded(&self.path, || {
                let group = reader.get_row_group(next)?;
                TreeBuilder::new().with_batch_size(BATCH).as_iter(Arc::clone(schema), group.as_ref())
            })?;
            self.rows = Some(rows);
            self.next_group += 1;
        }
    }
}

/// Runs the reader, which panics on some damaged files; that, too, is an error here.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DataError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| broken(path, &error)),
        Err(_) => Err(DataError::Parquet { path: path.to_path_buf(), problem: "its data is damaged".to_string() }),
    }
}

fn broken(path: &Path, error: &ParquetError) -> DataError {
    let problem = match error {
        ParquetError::General(problem) | ParquetError::EOF(problem) => problem.clone(),
        other => other.to_string(),
    };
    DataError::Parquet { path: path.to_path_buf(), problem: problem.replace('\n', " ") }
}

/// A field as JSON has it. What no layout reads (times, dates, maps) becomes null.
fn value(field: Field) -> Value {
    let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    match field {
        Field::Bool(value) => Value::Bool(value),
        Field::Byte(number) => number.into(),
        Field::Short(number) => number.into(),
        Field::Int(number) => number.into(),
        Field::Long(number) => number.into(),
        Field::UByte(number) => number.into(),
        Field::UShort(number) => number.into(),
        Field::UInt(number) => number.into(),
        Field::ULong(number) => number.into(),
        Field::Float16(number) => float(f64::from(f32::from(number))),
        Field::Float(number) => float(f64::from(number)),
        Field::Double(number) => float(number),
        Field::Str(text) => Value::String(text),
        // Some writers do not mark their texts as such.
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).map_or(Value::Null, Value::from),
        Field::Group(row) => row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect(),
        Field::ListInternal(list) => Value::Array(list.elements().iter().cloned().map(value).collect()),
        Field::Null
        | Field::MapInternal(_)
        | Field::Decimal(_)
        | Field::Date(_)
        | Field::TimeMillis(_)
        | Field::TimeMicros(_)
        | Field::TimestampMillis(_)
        | Field::TimestampMicros(_) => Value::Null,
    }
}
