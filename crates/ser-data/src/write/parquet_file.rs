//! Preferences as parquet, with the columns of Hugging Face's datasets.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use ser_core::{LearningStatus, Preference, Role};

use super::row::{Column, Row};
use crate::DataError;

/// Number of rows, and bytes of text, per row group.
const GROUP_ROWS: usize = 8192;
const GROUP_BYTES: usize = 64 << 20;

/// The form of a file's columns: that of its first pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `chosen` and `rejected`, whole texts.
    Whole,
    /// `prompt`, `chosen` and `rejected` as text.
    Text,
    /// `prompt`, `chosen` and `rejected` as lists of messages.
    Turns,
}

/// A parquet file being written.
pub(super) struct ParquetOutput {
    path: PathBuf,
    state: State,
    waiting: Vec<Preference>,
    waiting_bytes: usize,
}

enum State {
    /// The first pair decides the columns.
    Empty(File),
    Open(Form, Box<SerializedFileWriter<File>>),
    /// Opening failed.
    Broken,
}

impl ParquetOutput {
    pub(super) fn new(path: &Path, file: File) -> Self {
        ParquetOutput { path: path.to_path_buf(), state: State::Empty(file), waiting: Vec::new(), waiting_bytes: 0 }
    }

    pub(super) fn write(&mut self, preference: &Preference) -> Result<(), DataError> {
        let row = Row::of(preference);
        if row.prompt.iter().chain([&row.chosen, &row.rejected]).any(Column::has_extra_fields) {
            return Err(DataError::ExtraFields { path: self.path.clone(), id: preference.pair.id.0 });
        }
        let form = form(&row);
        let first = self.open(form).map_err(|error| DataError::io("write", &self.path, error))?;
        if first != form {
            return Err(DataError::MixedForms { path: self.path.clone(), id: preference.pair.id.0 });
        }
        let bytes: usize = preference.pair.prompt.iter().map(|turn| turn.content.len()).sum();
        self.waiting_bytes += bytes + preference.pair.responses.iter().map(String::len).sum::<usize>();
        self.waiting.push(preference.clone());
        if self.waiting.len() < GROUP_ROWS && self.waiting_bytes < GROUP_BYTES {
            return Ok(());
        }
        self.write_group().map_err(|error| DataError::io("write", &self.path, error))
    }

    /// Writes the rest and the footer.
    pub(super) fn finish(mut self) -> io::Result<File> {
        // A file without pairs has columns of text.
        self.open(Form::Text)?;
        self.write_group()?;
        match self.state {
            State::Open(_, writer) => writer.into_inner().map_err(io::Error::other),
            State::Empty(_) | State::Broken => Err(io::Error::other("the file could not be created")),
        }
    }

    /// Starts the file unless it is started; returns its form.
    fn open(&mut self, form: Form) -> io::Result<Form> {
        match std::mem::replace(&mut self.state, State::Broken) {
            State::Empty(file) => {
                let schema = Arc::new(parse_message_type(&schema(form)).map_err(io::Error::other)?);
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(io::Error::other)?;
                self.state = State::Open(form, Box::new(writer));
                Ok(form)
            }
            State::Open(form, writer) => {
                self.state = State::Open(form, writer);
                Ok(form)
            }
            State::Broken => Err(io::Error::other("the file could not be created")),
        }
    }

    fn write_group(&mut self) -> io::Result<()> {
        let preferences = std::mem::take(&mut self.waiting);
        self.waiting_bytes = 0;
        let State::Open(_, writer) = &mut self.state else { return Ok(()) };
        if preferences.is_empty() {
            return Ok(());
        }
        let rows: Vec<Row<'_>> = preferences.iter().map(Row::of).collect();
        let mut group = writer.next_row_group().map_err(io::Error::other)?;
        for leaf in leaves(&rows) {
            let Some(mut column) = group.next_column().map_err(io::Error::other)? else { break };
            leaf.write(&mut column).map_err(io::Error::other)?;
            column.close().map_err(io::Error::other)?;
        }
        group.close().map(drop).map_err(io::Error::other)
    }
}

fn form(row: &Row<'_>) -> Form {
    match (&row.prompt, &row.chosen) {
        (None, _) => Form::Whole,
        (Some(_), Column::Text(_)) => Form::Text,
        (Some(_), _) => Form::Turns,
    }
}

fn schema(form: Form) -> String {
    let column = |name: &str| match form {
        Form::Whole | Form::Text => format!("required binary {name} (STRING);\n"),
        Form::Turns => format!(
            "required group {name} (LIST) {{ repeated group list {{ required group element {{
               required binary role (STRING); required binary content (STRING); }} }} }}\n"
        ),
    };
    let prompt = if form == Form::Whole { String::new() } else { column("prompt") };
    format!(
        "message preferences {{
           required int64 id;
           {prompt}{chosen}{rejected}
           optional double margin;
           required double weight;
           required double probability;
           required binary origin (STRING);
           optional int32 round;
           optional binary status (STRING);
           optional boolean flipped;
           optional double score_chosen;
           optional double score_rejected;
         }}",
        chosen = column("chosen"),
        rejected = column("rejected"),
    )
}

