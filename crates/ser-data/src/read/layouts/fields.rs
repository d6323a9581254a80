//! Typed access to a row's columns.

use ser_core::{Message, Role};
use serde_json::{Map, Value};

use crate::read::row_problem::{RowProblem, beginning, describe};

/// A row as JSON has it.
pub(crate) type Row = Map<String, Value>;

/// Refuses a row that lacks a column, while all that it has are still there to be named.
pub(crate) fn require(row: &Row, columns: &[&'static str]) -> Result<(), RowProblem> {
    match columns.iter().find(|name| !row.contains_key(**name)) {
        Some(column) => Err(RowProblem::MissingColumn { column, found: column_names(row) }),
        None => Ok(()),
    }
}

/// Takes a column out of a row; a column that is not there is named, with those that are.
pub(crate) fn take(row: &mut Row, column: &'static str) -> Result<Value, RowProblem> {
    match row.remove(column) {
        Some(value) => Ok(value),
        None => Err(RowProblem::MissingColumn { column, found: column_names(row) }),
    }
}

/// Takes a column of text.
pub(crate) fn take_text(row: &mut Row, column: &'static str) -> Result<String, RowProblem> {
    text(column, take(row, column)?)
}

/// Takes a column of text that may be null or missing.
pub(crate) fn take_optional_text(row: &mut Row, column: &'static str) -> Result<Option<String>, RowProblem> {
    match row.remove(column) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => text(column, value).map(Some),
    }
}

/// Takes an answer: text with at least a character.
pub(crate) fn take_answer(row: &mut Row, column: &'static str) -> Result<String, RowProblem> {
    let answer = take_text(row, column)?;
    if answer.is_empty() { Err(RowProblem::EmptyAnswer { column }) } else { Ok(answer) }
}

/// Takes a list.
pub(crate) fn take_list(row: &mut Row, column: &'static str) -> Result<Vec<Value>, RowProblem> {
    match take(row, column)? {
        Value::Array(items) => Ok(items),
        other => Err(wrong(column, "a list", &other)),
    }
}

/// A whole number in a column.
pub(crate) fn whole_number(row: &Row, column: &'static str) -> Result<i64, RowProblem> {
    let Some(value) = row.get(column) else {
        return Err(RowProblem::MissingColumn { column, found: column_names(row) });
    };
    // Tables that once had gaps hold whole numbers as floats.
    let float = || value.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64);
    value.as_i64().or_else(float).ok_or_else(|| wrong(column, "a whole number", value))
}

/// A number that may be null or missing.
pub(crate) fn optional_number(row: &Row, column: &'static str) -> Result<Option<f64>, RowProblem> {
    match row.get(column) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => number(column, value).map(Some),
    }
}

/// A value that must be a number.
pub(crate) fn number(column: &'static str, value: &Value) -> Result<f64, RowProblem> {
    value.as_f64().ok_or_else(|| wrong(column, "a number", value))
}

/// A value that must be an object.
pub(crate) fn object(column: &'static str, value: Value) -> Result<Row, RowProblem> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(wrong(column, "an object", &other)),
    }
}

/// A value that must be text.
pub(crate) fn text(column: &'static str, value: Value) -> Result<String, RowProblem> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(wrong(column, "text", &other)),
    }
}

/// A turn whose speaker and text stand under the names given (`role` and `content`, or `from` and `value`).
pub(crate) fn turn(
    column: &'static str,
    value: Value,
    speaker: &'static str,
    said: &'static str,
) -> Result<Message, RowProblem> {
    let wrong = |expected, found| RowProblem::WrongType { column, expected, found };
    let Value::Object(mut turn) = value else {
        return Err(wrong("a list of messages (`role`, `content`)", format!("a list with {}", describe(&value))));
    };
    let role = match turn.get(speaker) {
        Some(Value::String(role)) => role_named(role)
            .ok_or_else(|| RowProblem::UnknownRole { column, found: format!("{:?}", beginning(role)) })?,
        Some(other) => return Err(RowProblem::UnknownRole { column, found: describe(other) }),
        None => {
            return Err(wrong(
                "a speaker (`role` or `from`) in every message",
                "a list with a message without one".to_string(),
            ));
        }
    };
    match turn.remove(said) {
        Some(Value::String(content)) => Ok(Message::new(role, content)),
        other => {
            let found = other.as_ref().map_or("nothing".to_string(), describe);
            Err(wrong("text in every message", format!("a list with a message whose {said} is {found}")))
        }
    }
}

fn role_named(name: &str) -> Option<Role> {
    match name {
        "system" => Some(Role::System),
        "user" | "human" => Some(Role::User),
        "assistant" | "gpt" => Some(Role::Assistant),
        _ => None,
    }
}

/// A column that holds something else than it should.
pub(crate) fn wrong(column: &'static str, expected: &'static str, found: &Value) -> RowProblem {
    RowProblem::WrongType { column, expected, found: describe(found) }
}

/// The names of a row's columns, for a message: on one line, and not without end.
pub(crate) fn column_names(row: &Row) -> String {
    const SHOWN: usize = 40;
    if row.is_empty() {
        return "none".to_string();
    }
    let mut names: Vec<String> =
        row.keys().take(SHOWN).map(|name| format!("`{}`", beginning(name).escape_debug())).collect();
    if row.len() > SHOWN {
        names.push(format!("{} more", row.len() - SHOWN));
    }
    names.join(", ")
}
