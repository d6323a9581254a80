//! Messages of conversations in the forms of chat datasets.

use ser_core::{Message, Role};
use serde_json::{Map, Value};

use crate::RowProblem;
use crate::read::describe::{beginning, describe};

/// Names of the speaker's field and of the text's field: OpenAI's, ShareGPT's, and Gemini's `parts`.
const SPEAKER: [&str; 2] = ["role", "from"];
const TEXT: [&str; 4] = ["content", "value", "text", "parts"];

/// Fields that chat templates render besides role and content; other fields are not read.
const EXTRA: [&str; 8] =
    ["reasoning_content", "reasoning", "thinking", "tool_calls", "tool_call_id", "function_call", "tool_plan", "name"];

const EXPECTED: &str = "a list of messages (`role` and `content`, or `from` and `value`)";

/// Whether a value is an object that names a speaker.
pub(crate) fn is_message(value: &Value) -> bool {
    value.as_object().is_some_and(|object| SPEAKER.iter().any(|name| object.contains_key(*name)))
}

/// The fields of a column's messages that are not read.
pub(crate) fn unread_fields(value: &Value) -> Vec<&str> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        other => std::slice::from_ref(other),
    };
    let fields = items.iter().filter(|item| is_message(item)).filter_map(Value::as_object).flatten();
    let is_read = |name: &&str| [&SPEAKER[..], &TEXT, &EXTRA].into_iter().flatten().any(|read| read == name);
    fields.filter(|(_, value)| !value.is_null()).map(|(name, _)| name.as_str()).filter(|name| !is_read(name)).collect()
}

/// The messages of a list.
pub(crate) fn conversation(column: &'static str, items: Vec<Value>) -> Result<Vec<Message>, RowProblem> {
    items.into_iter().map(|item| message(column, item)).collect()
}

/// One message: a speaker in `role` or `from`, and text, or a list of text parts, in `content` or `value`. A message
/// with tool calls needs no text.
///
/// # Errors
/// A value that is not an object; an unknown speaker; content other than text, such as an image.
pub(crate) fn message(column: &'static str, value: Value) -> Result<Message, RowProblem> {
    let Value::Object(mut fields) = value else {
        let found = format!("a list with {}", describe(&value));
        return Err(RowProblem::WrongType { column, expected: EXPECTED, found });
    };
    let role = match SPEAKER.iter().find_map(|name| fields.remove(*name)) {
        Some(Value::String(name)) => role_named(&name)
            .ok_or_else(|| RowProblem::UnknownRole { column, found: format!("{:?}", beginning(&name)) })?,
        Some(other) => return Err(RowProblem::UnknownRole { column, found: describe(&other) }),
        None => {
            let found = "a list with a message that has neither".to_string();
            return Err(RowProblem::WrongType { column, expected: "`role` or `from` in every message", found });
        }
    };
    let mut message = Message::new(role, "");
    let text = TEXT.iter().find_map(|name| fields.remove(*name).map(|value| (*name, value)));
    for name in EXTRA {
        match fields.remove(name) {
            None | Some(Value::Null) => {}
            Some(Value::Array(items)) if items.is_empty() => {}
            Some(value) => drop(message.extra.insert(name.to_string(), value)),
        }
    }
    let (name, value) = text.unwrap_or(("content", Value::Null));
    match value {
        Value::String(text) => message.content = text,
        Value::Null if calls_tools(&message) => {}
        Value::Array(parts) => {
            for part in parts {
                add_part(column, &mut message, part)?;
            }
        }
        // A single part that is not in a list.
        part @ Value::Object(_) => add_part(column, &mut message, part)?,
        other => {
            let found = format!("a list with a message whose {name} is {}", describe(&other));
            return Err(RowProblem::WrongType { column, expected: "text in every message", found });
        }
    }
    Ok(message)
}

/// Whether a message has tool calls.
pub(crate) fn calls_tools(message: &Message) -> bool {
    ["tool_calls", "function_call"].iter().any(|name| message.extra.contains_key(*name))
}