/// The values of one leaf column, in row order, with their definition levels (and for lists, repetition levels).
struct Leaf {
    values: Values,
    defined: Vec<i16>,
    repeated: Option<Vec<i16>>,
}

enum Values {
    Whole(Vec<i64>),
    Small(Vec<i32>),
    Real(Vec<f64>),
    Flag(Vec<bool>),
    Text(Vec<ByteArray>),
}

impl Leaf {
    fn required(values: Values) -> Self {
        Leaf { values, defined: Vec::new(), repeated: None }
    }

    /// A column in which some rows have no value.
    fn optional<T>(values: impl Iterator<Item = Option<T>>, make: impl Fn(Vec<T>) -> Values) -> Self {
        let (mut there, mut defined) = (Vec::new(), Vec::new());
        for value in values {
            defined.push(i16::from(value.is_some()));
            there.extend(value);
        }
        Leaf { values: make(there), defined, repeated: None }
    }

    fn write(&self, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let defined = (!self.defined.is_empty()).then_some(self.defined.as_slice());
        let repeated = self.repeated.as_deref();
        let wrong = || ParquetError::General("the columns do not follow the schema".to_string());
        match (column.untyped(), &self.values) {
            (ColumnWriter::Int64ColumnWriter(writer), Values::Whole(values)) => {
                writer.write_batch(values, defined, repeated)
            }
            (ColumnWriter::Int32ColumnWriter(writer), Values::Small(values)) => {
                writer.write_batch(values, defined, repeated)
            }
            (ColumnWriter::DoubleColumnWriter(writer), Values::Real(values)) => {
                writer.write_batch(values, defined, repeated)
            }
            (ColumnWriter::BoolColumnWriter(writer), Values::Flag(values)) => {
                writer.write_batch(values, defined, repeated)
            }
            (ColumnWriter::ByteArrayColumnWriter(writer), Values::Text(values)) => {
                writer.write_batch(values, defined, repeated)
            }
            _ => return Err(wrong()),
        }
        .map(drop)
    }
}

/// All columns in the schema's order.
fn leaves(rows: &[Row<'_>]) -> Vec<Leaf> {
    let text = |text: &str| ByteArray::from(text);
    let mut leaves = vec![Leaf::required(Values::Whole(rows.iter().map(|row| row.id.0.cast_signed()).collect()))];
    if let Some(prompts) = rows.iter().map(|row| row.prompt).collect::<Option<Vec<_>>>() {
        leaves.extend(text_leaves(&prompts));
    }
    leaves.extend(text_leaves(&rows.iter().map(|row| row.chosen).collect::<Vec<_>>()));
    leaves.extend(text_leaves(&rows.iter().map(|row| row.rejected).collect::<Vec<_>>()));
    let lineage = || rows.iter().map(|row| row.lineage.as_ref());
    leaves.extend([
        Leaf::optional(rows.iter().map(|row| row.margin), Values::Real),
        Leaf::required(Values::Real(rows.iter().map(|row| row.weight).collect())),
        Leaf::required(Values::Real(rows.iter().map(|row| row.probability).collect())),
        Leaf::required(Values::Text(rows.iter().map(|row| text(row.origin)).collect())),
        Leaf::optional(lineage().map(|label| label.map(|label| label.round.cast_signed())), Values::Small),
        Leaf::optional(lineage().map(|label| label.map(|label| text(status(label.status)))), Values::Text),
        Leaf::optional(lineage().map(|label| label.map(|label| label.flipped)), Values::Flag),
        Leaf::optional(lineage().map(|label| label.map(|label| label.score_chosen)), Values::Real),
        Leaf::optional(lineage().map(|label| label.map(|label| label.score_rejected)), Values::Real),
    ]);
    leaves
}

/// A status by its name in JSON lines.
fn status(status: LearningStatus) -> &'static str {
    match status {
        LearningStatus::Status1 => "status1",
        LearningStatus::Status2 => "status2",
        LearningStatus::Stop => "stop",
    }
}

/// A column of text is one leaf, one of messages is two: roles and contents.
fn text_leaves(columns: &[Column<'_>]) -> Vec<Leaf> {
    let (mut roles, mut contents) = (Vec::new(), Vec::new());
    let (mut defined, mut repeated) = (Vec::new(), Vec::new());
    let mut list = |turns: &mut dyn Iterator<Item = (Role, &str)>| {
        let mut first = true;
        for (role, content) in turns {
            defined.push(1);
            repeated.push(i16::from(!first));
            first = false;
            roles.push(ByteArray::from(role.as_str()));
            contents.push(ByteArray::from(content));
        }
        if first {
            defined.push(0);
            repeated.push(0);
        }
    };
    let mut texts = Vec::new();
    for column in columns {
        match column {
            Column::Text(text) => texts.push(ByteArray::from(*text)),
            Column::Turns(turns) => list(&mut turns.iter().map(|turn| (turn.role, turn.content.as_str()))),
            Column::Answer(content) => list(&mut std::iter::once((Role::Assistant, *content))),
        }
    }
    if !texts.is_empty() {
        return vec![Leaf::required(Values::Text(texts))];
    }
    let leaf =
        |values| Leaf { values: Values::Text(values), defined: defined.clone(), repeated: Some(repeated.clone()) };
    vec![leaf(roles), leaf(contents)]
}
