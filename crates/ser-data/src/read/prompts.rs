//! Reads files of prompts without answers.

use std::path::Path;

use ser_core::Message;
use serde_json::Value;

use super::container::PlainText;
use super::describe::describe;
use super::files::data_files;
use super::layouts::{Prompt, Row, column_names, take_prompt, values_to_text, with_known_names};
use super::settings::{ReadSettings, ReadSummary};
use super::source::Source;
use crate::DataError;
use crate::RowProblem;

/// Reads prompts, in order, and a summary of the reading.
///
/// A file is JSON (lines, an array, or multi-line objects), a table or (feature `parquet`) parquet, whose rows have a
/// column `prompt`, or another that [`PreferenceFile`](crate::PreferenceFile) reads as prompt: a text or a list of
/// messages, optionally with `system` and `history`. In JSON a row may also be the text or the list alone. Other text
/// has one prompt per line: the file's name and first character decide, as JSON begins with `{` or `[`. Blank lines are
/// ignored. `path` is a file, a folder, a glob or `hf://owner/name` as for
/// [`PreferenceFile::open`](crate::PreferenceFile::open).
///
/// # Errors
/// A file that does not exist or has no prompt; under [`OnBadRow::Stop`](crate::OnBadRow::Stop) a row that is not a
/// prompt, with its position.
pub fn read_prompts(
    path: impl AsRef<Path>,
    settings: &ReadSettings,
) -> Result<(Vec<Vec<Message>>, ReadSummary), DataError> {
    settings.check()?;
    let path = path.as_ref();
    let _span = tracing::debug_span!("read_prompts", path = %path.display()).entered();
    let mut summary = ReadSummary::default();
    let mut prompts = Vec::new();
    for file in data_files(path, settings.split.as_deref())? {
        let mut source = Source::open(&file, settings, PlainText::Lines)?;
        summary.files += 1;
        while let Some((position, row)) = source.next_value()? {
            summary.rows += 1;
            match row.and_then(|row| prompt_of(row, settings)) {
                Ok(prompt) => prompts.push(prompt),
                Err(problem) => summary.bad_row(&file, position, problem, settings.on_bad_row)?,
            }
        }
    }
    if prompts.is_empty() { Err(summary.nothing_usable(path)) } else { Ok((prompts, summary)) }
}

