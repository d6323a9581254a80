//! Finds the prompt columns of a row with `chosen` and `rejected`.

use ser_core::{Message, Role};
use serde_json::Value;

use super::fields::{Row, take_optional_text, wrong};
use super::messages::{conversation, is_message, message};
use super::verdicts::with_input;
use crate::RowProblem;
use crate::read::describe::describe;
use crate::read::settings::ReadSettings;

/// Columns that contain the prompt as text or as messages, in order of precedence.
pub(crate) const PROMPT_COLUMNS: [&str; 18] = [
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "user",
    "user_prompt",
    "user_input",
    "instruction_text",
    "post",
    "text",
    "messages",
    "conversations",
    "conversation",
    "context",
    "context_messages",
    "dialogue",
    "trajectory",
];

/// Columns among them that often name a person, a post or a document instead.
const OFTEN_IDENTIFIERS: [&str; 6] = ["user", "post", "text", "context", "dialogue", "conversation"];

/// Columns with a system prompt.
pub(crate) const SYSTEM_COLUMNS: [&str; 3] = ["system", "system_prompt", "system_message"];

/// Earlier turns, which precede the prompt.
pub(crate) const HISTORY: &str = "history";

/// The prompt of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// One text.
    Text(String),
    /// Messages, including a system turn if the row has one.
    Turns(Vec<Message>),
}

impl Prompt {
    pub(crate) fn into_turns(self) -> Vec<Message> {
        match self {
            Prompt::Text(text) => vec![Message::user(text)],
            Prompt::Turns(turns) => turns,
        }
    }
}

/// The prompt columns of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FoundPrompt {
    /// The text of the row's system column, unless it is blank.
    pub(crate) system: Option<String>,
    /// The prompt without the system text.
    pub(crate) prompt: Option<Prompt>,
    /// The column of the prompt.
    pub(crate) column: String,
    /// Columns with an identifier under a prompt's name, such as `user`.
    identifiers: Vec<String>,
    /// Further candidates for the prompt with different contents.
    pub(crate) rivals: Vec<(String, Prompt)>,
}

impl FoundPrompt {
    /// Refuses a row with several candidates for the prompt.
    pub(crate) fn require_one(&self) -> Result<(), RowProblem> {
        if self.rivals.is_empty() {
            return Ok(());
        }
        let rivals = self.rivals.iter().map(|(name, _)| name);
        let columns = std::iter::once(&self.column).chain(rivals).map(|name| format!("`{name}`"));
        Err(RowProblem::SeveralPrompts { columns: columns.collect::<Vec<_>>().join(" and ") })
    }

    /// The prompt with its system turn.
    pub(crate) fn with_system(self) -> Result<Option<Prompt>, RowProblem> {
        let Some(system) = self.system else { return Ok(self.prompt) };
        let mut turns = self.prompt.map_or_else(Vec::new, Prompt::into_turns);
        add_system(&mut turns, system)?;
        Ok(Some(Prompt::Turns(turns)))
    }
}

/// Inserts a system turn before a conversation without one.
///
/// # Errors
/// A conversation that begins with a different system turn.
pub(crate) fn add_system(turns: &mut Vec<Message>, system: String) -> Result<(), RowProblem> {
    match turns.first() {
        Some(first) if first.role == Role::System => {
            if first.content.trim() == system.trim() {
                Ok(())
            } else {
                Err(RowProblem::TwoSystems)
            }
        }
        _ => {
            turns.insert(0, Message::new(Role::System, system));
            Ok(())
        }
    }
}

