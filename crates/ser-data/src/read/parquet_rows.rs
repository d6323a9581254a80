//! Reads parquet files a row at a time, only the columns of known layouts.

use std::cell::Cell;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once};

use parquet::basic::{Compression, ConvertedType, LogicalType};
use parquet::data_type::Decimal;
use parquet::errors::ParquetError;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::record::reader::{ReaderIter, TreeBuilder};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, Type};
use serde_json::{Number, Value};

use super::layouts::{PROMPT_COLUMNS, Row, known_column};
use super::non_finite;
use super::open::FREE_EXPANSION;
use super::settings::ReadSettings;
use crate::DataError;
use crate::RowPosition;
use crate::RowProblem;

/// Number of rows of a column that are unpacked together; small, since a row may be large.
const BATCH: usize = 64;

/// The rows of a parquet file, streamed.
pub(crate) struct ParquetRows {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    /// The columns that are read.
    schema: SchemaDescPtr,
    /// Columns that are not read: null in every row, so that messages can name them.
    others: Vec<String>,
    next_group: usize,
    rows: Option<ReaderIter>,
    /// Rows read so far.
    read: u64,
    max_expansion: u64,
}

impl ParquetRows {
    /// Opens a file. The columns read are those with known names, the prompt column of the settings, and if the file
    /// has no prompt column, all that could be one.
    pub(crate) fn open(path: &Path, settings: &ReadSettings) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|error| DataError::io("read", path, error))?;
        let broken = |problem: String| DataError::Parquet { path: path.to_path_buf(), problem };
        let reader = guarded(|| SerializedFileReader::new(file)).map_err(broken)?;
        let root = reader.metadata().file_metadata().schema();
        let fields = root.get_fields();
        let is_prompt = |name: &str| PROMPT_COLUMNS.iter().any(|prompt| prompt.eq_ignore_ascii_case(name));
        let named = settings.prompt_column.as_deref();
        let all = named.is_none() && !fields.iter().any(|field| is_prompt(field.name()));
        let (known, others): (Vec<_>, Vec<_>) = fields.iter().cloned().partition(|field| {
            let name = field.name();
            known_column(name).is_some() || named == Some(name) || (all && could_be_prompt(field))
        });
        let others = others.iter().map(|field| field.name().to_string()).collect();
        // A file without any of them still has rows, each of which is reported to lack a column.
        let schema =
            Type::group_type_builder(root.name()).with_fields(known).build().map_err(|error| broken(said(&error)))?;
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(schema)));
        let (path, max_expansion) = (path.to_path_buf(), settings.max_expansion);
        Ok(ParquetRows { path, reader, schema, others, next_group: 0, rows: None, read: 0, max_expansion })
    }

    /// The columns that are not read.
    pub(crate) fn unread(&self) -> &[String] {
        &self.others
    }

    /// The next row, or what is wrong with it; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Result<Row, RowProblem>>, DataError> {
        loop {
            let row = guarded(|| self.rows.as_mut().and_then(Iterator::next).transpose());
            if let Some(row) = row.map_err(|problem| self.damaged(problem))? {
                self.read += 1;
                return Ok(Some(self.columns(row)));
            }
            if self.next_group >= self.reader.num_row_groups() {
                return Ok(None);
            }
            self.check_group()?;
            let (reader, schema, next) = (&self.reader, &self.schema, self.next_group);
            let rows = guarded(|| {
                let group = reader.get_row_group(next)?;
                TreeBuilder::new().with_batch_size(BATCH).as_iter(Arc::clone(schema), group.as_ref())
            });
            self.rows = Some(rows.map_err(|problem| self.damaged(problem))?);
            self.next_group += 1;
        }
    }

    fn columns(&self, row: parquet::record::Row) -> Result<Row, RowProblem> {
        let mut columns: Row = self.others.iter().map(|name| (name.clone(), Value::Null)).collect();
        for (name, field) in row.into_columns() {
            if let Field::Bytes(bytes) = &field
                && std::str::from_utf8(bytes.data()).is_err()
                && let Some(column) = known_column(&name)
            {
                let found = "bytes that are not UTF-8".to_string();
                return Err(RowProblem::WrongType { column, expected: "text", found });
            }
            columns.insert(name, value(field));
        }
        Ok(columns)
    }

    /// Refuses columns with unsupported compression, and those that expand beyond the limit.
    fn check_group(&self) -> Result<(), DataError> {
        let path = || self.path.clone();
        let group = self.reader.metadata().row_group(self.next_group);
        for column in group.columns().iter().filter(|column| self.is_read(column)) {
            let format = match column.compression() {
                Compression::BROTLI(_) => "a brotli-compressed parquet file",
                Compression::LZO => "an LZO-compressed parquet file",
                _ => {
                    let size = |bytes: i64| u64::try_from(bytes).unwrap_or_default();
                    let limit = size(column.compressed_size()).saturating_mul(self.max_expansion).max(FREE_EXPANSION);
                    if size(column.uncompressed_size()) <= limit {
                        continue;
                    }
                    let position = RowPosition::Row(self.read + 1);
                    return Err(DataError::Expands { path: path(), limit: self.max_expansion, position });
                }
            };
            let remedy = "write it again packed by snappy, gzip, lz4 or zstd";
            return Err(DataError::UnsupportedFormat { path: path(), format, remedy });
        }
        Ok(())
    }

    fn is_read(&self, column: &ColumnChunkMetaData) -> bool {
        let name = column.column_path().parts().first();
        name.is_some_and(|name| self.schema.root_schema().get_fields().iter().any(|field| field.name() == name))
    }

    fn damaged(&self, problem: String) -> DataError {
        DataError::Damaged { path: self.path.clone(), position: RowPosition::Row(self.read + 1), problem }
    }
}

