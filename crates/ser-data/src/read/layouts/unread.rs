//! Finds unread columns that could contain a prompt.

use ser_core::Message;
use serde_json::Value;

use super::fields::Row;
use super::messages::is_message;
use super::prompt_columns::{is_identifier, says};
use crate::RowProblem;
use crate::read::describe::beginning;
use crate::read::settings::ReadSettings;

/// Words of column names that describe a row or an answer and never contain a prompt: `source`, `chosen_model`,
/// `prompt_id`.
const METADATA: [&str; 31] = [
    "annotator",
    "author",
    "category",
    "chosen",
    "completion",
    "dataset",
    "date",
    "domain",
    "generations",
    "id",
    "lang",
    "language",
    "license",
    "metadata",
    "model",
    "models",
    "order",
    "origin",
    "rating",
    "rationale",
    "rejected",
    "response",
    "source",
    "split",
    "status",
    "subset",
    "tags",
    "time",
    "topic",
    "type",
    "url",
];

/// Refuses a row without a prompt if an unread column could contain it.
///
/// `shared` is the common beginning of the answers; a column whose text is part of it counts as read. Numbers,
/// identifiers (text without a space) and columns with a metadata name cannot contain a prompt.
pub(crate) fn require_no_unread_prompt(
    row: &Row,
    shared: &[Message],
    settings: &ReadSettings,
) -> Result<(), RowProblem> {
    let columns: Vec<String> = row
        .iter()
        .filter(|(name, value)| {
            !settings.ignore_columns.contains(name) && !is_metadata(name) && could_ask(value, shared)
        })
        .take(5)
        .map(|(name, _)| format!("`{}`", beginning(name).escape_debug()))
        .collect();
    if columns.is_empty() { Ok(()) } else { Err(RowProblem::UnreadText { columns: columns.join(", ") }) }
}

fn is_metadata(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let words = name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    words.into_iter().any(|word| METADATA.contains(&word))
}

fn could_ask(value: &Value, shared: &[Message]) -> bool {
    match value {
        Value::String(text) => !is_identifier(text) && !says(shared, text),
        Value::Array(items) => items.iter().any(|item| is_message(item) || could_ask(item, shared)),
        value => is_message(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(row: Value) -> Option<String> {
        let settings = ReadSettings { ignore_columns: vec!["notes".into()], ..ReadSettings::default() };
        let shared = [Message::user("Why is it so?")];
        require_no_unread_prompt(row.as_object().unwrap(), &shared, &settings).err().map(|problem| problem.to_string())
    }

    #[test]
    fn only_text_that_could_be_a_prompt_is_refused() {
        for row in [
            json!({"prompt_id": "a b", "source": "a web page", "chosen_model": "model one", "Topic": "all things"}),
            json!({"number": 3, "tag": "sky-blue", "uuid": "0b1e", "flag": true, "scores": [1, 2], "none": null}),
            json!({"notes": "may stay unread", "question_part": "Why is it so?"}),
        ] {
            assert_eq!(refused(row.clone()), None, "{row}");
        }
        for (row, columns) in [
            (json!({"task_text": "x", "frage": "Was ist das?", "n": 1}), "but `frage` could"),
            (json!({"frage": "空はなぜ青いのか", "z": "a b"}), "but `frage`, `z` could"),
            (json!({"talk": [{"role": "user", "content": "x"}]}), "but `talk` could"),
            (json!({"lines": ["one line", "b"]}), "but `lines` could"),
        ] {
            let problem = refused(row.clone()).unwrap_or_else(|| panic!("{row}"));
            assert!(problem.contains(columns), "{problem}");
        }
    }
}