/// Takes the prompt out of a row.
///
/// `prompt_column` of the settings selects it; otherwise it is the first of [`PROMPT_COLUMNS`] with a value.
/// `instruction` and `input` are joined; `history` precedes the prompt, and so does a list of messages that ends with
/// the model's turn before a text that it does not contain. Null columns count as missing, and so do blank ones beside
/// others.
pub(crate) fn take_prompt(row: &mut Row, settings: &ReadSettings) -> Result<FoundPrompt, RowProblem> {
    let ignored = |name: &str| settings.ignore_columns.iter().any(|ignored| ignored == name);
    let mut found = FoundPrompt::default();
    for name in SYSTEM_COLUMNS {
        if !ignored(name)
            && settings.prompt_column.as_deref() != Some(name)
            && found.system.is_none()
            && let Some(text) = take_optional_text(row, name)?
        {
            found.system = Some(text).filter(|text| !text.trim().is_empty());
        }
    }
    if let Some(column) = &settings.prompt_column {
        found.prompt = Some(named_prompt(row, column)?);
        found.column.clone_from(column);
    } else {
        let mut all = Vec::new();
        for name in PROMPT_COLUMNS.into_iter().filter(|name| !ignored(name)) {
            if let Some(prompt) = candidate(row, name)? {
                all.push((name, prompt));
            }
        }
        choose(all, &mut found);
        // They stay in the row, so that they are reported as unread.
        row.extend(found.identifiers.iter().map(|name| (name.clone(), Value::Bool(true))));
    }
    if !ignored(HISTORY)
        && settings.prompt_column.as_deref() != Some(HISTORY)
        && let Some(mut turns) = history(row, found.prompt.is_some())?
    {
        found.prompt = Some(match found.prompt.take() {
            None => {
                found.column = HISTORY.to_string();
                Prompt::Turns(turns)
            }
            Some(Prompt::Text(text)) if turns.last() == Some(&Message::user(text.as_str())) => Prompt::Turns(turns),
            Some(Prompt::Turns(prompt)) if prompt.starts_with(&turns) => Prompt::Turns(prompt),
            Some(prompt) => {
                turns.extend(prompt.into_turns());
                Prompt::Turns(turns)
            }
        });
    }
    Ok(found)
}

/// The column that the settings select.
fn named_prompt(row: &mut Row, column: &str) -> Result<Prompt, RowProblem> {
    let of_column =
        |problem: RowProblem| RowProblem::PromptColumn { column: column.to_string(), problem: problem.to_string() };
    let bad = |problem: &str| RowProblem::PromptColumn { column: column.to_string(), problem: problem.to_string() };
    match row.remove(column) {
        None => Err(bad("the row does not have it")),
        Some(Value::String(text)) => Ok(Prompt::Text(text)),
        Some(Value::Array(items)) if !items.is_empty() => {
            if items.iter().all(Value::is_array) {
                return Ok(Prompt::Turns(exchanges("prompt", items).map_err(of_column)?));
            }
            Ok(Prompt::Turns(conversation("prompt", items).map_err(of_column)?))
        }
        Some(value) if is_message(&value) => Ok(Prompt::Turns(vec![message("prompt", value).map_err(of_column)?])),
        Some(other) => Err(bad(&format!("it is {}, but text or a list of messages is expected", describe(&other)))),
    }
}

/// Takes a column if it can be the prompt; `prompt` itself must be one.
fn candidate(row: &mut Row, name: &'static str) -> Result<Option<Prompt>, RowProblem> {
    const TEXT_OR_TURNS: &str = "text or a list of messages (`role`, `content`)";
    Ok(match row.remove(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(Prompt::Text(text)),
        Some(Value::Array(items)) if items.is_empty() && name != "prompt" => None,
        Some(Value::Array(items)) if items.iter().any(is_message) || (name == "prompt" && !items.is_empty()) => {
            Some(Prompt::Turns(conversation(name, items)?))
        }
        Some(value) if is_message(&value) => Some(Prompt::Turns(vec![message(name, value)?])),
        Some(Value::Array(_)) if name == "prompt" => {
            return Err(RowProblem::WrongType {
                column: name,
                expected: TEXT_OR_TURNS,
                found: "an empty list".to_string(),
            });
        }
        Some(other) if name == "prompt" => return Err(wrong(name, TEXT_OR_TURNS, &other)),
        // Another value under the name: it stays unread.
        Some(other) => {
            row.insert(name.to_string(), other);
            None
        }
    })
}