/// Whether a column contains text or lists.
fn could_be_prompt(field: &Type) -> bool {
    let info = field.get_basic_info();
    let text =
        || info.converted_type() == ConvertedType::UTF8 || matches!(info.logical_type_ref(), Some(LogicalType::String));
    if field.is_primitive() { text() } else { info.converted_type() == ConvertedType::LIST }
}

thread_local! {
    /// Whether a panic of this thread is expected by [`guarded`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs the reader, which panics on some damaged files; the panic becomes an error and is not printed.
fn guarded<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        // Other panics are reported as before.
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                before(panic);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    GUARDED.set(outer);
    match result {
        Ok(result) => result.map_err(|error| said(&error)),
        Err(_) => Err("its data contradicts itself".to_string()),
    }
}

/// An error's message on one line, of limited length: some contain the bytes in question.
fn said(error: &ParquetError) -> String {
    const LONGEST: usize = 200;
    let problem = match error {
        ParquetError::General(problem) | ParquetError::EOF(problem) => problem.clone(),
        other => other.to_string(),
    };
    if problem.starts_with("Error reading BYTE_ARRAY as String") {
        return "a text is not UTF-8".to_string();
    }
    let line = problem.replace('\n', " ");
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// A field as JSON. Fields outside of layouts are only used in messages: times become numbers, maps lose their
/// contents.
fn value(field: Field) -> Value {
    let float = |number: f64| {
        let name = if number.is_nan() {
            "NaN"
        } else if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        Number::from_f64(number).map_or_else(|| non_finite::value(name), Value::Number)
    };
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
        // Some writers do not mark their texts as such; other bytes (such as images) are in columns that are not read.
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).map_or(Value::Null, Value::from),
        Field::Group(row) => row.into_columns().into_iter().map(|(name, field)| (name, value(field))).collect(),
        Field::ListInternal(list) => Value::Array(list.elements().iter().cloned().map(value).collect()),
        Field::Null => Value::Null,
        Field::MapInternal(_) => Value::Object(Row::new()),
        Field::Decimal(number) => decimal(&number).map_or(Value::Null, float),
        Field::Date(days) => days.into(),
        Field::TimeMillis(time) => time.into(),
        Field::TimeMicros(time) | Field::TimestampMillis(time) | Field::TimestampMicros(time) => time.into(),
    }
}

/// A decimal number; `None` for one of more than 16 bytes.
fn decimal(number: &Decimal) -> Option<f64> {
    let bytes = number.data();
    let sign = if bytes.first().is_some_and(|first| *first >= 0x80) { -1i128 } else { 0 };
    let unscaled = bytes.iter().fold(sign, |value, byte| value << 8 | i128::from(*byte));
    (bytes.len() <= 16).then(|| unscaled as f64 / 10f64.powi(number.scale()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The panic hook writes to stderr, which only another process can observe.
    #[test]
    fn a_panic_of_the_reader_is_an_error_and_is_not_printed() {
        const INSIDE: &str = "SER_DATA_TEST_INSIDE";
        if std::env::var_os(INSIDE).is_some() {
            let found = guarded(|| -> Result<(), ParquetError> { panic!("of the reader") });
            assert_eq!(found, Err("its data contradicts itself".to_string()));
            drop(std::panic::catch_unwind(|| panic!("of another")));
            return;
        }
        let test = "read::parquet_rows::tests::a_panic_of_the_reader_is_an_error_and_is_not_printed";
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        let output = process.args(["--exact", "--nocapture", test]).env(INSIDE, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("of another") && !said.contains("of the reader"), "{said}");
    }

    #[test]
    fn decimals_are_numbers() {
        let of = |bytes: &[u8], scale| decimal(&Decimal::from_bytes(bytes.to_vec().into(), 9, scale));
        assert_eq!(of(&[0x01, 0x2c], 2), Some(3.0));
        assert_eq!(of(&[0xff, 0x83], 2), Some(-1.25));
        assert_eq!((of(&[], 0), of(&[1; 17], 0)), (Some(0.0), None));
        assert_eq!(decimal(&Decimal::from_i32(-15, 5, 1)), Some(-1.5));
    }
}
