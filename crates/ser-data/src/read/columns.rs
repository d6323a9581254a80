//! One row's columns to a pair.

use ser_core::{Message, Pair, PairId, RawText, Role};
use serde_json::{Map, Value};

use super::dialogue::{SharedPrompt, answer_text, is_dialogue, parse_dialogue, share_prompt};
use super::preference_file::Layout;
use super::row_problem::{RowProblem, describe};

/// A row understood: A is the chosen answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LabelledRow {
    pub(crate) pair: Pair,
    pub(crate) margin: Option<f64>,
    /// Whether the two conversations had different prompts.
    pub(crate) prompts_differ: bool,
}

/// Text or messages.
enum Column {
    Text(String),
    Turns(Vec<Message>),
}

/// The layout that a first row shows.
pub(crate) fn detect_layout(row: &Map<String, Value>) -> Layout {
    let dialogue = |name| row.get(name).and_then(Value::as_str).is_some_and(is_dialogue);
    let no_prompt = row.get("prompt").is_none_or(Value::is_null);
    if no_prompt && dialogue("chosen") && dialogue("rejected") { Layout::HhRlhf } else { Layout::Columns }
}

/// Reads one row.
pub(crate) fn read_row(layout: Layout, id: PairId, mut row: Map<String, Value>) -> Result<LabelledRow, RowProblem> {
    let margin = match row.get("margin") {
        None | Some(Value::Null) => None,
        Some(margin) => Some(margin.as_f64().ok_or_else(|| RowProblem::WrongType {
            column: "margin",
            expected: "a number",
            found: describe(margin),
        })?),
    };
    for column in ["chosen", "rejected"] {
        if !row.contains_key(column) {
            return Err(RowProblem::MissingColumn { column, found: column_names(&row) });
        }
    }
    let mut column = |name| read_column(name, row.remove(name).unwrap_or_default());
    let (chosen, rejected) = (column("chosen")?, column("rejected")?);
    let prompt = match row.remove("prompt") {
        None | Some(Value::Null) => None,
        Some(value) => Some(read_column("prompt", value)?),
    };
    let (pair, prompts_differ) = match (layout, prompt, chosen, rejected) {
        (Layout::HhRlhf, _, Column::Text(chosen), Column::Text(rejected)) => hh_pair(id, chosen, rejected)?,
        (_, Some(Column::Text(prompt)), Column::Text(chosen), Column::Text(rejected)) => {
            (Pair::from_text(id, prompt, chosen, rejected), false)
        }
        (_, None, Column::Text(chosen), Column::Text(rejected)) => (whole_texts(id, chosen, rejected), false),
        (_, Some(Column::Turns(prompt)), Column::Text(chosen), Column::Text(rejected)) => {
            (Pair { id, prompt, responses: [chosen, rejected], raw: RawText::None }, false)
        }
        (_, prompt, Column::Turns(chosen), Column::Turns(rejected)) => message_pair(id, prompt, chosen, rejected)?,
        (_, _, Column::Text(_), Column::Turns(_)) => return Err(unlike("text, as `chosen`,", "a list of messages")),
        (_, _, Column::Turns(_), Column::Text(_)) => return Err(unlike("a list of messages, as `chosen`,", "text")),
    };
    Ok(LabelledRow { pair, margin, prompts_differ })
}

fn unlike(expected: &'static str, found: &str) -> RowProblem {
    RowProblem::WrongType { column: "rejected", expected, found: found.to_string() }
}

/// Whole dialogues, kept byte by byte as raw text.
fn hh_pair(id: PairId, chosen: String, rejected: String) -> Result<(Pair, bool), RowProblem> {
    let turns = (parse_dialogue("chosen", &chosen)?, parse_dialogue("rejected", &rejected)?);
    let SharedPrompt { prompt, responses, differ } = share_prompt(turns.0, turns.1)?;
    Ok((Pair { id, prompt, responses, raw: RawText::Whole([chosen, rejected]) }, differ))
}