/// Chooses among candidates in order of precedence.
fn choose(mut all: Vec<(&'static str, Prompt)>, found: &mut FoundPrompt) {
    let blank = |prompt: &Prompt| matches!(prompt, Prompt::Text(text) if text.trim().is_empty());
    // A blank text is the prompt only if there is no other.
    if all.iter().any(|(_, prompt)| !blank(prompt)) {
        all.retain(|(_, prompt)| !blank(prompt));
    } else {
        all.truncate(1);
    }
    let identifier = |name: &str, prompt: &Prompt| matches!(prompt, Prompt::Text(text) if OFTEN_IDENTIFIERS.contains(&name) && is_identifier(text));
    if all.iter().any(|(name, prompt)| !identifier(name, prompt)) {
        let identifiers = all.extract_if(.., |(name, prompt)| identifier(name, prompt));
        found.identifiers.extend(identifiers.map(|(name, _)| name.to_string()));
    }
    let input = all.iter().position(|(name, prompt)| *name == "input" && matches!(prompt, Prompt::Text(_)));
    let has_instruction = all.iter().any(|(name, prompt)| *name == "instruction" && matches!(prompt, Prompt::Text(_)));
    let input = input.filter(|_| has_instruction).map(|at| all.remove(at).1);
    let mut text: Option<(&str, String)> = None;
    let mut list: Option<(&str, Vec<Message>)> = None;
    for (name, prompt) in all {
        match (prompt, &mut text, &mut list) {
            (Prompt::Text(new), None, _) => {
                let joined = match &input {
                    Some(Prompt::Text(input)) if name == "instruction" => with_input(new, Some(input.clone())),
                    _ => new,
                };
                text = Some((name, joined));
            }
            // One of them may be the other with a template around it.
            (Prompt::Text(new), Some((_, text)), _) if contain(text, &new) => {}
            (Prompt::Turns(new), _, None) => list = Some((name, new)),
            (Prompt::Turns(new), _, Some((_, turns))) if new.iter().all(|turn| says(turns, &turn.content)) => {}
            (Prompt::Turns(new), _, Some((column, turns))) if turns.iter().all(|turn| says(&new, &turn.content)) => {
                (*column, *turns) = (name, new);
            }
            (other, ..) => found.rivals.push((name.to_string(), other)),
        }
    }
    let (column, prompt) = match (text, list) {
        (None, None) => return,
        (Some((name, text)), None) => (name, Prompt::Text(text)),
        (None, Some((name, turns))) => (name, Prompt::Turns(turns)),
        (Some((_, text)), Some((name, turns))) if says(&turns, &text) => (name, Prompt::Turns(turns)),
        (Some((name, text)), Some((_, mut turns))) if turns.last().is_none_or(|last| last.role != Role::User) => {
            turns.push(Message::user(text));
            (name, Prompt::Turns(turns))
        }
        (Some((name, text)), Some((other, turns))) => {
            found.rivals.push((other.to_string(), Prompt::Turns(turns)));
            (name, Prompt::Text(text))
        }
    };
    found.column = column.to_string();
    found.prompt = Some(prompt);
}

/// Whether a text is a single ASCII word, as identifiers and labels are; languages without spaces are not ASCII.
pub(crate) fn is_identifier(text: &str) -> bool {
    !text.trim().contains(char::is_whitespace) && !text.chars().any(|c| c.is_alphabetic() && !c.is_ascii())
}

/// Whether one text contains the other.
fn contain(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim(), b.trim());
    a.contains(b) || b.contains(a)
}

/// Whether a turn of a conversation contains a text.
pub(crate) fn says(turns: &[Message], text: &str) -> bool {
    turns.iter().any(|turn| turn.content.contains(text.trim()))
}

/// Takes `history`: messages, or exchanges of a question and an answer. Text is read if there is no other prompt.
fn history(row: &mut Row, has_prompt: bool) -> Result<Option<Vec<Message>>, RowProblem> {
    match row.remove(HISTORY) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) if items.is_empty() => Ok(None),
        Some(Value::Array(items)) if items.iter().any(is_message) => conversation(HISTORY, items).map(Some),
        Some(Value::Array(items)) => exchanges("history[]", items).map(Some),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) if !has_prompt => Ok(Some(vec![Message::user(text)])),
        Some(other) => Err(wrong(HISTORY, "a list of messages, or of questions with their answers,", &other)),
    }
}

/// Lists of a question and its answer.
fn exchanges(column: &'static str, items: Vec<Value>) -> Result<Vec<Message>, RowProblem> {
    let mut turns = Vec::with_capacity(2 * items.len());
    for item in items {
        match item.as_array().map(Vec::as_slice) {
            Some([Value::String(question), Value::String(answer)]) => {
                turns.extend([Message::user(question), Message::assistant(answer)]);
            }
            _ => return Err(wrong(column, "a list of question and answer", &item)),
        }
    }
    Ok(turns)
}