/// The prompt of a row, with its system turn and earlier turns.
fn prompt_of(row: Value, settings: &ReadSettings) -> Result<Vec<Message>, RowProblem> {
    let mut row = match row {
        Value::Object(row) => with_known_names(row),
        prompt @ (Value::String(_) | Value::Array(_)) => Row::from_iter([("prompt".to_string(), prompt)]),
        other => return Err(RowProblem::NotAnObject { found: describe(&other) }),
    };
    values_to_text(&mut row);
    let columns = column_names(&row);
    // The column of the pairs' prompt need not exist in a file of prompts.
    let settings = match &settings.prompt_column {
        Some(column) if !row.contains_key(column) => &ReadSettings { prompt_column: None, ..settings.clone() },
        _ => settings,
    };
    let found = take_prompt(&mut row, settings)?;
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
    use crate::{OnBadRow, RowPosition};

    fn read_as(name: &str, bytes: &[u8], on_bad_row: OnBadRow) -> Result<(Vec<Vec<Message>>, ReadSummary), String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let settings = ReadSettings { on_bad_row, ..ReadSettings::default() };
        read_prompts(&path, &settings).map_err(|error| error.to_string())
    }

    fn read(text: &str) -> Result<Vec<Vec<Message>>, String> {
        read_as("prompts", text.as_bytes(), OnBadRow::Stop).map(|found| found.0)
    }

    #[test]
    fn texts_and_json_lines() {
        assert_eq!(read("Why?\r\n\n {}\n").unwrap(), [vec![Message::user("Why?")], vec![Message::user(" {}")]]);
        assert_eq!(read("[INST] Why?\nHow?").unwrap().len(), 2, "JSON does not begin like this");
        let turns = [Message::user("Hi"), Message::assistant("Hello."), Message::user("Why?")];
        let line = serde_json::json!({"prompt": turns, "chosen": "not read"});
        let found = read(&format!("\u{feff}{{\"prompt\": \"\\n\\nHuman: Why?\"}}\n{line}")).unwrap();
        assert_eq!(found, [vec![Message::user("\n\nHuman: Why?")], turns.to_vec()]);
        let found = read(r#"{"system": "Be brief.", "Question": "Why?", "score": NaN}"#).unwrap();
        assert_eq!(found, [vec![Message::new(Role::System, "Be brief."), Message::user("Why?")]]);
    }

    #[test]
    fn arrays_tables_and_indented_objects() {
        let two = [vec![Message::user("hi")], vec![Message::user("there")]];
        for (name, text) in [
            ("a.json", "[{\"prompt\": \"hi\"},\n {\"prompt\": \"there\"}]"),
            ("a.json", "[\"hi\", \"there\"]"),
            ("a", "\n[\n\"hi\",\n[{\"role\": \"user\", \"content\": \"there\"}]]\n"),
            ("a.json", "{\n \"prompt\": \"hi\"\n}\n{\n \"prompt\": \"there\"\n}\n"),
            ("a.json", "{\"version\": 1, \"data\": [{\"prompt\": \"hi\"}, {\"prompt\": \"there\"}]}"),
            ("a.csv", "id,prompt\n1,hi\n2,\"there\"\n"),
            ("a.tsv", "prompt\tid\nhi\t1\nthere\t2\n"),
            ("a.jsonl", "\"hi\"\n\"there\"\n"),
        ] {
            assert_eq!(read_as(name, text.as_bytes(), OnBadRow::Stop).unwrap().0, two, "{name}: {text}");
            let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let utf16 = [&[0xff, 0xfe], utf16.as_slice()].concat();
            assert_eq!(read_as(name, &utf16, OnBadRow::Stop).unwrap().0, two, "UTF-16, {name}: {text}");
        }
    }

    #[test]
    fn bad_lines_are_named() {
        for (text, said) in [
            ("\n \n", "has no rows"),
            ("{\"prompt\": \"a\"}\n{\"title\": \"b\"}", "line 2: the row has no `prompt` (its columns: `title`)"),
            ("{\"prompt\": \"\"}", "line 1: `prompt` is an empty text"),
            ("{\"prompt\": [\"a\"]}", "line 1: `prompt` is a list with the text \"a\""),
            ("{\"prompt\": [{\"role\": \"a\\nb\"}]}", "line 1: `prompt` has a turn of role \"a\\nb\", but only"),
            ("{\"prompt\": \"a\"}\nb", "line 2: invalid JSON"),
            ("[{\"prompt\": \"a\"},\n5]", "line 2: an object with columns is expected, but the row is the number 5"),
            ("[\"a\",\n\"\"]", "line 2: `prompt` is an empty text"),
            ("{\"prompt\": \"\\udc00\"}", "line 1: the text at column 18 contains half of a character"),
        ] {
            let found = read(text).unwrap_err();
            assert!(found.contains(said), "{found}");
        }
        let error = read_prompts("no/such/file", &ReadSettings::default()).unwrap_err().to_string();
        assert!(error.contains("there is no no/such/file"), "{error}");
    }

    #[test]
    fn bad_rows_are_left_out_on_request() {
        let text = "[{\"prompt\": \"a\"},\n{\"title\": \"b\"},\n{\"prompt\": \"c\"}]";
        let (prompts, summary) = read_as("p.json", text.as_bytes(), OnBadRow::Skip).unwrap();
        assert_eq!(prompts, [vec![Message::user("a")], vec![Message::user("c")]]);
        assert_eq!((summary.rows, summary.skipped, summary.skipped_rows[0].position), (3, 1, RowPosition::Line(2)));
        assert!(summary.notes().iter().any(|note| note.starts_with("rows left out")));
        let error = read_as("p.jsonl", b"{\"title\": \"b\"}\n", OnBadRow::Skip).unwrap_err();
        assert!(
            error.contains("none of its 1 rows gives one, the first of those left out (line 1) because"),
            "{error}"
        );
    }
}