/// Two texts without a prompt: what they share, up to the last whitespace, is taken for it.
fn whole_texts(id: PairId, chosen: String, rejected: String) -> Pair {
    let shared = chosen.char_indices().zip(rejected.chars()).take_while(|((_, a), b)| a == b);
    let mut end = 0;
    for ((at, character), _) in shared {
        if character.is_whitespace() {
            end = at + character.len_utf8();
        }
    }
    let (prompt, a) = chosen.split_at(end);
    let (_, b) = rejected.split_at(end);
    let prompt = if prompt.trim().is_empty() { Vec::new() } else { vec![Message::user(prompt.trim())] };
    let responses = [a.to_string(), b.to_string()];
    Pair { id, prompt, responses, raw: RawText::Whole([chosen, rejected]) }
}

/// Message lists: the answer alone after a prompt, or whole conversations that share their beginning.
fn message_pair(
    id: PairId,
    prompt: Option<Column>,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
) -> Result<(Pair, bool), RowProblem> {
    let answers_alone = |turns: &[Message]| turns.first().is_some_and(|turn| turn.role == Role::Assistant);
    let raw = RawText::None;
    match prompt {
        Some(prompt) if answers_alone(&chosen) && answers_alone(&rejected) => {
            let prompt = match prompt {
                Column::Text(text) => vec![Message::user(text)],
                Column::Turns(turns) => turns,
            };
            let responses = [answer_text(&chosen), answer_text(&rejected)];
            Ok((Pair { id, prompt, responses, raw }, false))
        }
        // The conversations hold the prompt themselves (UltraFeedback's binarized files have it both ways).
        _ => {
            let SharedPrompt { prompt, responses, differ } = share_prompt(chosen, rejected)?;
            Ok((Pair { id, prompt, responses, raw }, differ))
        }
    }
}

fn read_column(column: &'static str, value: Value) -> Result<Column, RowProblem> {
    let answer = column != "prompt";
    match value {
        Value::String(text) if text.is_empty() && answer => Err(RowProblem::EmptyAnswer { column }),
        Value::String(text) => Ok(Column::Text(text)),
        Value::Array(turns) => {
            let turns = turns.into_iter().map(|turn| read_turn(column, turn)).collect::<Result<Vec<_>, _>>()?;
            match turns.last() {
                None => {
                    Err(RowProblem::WrongType { column, expected: TEXT_OR_TURNS, found: "an empty list".to_string() })
                }
                Some(last) if answer && last.content.is_empty() => Err(RowProblem::EmptyAnswer { column }),
                Some(_) => Ok(Column::Turns(turns)),
            }
        }
        other => Err(RowProblem::WrongType { column, expected: TEXT_OR_TURNS, found: describe(&other) }),
    }
}

const TEXT_OR_TURNS: &str = "text or a list of messages (`role`, `content`)";

fn read_turn(column: &'static str, turn: Value) -> Result<Message, RowProblem> {
    let wrong = |expected, found| RowProblem::WrongType { column, expected, found };
    let Value::Object(mut turn) = turn else {
        return Err(wrong("a list of messages (`role`, `content`)", format!("a list with {}", describe(&turn))));
    };
    let role = match turn.get("role") {
        Some(Value::String(role)) => match role.as_str() {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return Err(RowProblem::UnknownRole { column, found: format!("{role:?}") }),
        },
        Some(other) => return Err(RowProblem::UnknownRole { column, found: describe(other) }),
        None => return Err(wrong("a `role` in every message", "a list with a message without one".to_string())),
    };
    match turn.remove("content") {
        Some(Value::String(content)) => Ok(Message { role, content }),
        other => {
            let found = other.as_ref().map_or("nothing".to_string(), describe);
            Err(wrong("text as every message's `content`", format!("a list with a message whose content is {found}")))
        }
    }
}

