//! `chosen` and `rejected`: HH-RLHF's dialogues, TRL's columns, LLaMA-Factory's, RewardBench.

use ser_core::{Message, RawText, Role};
use serde_json::Value;

use super::dialogue::{SharedPrompt, answer_text, merge_turns, parse_dialogue, share_prompt, turns_of};
use super::fields::{Row, optional_number, require, take, take_list};
use super::messages::{calls_tools, conversation, is_message, message};
use super::prompt_columns::{FoundPrompt, Prompt, add_system, says, take_prompt};
use super::scored::drawn;
use super::unread::require_no_unread_prompt;
use super::{LabelledPair, RowPairs};
use crate::RowProblem;
use crate::read::describe::describe;
use crate::read::settings::ReadSettings;

/// Text or messages.
enum Column {
    Text(String),
    Turns(Vec<Message>),
}

/// HH-RLHF: whole dialogues, kept byte by byte as raw text.
pub(crate) fn read_dialogues(row: &mut Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    require(row, &["chosen", "rejected"])?;
    let margin = optional_number(row, "margin")?;
    row.remove("margin");
    let mut dialogue = |name| match read_answer(name, take(row, name)?)? {
        Column::Text(text) => Ok(text),
        Column::Turns(_) => {
            let found = "a list of messages".to_string();
            Err(RowProblem::WrongType { column: name, expected: "a dialogue, as in the first row,", found })
        }
    };
    let (chosen, rejected) = (dialogue("chosen")?, dialogue("rejected")?);
    let turns = (parse_dialogue("chosen", &chosen)?, parse_dialogue("rejected", &rejected)?);
    let twice = |turns: &[Message]| turns.windows(2).any(|two| matches!(two, [a, b] if a.role == b.role));
    let turns_joined = twice(&turns.0) || twice(&turns.1);
    let mut pair = shared(turns.0, turns.1, RawText::Whole([chosen, rejected]))?;
    pair.pair.prompt = merge_turns(&pair.pair.prompt);
    let found = take_prompt(row, settings)?;
    if let Some(system) = found.system.clone() {
        // The file's text does not contain it.
        pair.pair.raw = RawText::None;
        add_system(&mut pair.pair.prompt, system)?;
    }
    leave_unread(row, &found, &pair.pair.prompt);
    Ok(LabelledPair { margin, turns_joined, ..pair }.into())
}

/// TRL's columns: explicit or shared prompt, text or messages.
pub(crate) fn read_columns(row: &mut Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    require(row, &["chosen", "rejected"])?;
    let mut number = |name| {
        let number = optional_number(row, name);
        row.remove(name);
        number
    };
    let margin = number("margin")?;
    let scores = (number("score_chosen")?, number("score_rejected")?);
    let mut answer = |name| read_answer(name, take(row, name)?);
    let (chosen, rejected) = (answer("chosen")?, answer("rejected")?);
    let found = take_prompt(row, settings)?;
    if let (Some(chosen), Some(rejected)) = scores
        && (chosen == rejected || (chosen - rejected).abs() < settings.min_score_gap)
    {
        return Ok(RowPairs::tie());
    }
    let pair = match (chosen, rejected) {
        (Column::Text(chosen), Column::Text(rejected)) => text_pair(row, found, chosen, rejected, settings)?,
        (Column::Turns(chosen), Column::Turns(rejected)) => message_pair(row, found, chosen, rejected, settings)?,
        (Column::Text(_), Column::Turns(_)) => return Err(unlike("text, as `chosen`,", "a list of messages")),
        (Column::Turns(_), Column::Text(_)) => return Err(unlike("a list of messages, as `chosen`,", "text")),
    };
    let gap = scores.0.zip(scores.1).map(|(chosen, rejected)| chosen - rejected);
    Ok(LabelledPair { margin, ..pair }.with_gap(gap, settings).into())
}

