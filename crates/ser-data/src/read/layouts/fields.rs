//! Typed access to a row's columns.

use serde_json::{Map, Value};

use crate::RowProblem;
use crate::read::describe::{beginning, describe};

/// A row as a JSON object.
pub(crate) type Row = Map<String, Value>;

/// Refuses a row without a column, before other columns are taken, so that the error can list them.
pub(crate) fn require(row: &Row, columns: &[&'static str]) -> Result<(), RowProblem> {
    match columns.iter().find(|name| !row.contains_key(**name)) {
        Some(column) => Err(RowProblem::MissingColumn { column, found: column_names(row) }),
        None => Ok(()),
    }
}

/// Takes a column out of a row; the error for a missing column lists those present.
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

/// Takes an answer: non-empty text.
pub(crate) fn take_answer(row: &mut Row, column: &'static str) -> Result<String, RowProblem> {
    let answer = take_text(row, column)?;
    if answer.is_empty() { Err(RowProblem::EmptyAnswer { column }) } else { Ok(answer) }
}

/// Takes a list.
pub(crate) fn take_list(row: &mut Row, column: &'static str) -> Result<Vec<Value>, RowProblem> {
    list(column, take(row, column)?)
}

/// A value that must be a list; text may contain one as JSON, as in a table's cells.
pub(crate) fn list(column: &'static str, value: Value) -> Result<Vec<Value>, RowProblem> {
    match unpacked(value, '[')? {
        Value::Array(items) => Ok(items),
        other => Err(wrong(column, "a list", &other)),
    }
}

/// The JSON value in a text, if it begins like one.
fn unpacked(value: Value, start: char) -> Result<Value, RowProblem> {
    match value {
        Value::String(text) if text.trim_start().starts_with(start) => {
            serde_json::from_str(&text).map_err(|error| RowProblem::of_json(&error))
        }
        other => Ok(other),
    }
}

/// A whole number in a column; text may contain one.
pub(crate) fn whole_number(row: &Row, column: &'static str) -> Result<i64, RowProblem> {
    let Some(value) = row.get(column) else {
        return Err(RowProblem::MissingColumn { column, found: column_names(row) });
    };
    // Tables that once had gaps store whole numbers as floats.
    let float = || as_number(value).filter(|number| number.fract() == 0.0).map(|number| number as i64);
    value.as_i64().or_else(float).ok_or_else(|| wrong(column, "a whole number", value))
}

/// A number that may be missing, null, or a word for a missing value.
pub(crate) fn optional_number(row: &Row, column: &'static str) -> Result<Option<f64>, RowProblem> {
    match row.get(column) {
        None => Ok(None),
        Some(value) if is_missing(value) => Ok(None),
        Some(value) => number(column, value).map(Some),
    }
}

/// A value that must be a number; text may contain one.
pub(crate) fn number(column: &'static str, value: &Value) -> Result<f64, RowProblem> {
    as_number(value).ok_or_else(|| wrong(column, "a number", value))
}

fn as_number(value: &Value) -> Option<f64> {
    let written = || value.as_str().and_then(|text| text.trim().parse().ok());
    value.as_f64().or_else(written).filter(|number: &f64| number.is_finite())
}

/// Whether a value represents a missing number: null, or one of the words of tables (those of pandas).
pub(crate) fn is_missing(value: &Value) -> bool {
    const WORDS: [&str; 8] = ["", "n/a", "#n/a", "na", "<na>", "nan", "null", "none"];
    match value {
        Value::Null => true,
        Value::String(text) => WORDS.contains(&text.trim().to_ascii_lowercase().as_str()),
        _ => false,
    }
}

/// Columns that contain text in every layout.
const TEXT_COLUMNS: [&str; 22] = [
    "answer_0",
    "answer_1",
    "chosen",
    "human_ref_A",
    "human_ref_B",
    "instruction",
    "prompt",
    "question",
    "rejected",
    "rejected_response",
    "response 1",
    "response 2",
    "response1",
    "response2",
    "response_0",
    "response_1",
    "response_2",
    "response_chosen",
    "response_j",
    "response_k",
    "response_rejected",
    "system",
];

/// Converts numbers and truth values in columns of text to text, where the writing program interpreted an answer such
/// as `4` or `True`. Truth values are written as in Python. Returns whether there were any.
pub(crate) fn values_to_text(row: &mut Row) -> bool {
    let mut any = false;
    for column in TEXT_COLUMNS {
        let text = match row.get(column) {
            Some(Value::Bool(true)) => "True".to_string(),
            Some(Value::Bool(false)) => "False".to_string(),
            Some(Value::Number(number)) => number.to_string(),
            _ => continue,
        };
        row.insert(column.to_string(), Value::String(text));
        any = true;
    }
    any
}

/// A value that must be an object; text may contain one as JSON.
pub(crate) fn object(column: &'static str, value: Value) -> Result<Row, RowProblem> {
    match unpacked(value, '{')? {
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

/// A column with an unexpected value.
pub(crate) fn wrong(column: &'static str, expected: &'static str, found: &Value) -> RowProblem {
    RowProblem::WrongType { column, expected, found: describe(found) }
}

/// The names of a row's columns for a message: on one line, of limited length.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_from_text() {
        let row = json!({"a": "8.0", "b": " -2e1 ", "c": "N/A", "d": "", "e": null, "f": "NaN", "g": "inf", "h": "8/10", "i": "3.5",
            "j": "7.0"});
        let row = row.as_object().unwrap();
        let read = |column| optional_number(row, column).map_err(|problem| problem.to_string());
        assert_eq!((read("a"), read("b")), (Ok(Some(8.0)), Ok(Some(-20.0))));
        for column in ["c", "d", "e", "f", "missing"] {
            assert_eq!(read(column), Ok(None), "{column}");
        }
        assert_eq!(read("g").unwrap_err(), "`g` is the text \"inf\", but a number is expected");
        assert!(read("h").is_err());
        assert_eq!(whole_number(row, "j").unwrap(), 7);
        assert!(whole_number(row, "i").is_err());
    }

    #[test]
    fn lists_and_objects_are_read_from_text() {
        let row = || json!({"a": "[1, 2]", "b": "[1", "c": "x", "d": ["y"]}).as_object().unwrap().clone();
        assert_eq!(take_list(&mut row(), "a").unwrap(), [json!(1), json!(2)]);
        assert_eq!(take_list(&mut row(), "d").unwrap(), [json!("y")]);
        assert!(take_list(&mut row(), "b").unwrap_err().to_string().contains("invalid JSON"));
        assert_eq!(
            take_list(&mut row(), "c").unwrap_err().to_string(),
            "`c` is the text \"x\", but a list is expected"
        );
        assert_eq!(object("o", json!("{\"a\": 1}")).unwrap().get("a"), Some(&json!(1)));
    }

    #[test]
    fn values_in_columns_of_text_become_text() {
        let mut row = json!({"prompt": "q", "chosen": 4, "rejected": true, "label": 1}).as_object().unwrap().clone();
        assert!(values_to_text(&mut row));
        assert_eq!(json!(row), json!({"prompt": "q", "chosen": "4", "rejected": "True", "label": 1}));
        assert!(!values_to_text(&mut row));
    }
}