fn column_names(row: &Map<String, Value>) -> String {
    if row.is_empty() {
        return "none".to_string();
    }
    row.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<LabelledRow, RowProblem> {
        let Value::Object(row) = serde_json::from_str(json).unwrap() else { panic!("no object") };
        read_row(detect_layout(&row), PairId(7), row)
    }

    fn pair(json: &str) -> Pair {
        read(json).unwrap().pair
    }

    #[test]
    fn text_and_messages_say_the_same() {
        let text = pair(r#"{"prompt": "Why?", "chosen": "So.", "rejected": "No."}"#);
        assert_eq!(text, Pair::from_text(PairId(7), "Why?", "So.", "No."));
        let explicit = pair(
            r#"{"prompt": [{"role": "user", "content": "Why?"}], "chosen": [{"role": "assistant", "content": "So."}],
                "rejected": [{"role": "assistant", "content": "No."}]}"#,
        );
        let implicit = pair(
            r#"{"chosen": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
                "rejected": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "No."}]}"#,
        );
        let both = pair(
            r#"{"prompt": "Why?", "chosen": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
                "rejected": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "No."}]}"#,
        );
        let turns = pair(r#"{"prompt": [{"role": "user", "content": "Why?"}], "chosen": "So.", "rejected": "No."}"#);
        for other in [explicit, implicit, both, turns] {
            assert_eq!((&other.prompt, &other.responses, other.raw), (&text.prompt, &text.responses, RawText::None));
        }
    }

    #[test]
    fn whole_texts_share_words() {
        let whole = pair(r#"{"chosen": "Tell me why. So it is.", "rejected": "Tell me why. Some do."}"#);
        assert_eq!(whole.prompt, [Message::user("Tell me why.")]);
        assert_eq!(whole.responses, ["So it is.", "Some do."]);
        assert_eq!(whole.raw_texts().unwrap()[1], "Tell me why. Some do.");
        assert!(pair(r#"{"chosen": "a", "rejected": "b"}"#).prompt.is_empty());
    }

    #[test]
    fn margins_are_numbers() {
        let row = read(r#"{"prompt": "q", "chosen": "a", "rejected": "b", "margin": 1.5}"#).unwrap();
        assert_eq!(row.margin, Some(1.5));
        let none = read(r#"{"prompt": "q", "chosen": "a", "rejected": "b", "margin": null}"#).unwrap();
        assert_eq!(none.margin, None);
        let bad = read(r#"{"prompt": "q", "chosen": "a", "rejected": "b", "margin": "big"}"#).unwrap_err();
        assert_eq!(bad.to_string(), "`margin` is the text \"big\", but a number is expected");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let system = r#"[{"role": "tool", "content": "x"}]"#;
        for (json, message) in [
            (
                r#"{"prompt": "q", "chosen": "a"}"#.to_string(),
                "the row has no `rejected` (its columns: `chosen`, `prompt`)",
            ),
            (r#"{"chosen": 5, "rejected": "b"}"#.to_string(), "`chosen` is the number 5, but text or a list"),
            (r#"{"chosen": "a", "rejected": null}"#.to_string(), "`rejected` is null, but text or"),
            (r#"{"prompt": "q", "chosen": "a", "rejected": ""}"#.to_string(), "the answer in `rejected` is empty"),
            (format!(r#"{{"chosen": {system}, "rejected": {system}}}"#), "`chosen` has a turn of role \"tool\""),
            (r#"{"chosen": [], "rejected": []}"#.to_string(), "`chosen` is an empty list"),
            (r#"{"chosen": ["a"], "rejected": []}"#.to_string(), "`chosen` is a list with the text \"a\""),
            (r#"{"prompt": {}, "chosen": "a", "rejected": "b"}"#.to_string(), "`prompt` is an object"),
            (
                r#"{"chosen": "a", "rejected": [{"role": "user", "content": "x"}]}"#.to_string(),
                "`rejected` is a list of mess",
            ),
            (r#"{"chosen": [{"role": "user", "content": null}], "rejected": "b"}"#.to_string(), "content is null"),
        ] {
            let found = read(&json).unwrap_err().to_string();
            assert!(found.contains(message), "{json}: {found}");
        }
    }
}
