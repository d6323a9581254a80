//! `chosen` and `rejected`: HH-RLHF's dialogues, TRL's columns, RewardBench.

use ser_core::{Message, RawText, Role};
use serde_json::Value;

use super::dialogue::{SharedPrompt, answer_text, parse_dialogue, share_prompt};
use super::fields::{Row, optional_number, require, take, take_list, take_text, turn};
use super::scored::drawn;
use super::{LabelledPair, RowPairs};
use crate::read::row_problem::{RowProblem, describe};
use crate::read::settings::ReadSettings;

/// Text or messages.
enum Column {
    Text(String),
    Turns(Vec<Message>),
}

/// HH-RLHF: whole dialogues, kept byte by byte as raw text.
pub(crate) fn read_dialogues(mut row: Row) -> Result<RowPairs, RowProblem> {
    require(&row, &["chosen", "rejected"])?;
    let margin = optional_number(&row, "margin")?;
    let mut dialogue = |name| match read_column(name, take(&mut row, name)?)? {
        Column::Text(text) => Ok(text),
        Column::Turns(_) => {
            let found = "a list of messages".to_string();
            Err(RowProblem::WrongType { column: name, expected: "a dialogue, as in the first row,", found })
        }
    };
    let (chosen, rejected) = (dialogue("chosen")?, dialogue("rejected")?);
    let turns = (parse_dialogue("chosen", &chosen)?, parse_dialogue("rejected", &rejected)?);
    let pair = conversations(turns.0, turns.1, RawText::Whole([chosen, rejected]))?;
    Ok(LabelledPair { margin, ..pair }.into())
}

/// TRL's columns: the prompt explicit or shared, text or messages.
pub(crate) fn read_columns(mut row: Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    require(&row, &["chosen", "rejected"])?;
    let margin = optional_number(&row, "margin")?;
    let scores = (optional_number(&row, "score_chosen")?, optional_number(&row, "score_rejected")?);
    let mut column = |name| read_column(name, take(&mut row, name)?);
    let (chosen, rejected) = (column("chosen")?, column("rejected")?);
    let prompt = match row.remove("prompt") {
        None | Some(Value::Null) => None,
        Some(value) => Some(read_column("prompt", value)?),
    };
    if let (Some(chosen), Some(rejected)) = scores
        && (chosen == rejected || (chosen - rejected).abs() < settings.min_score_gap)
    {
        return Ok(RowPairs::tie());
    }
    let pair = match (prompt, chosen, rejected) {
        (Some(Column::Text(prompt)), Column::Text(chosen), Column::Text(rejected)) => {
            LabelledPair::text(prompt, chosen, rejected)
        }
        (None, Column::Text(chosen), Column::Text(rejected)) => whole_texts(chosen, rejected),
        (Some(Column::Turns(prompt)), Column::Text(chosen), Column::Text(rejected)) => {
            LabelledPair::new(prompt, [chosen, rejected], RawText::None)
        }
        (prompt, Column::Turns(chosen), Column::Turns(rejected)) => message_pair(prompt, chosen, rejected)?,
        (_, Column::Text(_), Column::Turns(_)) => return Err(unlike("text, as `chosen`,", "a list of messages")),
        (_, Column::Turns(_), Column::Text(_)) => return Err(unlike("a list of messages, as `chosen`,", "text")),
    };
    let gap = scores.0.zip(scores.1).map(|(chosen, rejected)| chosen - rejected);
    Ok(LabelledPair { margin, ..pair }.with_gap(gap, settings).into())
}

