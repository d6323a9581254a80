//! Problems of a row.

use thiserror::Error;

/// Why a row cannot be used: a clause that follows the row's position.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RowProblem {
    /// The row is not JSON.
    #[error("invalid JSON: {problem}")]
    Json {
        /// The parser's message, with the column.
        problem: String,
    },
    /// The text is not valid Unicode: half of a character, written as an escape.
    #[error(
        "the text at column {column} contains half of a character (a \\u escape of a UTF-16 surrogate without its other \
         half), as when a text is cut within an emoji"
    )]
    LoneSurrogate {
        /// The byte of the line, from 1.
        column: usize,
    },
    /// A row of a table has more or fewer fields than columns.
    #[error("the row has {found} fields, but the header names {expected}")]
    FieldCount {
        /// Fields of the row.
        found: usize,
        /// Columns of the header.
        expected: usize,
    },
    /// A table's cell is not UTF-8.
    #[error("`{column}` is not UTF-8")]
    NotUtf8 {
        /// The column.
        column: String,
    },
    /// A table's cell has messages in the format of Python's `str`.
    #[error(
        "`{column}` has messages as Python prints them and not as JSON; write them with json.dumps, or write JSON lines"
    )]
    PythonText {
        /// The column.
        column: String,
    },
    /// The row is JSON, but not an object.
    #[error("an object with columns is expected, but the row is {found}")]
    NotAnObject {
        /// The value found.
        found: String,
    },
    /// A required column is missing.
    #[error("the row has no `{column}` (its columns: {found})")]
    MissingColumn {
        /// The column.
        column: &'static str,
        /// The columns present.
        found: String,
    },
    /// A column has an unexpected value.
    #[error("`{column}` is {found}, but {expected} is expected")]
    WrongType {
        /// The column.
        column: &'static str,
        /// The expected value.
        expected: &'static str,
        /// The value found.
        found: String,
    },
    /// The speaker's name is unknown.
    #[error(
        "`{column}` has a turn of role {found}, but only system (developer), user (human, prompter), assistant (gpt, model, bot, chatbot, ai) and tool (function, ipython, observation) are known"
    )]
    UnknownRole {
        /// The column.
        column: &'static str,
        /// The role's value.
        found: String,
    },
    /// The answer is empty.
    #[error("the answer in `{column}` is empty")]
    EmptyAnswer {
        /// The column.
        column: &'static str,
    },
    /// The text should be a dialogue, as in the first row.
    #[error("`{column}` begins with {start:?} and not with \"\\n\\nHuman:\", as in the first row")]
    NotADialogue {
        /// The column.
        column: &'static str,
        /// The text's first characters.
        start: String,
    },
    /// The conversation has no turn of the model.
    #[error("the conversation in `{column}` has no assistant turn, so it has no answer")]
    NoAnswer {
        /// The column.
        column: &'static str,
    },
    /// The prompt column of the settings is missing or unusable.
    #[error("`{column}` (data.prompt_column) is not a prompt: {problem}")]
    PromptColumn {
        /// The column.
        column: String,
        /// The reason.
        problem: String,
    },
    /// Several columns with different texts could be the prompt.
    #[error("{columns} could each be the prompt, and they differ")]
    SeveralPrompts {
        /// The columns.
        columns: String,
    },
    /// There is no prompt, and an unread column could be it.
    #[error("no column with a known name contains the prompt, but {columns} could")]
    UnreadText {
        /// The columns.
        columns: String,
    },
    /// The system column differs from the conversation's system turn.
    #[error("the system column and the system turn of the conversation differ")]
    TwoSystems,
    /// The two conversations have nothing in common.
    #[error("`chosen` and `rejected` share no first turn, so they are not answers to one prompt")]
    NoSharedPrompt,
    /// The label is unknown.
    #[error("`{column}` is {found}, but {expected} is expected")]
    UnknownLabel {
        /// The column.
        column: &'static str,
        /// The known labels.
        expected: &'static str,
        /// The value found.
        found: i64,
    },
    /// There are too many answers to pair.
    #[error("`{column}` has {count} answers, but at most {limit} can be paired")]
    TooManyAnswers {
        /// The column.
        column: &'static str,
        /// Number of answers.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// The row exceeds the size limit.
    #[error("the row is longer than {limit} bytes (setting max_row_bytes)")]
    TooLong {
        /// The limit.
        limit: usize,
    },
}

impl RowProblem {
    /// The error of a JSON parser on a row.
    pub(crate) fn of_json(error: &serde_json::Error) -> Self {
        // The parser counts lines from the row's beginning; the file's line is reported separately.
        let position = format!(" at line {} column {}", error.line(), error.column());
        let said = error.to_string();
        let said = said.strip_suffix(&position).unwrap_or(&said);
        if said.contains("surrogate") || said == "unexpected end of hex escape" {
            return RowProblem::LoneSurrogate { column: error.column() };
        }
        RowProblem::Json { problem: format!("{said} at column {}", error.column()) }
    }

    /// The remedy: a clause that follows the problem.
    pub fn remedy(&self) -> &'static str {
        match self {
            RowProblem::SeveralPrompts { .. } | RowProblem::UnreadText { .. } => {
                "name the prompt's column as data.prompt_column, or list the columns to ignore in data.ignore_columns"
            }
            RowProblem::PromptColumn { .. } => "name another data.prompt_column, or leave it out",
            RowProblem::TwoSystems => "correct the row, or list the system column in data.ignore_columns",
            _ => "correct the row, or leave such rows out with --on-bad-row skip",
        }
    }
}