/// RewardBench: one chosen and one rejected text, or lists of them; each combination is a pair.
pub(crate) fn read_reward_bench(row: &mut Row, settings: &ReadSettings) -> Result<RowPairs, RowProblem> {
    if !row.get("chosen").is_some_and(Value::is_array) {
        return read_columns(row, settings);
    }
    require(row, &["chosen", "rejected"])?;
    let found = take_prompt(row, settings)?;
    found.require_one()?;
    let prompt = found.with_system()?.ok_or_else(|| missing_prompt(row))?;
    let mut texts = |column| -> Result<Vec<String>, RowProblem> {
        let items = take_list(row, column)?;
        items
            .into_iter()
            .map(|item| match read_answer(column, item)? {
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
    let key = match &prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Turns(turns) => turns.iter().map(|turn| turn.content.as_str()).collect(),
    };
    let (kept, over_limit) = drawn(&key, all, settings.max_pairs_per_prompt);
    let pairs = kept.into_iter().map(|(a, b)| prompted(prompt.clone(), a.clone(), b.clone())).collect();
    Ok(RowPairs { pairs, over_limit, ..RowPairs::default() })
}

fn missing_prompt(row: &Row) -> RowProblem {
    RowProblem::MissingColumn { column: "prompt", found: super::fields::column_names(row) }
}

fn unlike(expected: &'static str, found: &str) -> RowProblem {
    RowProblem::WrongType { column: "rejected", expected, found: found.to_string() }
}

/// A prompt and two texts.
fn prompted(prompt: Prompt, chosen: String, rejected: String) -> LabelledPair {
    match prompt {
        Prompt::Text(text) => LabelledPair::text(text, chosen, rejected),
        Prompt::Turns(turns) => LabelledPair::new(turns, [chosen, rejected], RawText::None),
    }
}

/// Two texts, after the row's prompt or, without one, after their common beginning.
fn text_pair(
    row: &Row,
    mut found: FoundPrompt,
    chosen: String,
    rejected: String,
    settings: &ReadSettings,
) -> Result<LabelledPair, RowProblem> {
    let answers = [chosen.trim(), rejected.trim()];
    // Some files repeat an answer, alone or after the prompt.
    let repeats = |text: &str| answers.iter().any(|answer| text.trim() == *answer);
    found.rivals.retain(|(_, rival)| match rival {
        Prompt::Text(text) => !repeats(text),
        Prompt::Turns(_) => true,
    });
    if let Some(Prompt::Turns(turns)) = &mut found.prompt {
        turns.pop_if(|last| last.role == Role::Assistant && repeats(&last.content));
    }
    found.require_one()?;
    if found.prompt.is_none() {
        let pair = whole_texts(chosen, rejected);
        require_no_unread_prompt(row, &pair.pair.prompt, settings)?;
        let Some(system) = found.system else { return Ok(pair) };
        let (mut prompt, [chosen, rejected]) = (pair.pair.prompt, pair.pair.responses);
        add_system(&mut prompt, system)?;
        return Ok(LabelledPair::new(prompt, [chosen, rejected], RawText::None));
    }
    match found.with_system()? {
        Some(prompt) => Ok(prompted(prompt, chosen, rejected)),
        None => Ok(whole_texts(chosen, rejected)),
    }
}

/// Two texts without a prompt: their common beginning, up to the last whitespace, is the prompt.
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

/// Message lists: the answer alone after a prompt, or whole conversations with a common beginning.
fn message_pair(
    row: &mut Row,
    found: FoundPrompt,
    mut chosen: Vec<Message>,
    mut rejected: Vec<Message>,
    settings: &ReadSettings,
) -> Result<LabelledPair, RowProblem> {
    let answer_alone = |turns: &[Message]| turns.first().is_some_and(|turn| turn.role == Role::Assistant);
    if answer_alone(&chosen) && answer_alone(&rejected) {
        return after_prompt(row, found, chosen, rejected, settings);
    }
    // The conversations contain the prompt (UltraFeedback's binarized files have both forms), but not always the system
    // turn or the earlier turns.
    let mut before = Vec::new();
    if let Some(Prompt::Turns(turns)) = &found.prompt {
        let system = turns.first().filter(|first| first.role == Role::System);
        let (head, rest) = turns.split_at(usize::from(system.is_some()));
        let held = |turn: &Message| {
            let same = |own: &Message| own.role == turn.role && own.content.trim() == turn.content.trim();
            chosen.iter().chain(&rejected).any(same)
        };
        if rest.iter().any(held) {
            before.extend_from_slice(head);
        } else if rest.last().is_none_or(|last| last.role != Role::User) {
            before.extend_from_slice(turns);
        }
    }
    for conversation in [&mut chosen, &mut rejected] {
        match before.as_slice() {
            [system] if system.role == Role::System => add_system(conversation, system.content.clone())?,
            turns => drop(conversation.splice(..0, turns.iter().cloned())),
        }
        if let Some(system) = found.system.clone() {
            add_system(conversation, system)?;
        }
    }
    let pair = shared(chosen, rejected, RawText::None)?;
    leave_unread(row, &found, &pair.pair.prompt);
    Ok(pair)
}

/// Answers of the model alone, after the row's prompt.
fn after_prompt(
    row: &Row,
    mut found: FoundPrompt,
    chosen: Vec<Message>,
    rejected: Vec<Message>,
    settings: &ReadSettings,
) -> Result<LabelledPair, RowProblem> {
    let answers = [&chosen, &rejected];
    if let Some(Prompt::Turns(turns)) = &mut found.prompt {
        turns.pop_if(|last| answers.iter().any(|answer| answer.first() == Some(last)));
    }
    found.require_one()?;
    if found.prompt.is_none() {
        require_no_unread_prompt(row, &[], settings)?;
    }
    let Some(prompt) = found.with_system()? else { return Err(RowProblem::NoSharedPrompt) };
    let responses = [answer_text(&chosen), answer_text(&rejected)];
    let mut pair = LabelledPair::new(prompt.into_turns(), responses, RawText::None);
    pair.pair.response_turns = turns_of(chosen, rejected);
    Ok(pair)
}

/// Puts back columns with contents that the pair lacks, so that they are reported as unread.
fn leave_unread(row: &mut Row, found: &FoundPrompt, prompt: &[Message]) {
    let own = found.prompt.as_ref().map(|prompt| (&found.column, prompt));
    for (name, column) in own.into_iter().chain(found.rivals.iter().map(|(name, column)| (name, column))) {
        let held = match column {
            Prompt::Text(text) => says(prompt, text),
            Prompt::Turns(turns) => {
                let mut asked = turns.iter().filter(|turn| turn.role == Role::User);
                asked.all(|turn| says(prompt, &turn.content))
            }
        };
        if !held {
            row.insert(name.clone(), Value::Bool(true));
        }
    }
}

/// Two whole conversations.
pub(super) fn shared(chosen: Vec<Message>, rejected: Vec<Message>, raw: RawText) -> Result<LabelledPair, RowProblem> {
    let SharedPrompt { prompt, responses, turns, differ } = share_prompt(chosen, rejected)?;
    let mut pair = LabelledPair { prompts_differ: differ, ..LabelledPair::new(prompt, responses, raw) };
    pair.pair.response_turns = turns;
    Ok(pair)
}

/// `chosen` or `rejected`: text, one message or a list of messages.
fn read_answer(column: &'static str, value: Value) -> Result<Column, RowProblem> {
    let turns = match value {
        Value::String(text) if text.is_empty() => return Err(RowProblem::EmptyAnswer { column }),
        Value::String(text) => return Ok(Column::Text(text)),
        Value::Array(turns) => conversation(column, turns)?,
        value if is_message(&value) => vec![message(column, value)?],
        other => return Err(RowProblem::WrongType { column, expected: TEXT_OR_TURNS, found: describe(&other) }),
    };
    match turns.last() {
        None => Err(RowProblem::WrongType { column, expected: TEXT_OR_TURNS, found: "an empty list".to_string() }),
        Some(last) if last.content.is_empty() && !calls_tools(last) => Err(RowProblem::EmptyAnswer { column }),
        Some(_) => Ok(Column::Turns(turns)),
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
        read_columns(&mut row(json), &ReadSettings::default()).map(|mut found| found.pairs.remove(0))
    }

    fn pair(json: &str) -> Pair {
        read(json).unwrap().pair
    }

    #[test]
    fn text_and_messages_give_the_same_pair() {
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
    fn the_wrong_column_is_named() {
        let system = r#"[{"role": "narrator", "content": "x"}]"#;
        for (json, message) in [
            (
                r#"{"prompt": "q", "chosen": "a"}"#.to_string(),
                "the row has no `rejected` (its columns: `prompt`, `chosen`)",
            ),
            (r#"{"chosen": 5, "rejected": "b"}"#.to_string(), "`chosen` is the number 5, but text or a list"),
            (r#"{"chosen": "a", "rejected": null}"#.to_string(), "`rejected` is null, but text or"),
            (r#"{"prompt": "q", "chosen": "a", "rejected": ""}"#.to_string(), "the answer in `rejected` is empty"),
            (format!(r#"{{"chosen": {system}, "rejected": {system}}}"#), "`chosen` has a turn of role \"narrator\""),
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