/// RewardBench: one chosen and one rejected text, or lists of them, of which every two make a pair.
pub(crate) fn read_reward_bench(mut row: Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    if !row.get("chosen").is_some_and(Value::is_array) {
        return read_columns(row, settings);
    }
    require(&row, &["prompt", "chosen", "rejected"])?;
    let prompt = take_text(&mut row, "prompt")?;
    let mut texts = |column| -> Result<Vec<String>, RowProblem> {
        let items = take_list(&mut row, column)?;
        items
            .into_iter()
            .map(|item| match read_column(column, item)? {
                Column::Text(text) => Ok(text),
                Column::Turns(_) => {
                    let found = "a list of messages".to_string();
                    Err(RowProblem::WrongType { column, expected: "a list of texts", found })
                }
            })
            .collect()
    };
    let (chosen, rejected) = (texts("chosen")?, texts("rejected")?);
    let all: Vec<_> = chosen.iter().flat_map(|a| rejected.iter().map(move |b| (a, b))).collect();
    let (kept, over_limit) = drawn(&prompt, all, settings.max_pairs_per_prompt);
    let pairs = kept.into_iter().map(|(a, b)| LabelledPair::text(prompt.clone(), a.clone(), b.clone())).collect();
    Ok(RowPairs { pairs, over_limit, ..RowPairs::default() })
}

fn unlike(expected: &'static str, found: &str) -> RowProblem {
    RowProblem::WrongType { column: "rejected", expected, found: found.to_string() }
}

/// Two texts without a prompt: what they share, up to the last whitespace, is taken for it.
fn whole_texts(chosen: String, rejected: String) -> LabelledPair {
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
    LabelledPair::new(prompt, responses, RawText::Whole([chosen, rejected]))
}

/// Message lists: the answer alone after a prompt, or whole conversations that share their beginning.
fn message_pair(
    prompt: Option<Column>,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
) -> Result<LabelledPair, RowProblem> {
    let answers_alone = |turns: &[Message]| turns.first().is_some_and(|turn| turn.role == Role::Assistant);
    match prompt {
        Some(prompt) if answers_alone(&chosen) && answers_alone(&rejected) => {
            let prompt = match prompt {
                Column::Text(text) => vec![Message::user(text)],
                Column::Turns(turns) => turns,
            };
            let responses = [answer_text(&chosen), answer_text(&rejected)];
            Ok(LabelledPair::new(prompt, responses, RawText::None))
        }
        // The conversations hold the prompt themselves (UltraFeedback's binarized files have it both ways).
        _ => conversations(chosen, rejected, RawText::None),
    }
}

/// Two whole conversations.
pub(super) fn conversations(
    chosen: Vec<Message>,
    rejected: Vec<Message>,
    raw: RawText,
) -> Result<LabelledPair, RowProblem> {
    let twice = |turns: &[Message]| turns.windows(2).any(|two| matches!(two, [a, b] if a.role == b.role));
    let turns_joined = twice(&chosen) || twice(&rejected);
    let SharedPrompt { prompt, responses, differ } = share_prompt(chosen, rejected)?;
    Ok(LabelledPair { prompts_differ: differ, turns_joined, ..LabelledPair::new(prompt, responses, raw) })
}

fn read_column(column: &'static str, value: Value) -> Result<Column, RowProblem> {
    let answer = column != "prompt";
    match value {
        Value::String(text) if text.is_empty() && answer => Err(RowProblem::EmptyAnswer { column }),
        Value::String(text) => Ok(Column::Text(text)),
        Value::Array(turns) => {
            let turns =
                turns.into_iter().map(|value| turn(column, value, "role", "content")).collect::<Result<Vec<_>, _>>()?;
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

#[cfg(test)]
mod tests {
    use ser_core::{Pair, PairId};

    use super::*;

    fn row(json: &str) -> Row {
        let Value::Object(row) = serde_json::from_str(json).unwrap() else { panic!("no object") };
        row
    }

    fn read(json: &str) -> Result<LabelledPair, RowProblem> {
        read_columns(row(json), &ReadSettings::default()).map(|mut found| found.pairs.remove(0))
    }

    fn pair(json: &str) -> Pair {
        read(json).unwrap().pair
    }

    #[test]
    fn text_and_messages_say_the_same() {
        let text = pair(r#"{"prompt": "Why?", "chosen": "So.", "rejected": "No."}"#);
        assert_eq!(text, Pair::from_text(PairId(0), "Why?", "So.", "No."));
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
