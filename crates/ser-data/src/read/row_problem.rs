//! What can be wrong with one row.

use serde_json::Value;
use thiserror::Error;

use super::non_finite::non_finite;

/// Why a row cannot be used: a clause that follows the row's place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowProblem {
    /// The row is no JSON.
    #[error("no valid JSON: {problem}")]
    Json {
        /// What the parser says, with the column.
        problem: String,
    },
    /// Text that no Unicode text is: half of a character, written as an escape.
    #[error(
        "the text at column {column} holds half of a character (a \\u escape of a UTF-16 surrogate without its other \
         half), as when a text is cut within an emoji"
    )]
    LoneSurrogate {
        /// The byte of the line, from 1.
        column: usize,
    },
    /// A row of a table with more or fewer fields than columns.
    #[error("the row has {found} fields, but the header names {expected}")]
    FieldCount {
        /// Fields of the row.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// A table's cell whose bytes are no text.
    #[error("`{column}` is bytes that are no UTF-8")]
    NotUtf8 {
        /// The column.
        column: String,
    },
    /// A table's cell with messages as Python's `str` writes them.
    #[error(
        "`{column}` holds messages as Python prints them and not as JSON; write them by json.dumps, or write JSON lines"
    )]
    PythonText {
        /// The column.
        column: String,
    },
    /// The row is JSON, but no object.
    #[error("an object with columns is expected, but the row is {found}")]
    NotAnObject {
        /// What it is.
        found: String,
    },
    /// A column that every row needs is not there.
    #[error("the row has no `{column}` (its columns: {found})")]
    MissingColumn {
        /// The column.
        column: &'static str,
        /// The columns there are.
        found: String,
    },
    /// A column holds something else than it should.
    #[error("`{column}` is {found}, but {expected} is expected")]
    WrongType {
        /// The column.
        column: &'static str,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A speaker with an unknown name.
    #[error(
        "`{column}` has a turn of role {found}, but only system (developer), user (human, prompter), assistant (gpt, model, bot, chatbot, ai) and tool (function, ipython, observation) are known"
    )]
    UnknownRole {
        /// The column.
        column: &'static str,
        /// The role's value.
        found: String,
    },
    /// An answer without a character.
    #[error("the answer in `{column}` is empty")]
    EmptyAnswer {
        /// The column.
        column: &'static str,
    },
    /// A text that should be a dialogue, as the first row's was.
    #[error("`{column}` begins with {start:?} and not with \"\\n\\nHuman:\", as in the first row")]
    NotADialogue {
        /// The column.
        column: &'static str,
        /// The text's first characters.
        start: String,
    },
    /// A conversation in which the model says nothing.
    #[error("the conversation in `{column}` has no assistant turn, so it holds no answer")]
    NoAnswer {
        /// The column.
        column: &'static str,
    },
    /// The column that the settings name as the prompt is missing or unusable.
    #[error("`{column}` (data.prompt_column) is not a prompt: {problem}")]
    PromptColumn {
        /// The column.
        column: String,
        /// What is wrong.
        problem: String,
    },
    /// Several columns that could be the prompt, with different texts.
    #[error("{columns} could each be the prompt, and they differ")]
    SeveralPrompts {
        /// The columns.
        columns: String,
    },
    /// No prompt, and text that is not read.
    #[error("no column with a known name holds the prompt, but {columns} could")]
    UnreadText {
        /// The columns.
        columns: String,
    },
    /// A system column beside a conversation with another system turn.
    #[error("the system column and the system turn of the conversation differ")]
    TwoSystems,
    /// Two conversations with nothing in common.
    #[error("`chosen` and `rejected` share no first turn, so they are not answers to one prompt")]
    NoSharedPrompt,
    /// A label that is none of those there are.
    #[error("`{column}` is {found}, but {expected} is expected")]
    UnknownLabel {
        /// The column.
        column: &'static str,
        /// The labels there are.
        expected: &'static str,
        /// What it is.
        found: i64,
    },
    /// More answers than can be paired.
    #[error("`{column}` holds {count} answers, but at most {limit} can be paired")]
    TooManyAnswers {
        /// The column.
        column: &'static str,
        /// How many there are.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// A row over the size limit.
    #[error("the row is longer than {limit} bytes (setting max_row_bytes)")]
    TooLong {
        /// The limit.
        limit: usize,
    },
}

impl RowProblem {
    /// The error of a JSON parser on a row.
    pub(crate) fn of_json(error: &serde_json::Error) -> Self {
        // The parser counts lines from the row's beginning; the file's line is said beside the problem.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let said = error.to_string();
        let said = said.strip_suffix(&place).unwrap_or(&said);
        if said.contains("surrogate") || said == "unexpected end of hex escape" {
            return RowProblem::LoneSurrogate { column: error.column() };
        }
        RowProblem::Json { problem: format!("{said} at column {}", error.column()) }
    }

    /// What to do about it: a clause that follows the problem.
    pub fn remedy(&self) -> &'static str {
        match self {
            RowProblem::SeveralPrompts { .. } | RowProblem::UnreadText { .. } => {
                "name the prompt's column as data.prompt_column, or list in data.ignore_columns what may stay unread"
            }
            RowProblem::PromptColumn { .. } => "name another data.prompt_column, or leave it out",
            RowProblem::TwoSystems => "mend the row, or list the system column in data.ignore_columns",
            _ => "mend the row, or leave such rows out with --on-bad-row skip",
        }
    }
}

/// A JSON value in a few words.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_string(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) if text.is_empty() => "an empty text".to_string(),
        Value::String(text) => format!("the text {:?}", beginning(text)),
        Value::Array(items) => format!("a list of {}", items.len()),
        Value::Object(_) => match non_finite(value) {
            Some(number) => number.to_string(),
            None => "an object".to_string(),
        },
    }
}

/// A text's first characters.
pub(crate) fn beginning(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}
