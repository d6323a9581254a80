//! Files of prompts without answers.

use std::io::BufRead;
use std::path::Path;

use ser_core::Message;
use serde_json::Value;

use super::layouts::{Prompt, column_names, take_prompt, with_known_names};
use super::non_finite;
use super::open::open_text;
use super::row_problem::{RowProblem, describe};
use super::settings::{Place, ReadSettings};
use crate::DataError;

/// Reads prompts, in order: JSON lines whose `prompt` (or another column that [`PreferenceFile`](crate::PreferenceFile)
/// reads as prompt) is a text or a list of messages, with `system` and `history` beside it, or a plain text of a prompt a
/// line; compressed or not. The first line shows which: JSON begins with `{`. Blank lines are no prompts.
///
/// # Errors
/// A file that is not there or holds no prompt; a line that is no prompt, with its number.
pub fn read_prompts(path: impl AsRef<Path>) -> Result<Vec<Vec<Message>>, DataError> {
    let path = path.as_ref();
    let fail = |error| DataError::io("read", path, error);
    let lines = open_text(path, ReadSettings::default().max_expansion)?;
    let mut prompts = Vec::new();
    let mut json = None;
    for (line, text) in (1..).zip(lines.lines()) {
        let text = text.map_err(fail)?;
        let text = if line == 1 { text.trim_start_matches('\u{feff}') } else { &text };
        if text.trim().is_empty() {
            continue;
        }
        let bad = |problem| DataError::Row { path: path.to_path_buf(), place: Place::Line(line), problem };
        prompts.push(if *json.get_or_insert(text.trim_start().starts_with('{')) {
            prompt_of(text).map_err(bad)?
        } else {
            vec![Message::user(text)]
        });
    }
    if prompts.is_empty() { Err(DataError::NoRows { path: path.to_path_buf() }) } else { Ok(prompts) }
}

/// The prompt of a JSON line, with its system turn and earlier turns.
fn prompt_of(line: &str) -> Result<Vec<Message>, RowProblem> {
    let row = non_finite::parse(line.as_bytes()).map_err(|error| RowProblem::Json { problem: error.to_string() })?;
    let Value::Object(row) = row else { return Err(RowProblem::NotAnObject { found: describe(&row) }) };
    let mut row = with_known_names(row);
    let columns = column_names(&row);
    let found = take_prompt(&mut row, &ReadSettings::default())?;
    found.require_one()?;
    match found.prompt {
        Some(Prompt::Text(text)) if text.trim().is_empty() => {
            let expected = "text or a list of messages (`role`, `content`)";
            Err(RowProblem::WrongType { column: "prompt", expected, found: describe(&Value::String(text)) })
        }
        Some(_) => Ok(found.with_system()?.map_or_else(Vec::new, Prompt::into_turns)),
        None => Err(RowProblem::MissingColumn { column: "prompt", found: columns }),
    }
}

#[cfg(test)]
mod tests {
    use ser_core::Role;

    use super::*;

    fn read(text: &str) -> Result<Vec<Vec<Message>>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.jsonl");
        std::fs::write(&path, text).unwrap();
        read_prompts(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn texts_and_json_lines() {
        assert_eq!(read("Why?\n\n{}\n").unwrap(), [vec![Message::user("Why?")], vec![Message::user("{}")]]);
        let turns = [Message::user("Hi"), Message::assistant("Hello."), Message::user("Why?")];
        let line = serde_json::json!({"prompt": turns, "chosen": "not read"});
        let found = read(&format!("\u{feff}{{\"prompt\": \"\\n\\nHuman: Why?\"}}\n{line}")).unwrap();
        assert_eq!(found, [vec![Message::user("\n\nHuman: Why?")], turns.to_vec()]);
        let found = read(r#"{"system": "Be brief.", "Question": "Why?", "score": NaN}"#).unwrap();
        assert_eq!(found, [vec![Message::new(Role::System, "Be brief."), Message::user("Why?")]]);
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, said) in [
            ("\n \n", "holds no rows"),
            ("{\"prompt\": \"a\"}\n{\"title\": \"b\"}", "line 2: the row has no `prompt` (its columns: `title`)"),
            ("{\"prompt\": \"\"}", "line 1: `prompt` is an empty text"),
            ("{\"prompt\": [\"a\"]}", "line 1: `prompt` is a list with the text \"a\""),
            ("{\"prompt\": [{\"role\": \"a\\nb\"}]}", "line 1: `prompt` has a turn of role \"a\\nb\", but only"),
            ("{\"prompt\": \"a\"}\nb", "line 2: no valid JSON"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(said), "{found}");
        }
        assert!(read_prompts("no/such/file").unwrap_err().to_string().contains("there is no no/such/file"));
    }
}