/// Appends a part of a message's content. Text parts are joined without a separator, as chat templates do; a part with
/// thoughts becomes the field `thinking`.
fn add_part(column: &'static str, message: &mut Message, part: Value) -> Result<(), RowProblem> {
    let unreadable = |found: String| RowProblem::WrongType { column, expected: "text in every message", found };
    let mut part = match part {
        Value::String(text) => {
            message.content.push_str(&text);
            return Ok(());
        }
        Value::Object(part) => part,
        other => return Err(unreadable(format!("a list with a message that has {} as a part", describe(&other)))),
    };
    let kind = take_string(&mut part, "type").unwrap_or_else(|| "text".to_string());
    match (kind.as_str(), take_string(&mut part, "text"), take_string(&mut part, "thinking")) {
        ("text" | "input_text" | "output_text", Some(text), _) => message.content.push_str(&text),
        ("thinking", _, Some(thoughts)) | ("reasoning", Some(thoughts), _) => {
            let field = message.extra.entry("thinking").or_insert_with(|| Value::String(String::new()));
            if let Value::String(text) = field {
                text.push_str(&thoughts);
            }
        }
        _ => return Err(unreadable(format!("a list with a message that has a part of type {:?}", beginning(&kind)))),
    }
    Ok(())
}

fn take_string(part: &mut Map<String, Value>, name: &str) -> Option<String> {
    match part.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// The speaker of a name, in upper or lower case. `developer` is OpenAI's later name of the system turn, which most
/// templates do not know; `model` is Gemini's name of the assistant, `prompter` Open Assistant's name of the user.
fn role_named(name: &str) -> Option<Role> {
    match name.trim().to_ascii_lowercase().as_str() {
        "system" | "developer" => Some(Role::System),
        "user" | "human" | "prompter" => Some(Role::User),
        "assistant" | "gpt" | "model" | "bot" | "chatbot" | "chatgpt" | "ai" => Some(Role::Assistant),
        "tool" | "function" | "ipython" | "observation" => Some(Role::Tool),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Message, String> {
        message("chosen", value).map_err(|problem| problem.to_string())
    }

    #[test]
    fn speakers_have_many_names() {
        for (name, role) in [
            ("system", Role::System),
            ("developer", Role::System),
            ("Human", Role::User),
            ("USER", Role::User),
            ("prompter", Role::User),
            ("ASSISTANT", Role::Assistant),
            ("bot", Role::Assistant),
            ("model", Role::Assistant),
            ("chatbot", Role::Assistant),
            ("tool", Role::Tool),
        ] {
            let expected = Message::new(role, "x");
            assert_eq!(read(json!({"role": name, "content": "x"})), Ok(expected.clone()));
            assert_eq!(read(json!({"from": name, "value": "x", "weight": 1})), Ok(expected));
        }
        let error = read(json!({"role": "narrator", "content": "x"})).unwrap_err();
        assert!(error.contains("a turn of role \"narrator\", but"), "{error}");
    }

    #[test]
    fn parts_of_text_are_joined_and_others_refused() {
        let part = |kind: &str, text: &str| json!({"type": kind, "text": text, "image_url": null});
        let parts = json!({"role": "user", "content": [part("text", "He"), part("input_text", "llo"), "!"]});
        assert_eq!(read(parts), Ok(Message::user("Hello!")));
        assert_eq!(read(json!({"role": "model", "parts": [{"text": "Hi"}]})), Ok(Message::assistant("Hi")));
        let thoughts =
            json!({"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"}, part("text", "a")]});
        let found = read(thoughts).unwrap();
        assert_eq!((found.content.as_str(), &found.extra["thinking"]), ("a", &json!("hm")));
        for (content, said) in [
            (json!([{"type": "image_url", "image_url": {}}]), "has a part of type \"image_url\", but text"),
            (json!([5]), "has the number 5 as a part"),
            (json!(5), "whose content is the number 5"),
            (json!(null), "whose content is null"),
        ] {
            let error = read(json!({"role": "user", "content": content})).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn fields_that_templates_render_are_kept() {
        let calls = json!([{"type": "function", "function": {"name": "w", "arguments": {}}}]);
        let found = read(json!({"role": "assistant", "content": null, "tool_calls": calls, "name": null})).unwrap();
        assert_eq!((found.content.as_str(), found.extra.len(), &found.extra["tool_calls"]), ("", 1, &calls));
        let found = read(json!({"role": "assistant", "content": "4", "reasoning_content": "Add."})).unwrap();
        assert_eq!(found.extra["reasoning_content"], json!("Add."));
        let none = read(json!({"role": "assistant", "content": null, "tool_calls": []}));
        assert!(none.unwrap_err().contains("content is null"));
    }
}
