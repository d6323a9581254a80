//! Classification of the endpoint's replies.

use serde::Deserialize;
use serde_json::Value;

use super::cache::Answer;
use super::{Reply, Transport};

/// How a request ended.
#[derive(Debug)]
pub(super) enum RequestOutcome {
    /// With an answer, readable or not.
    Answered(Answer),
    /// Without an answer; other requests may have one.
    Unanswered { reason: String },
    /// Without an answer, in a way that shows that the endpoint is down.
    Down { reason: String },
    /// With a reply that every other request will also get.
    Refused { status: u16, reason: String },
    /// Not sent, as the work was stopped.
    Stopped,
}

/// Longest excerpt of an endpoint's text in a message, in characters.
const EXCERPT: usize = 200;

/// Sends a request once. An `Err` may be retried after the given number of seconds; without a retry it is the request's
/// outcome.
pub(super) fn outcome(transport: &dyn Transport, body: &str) -> (Result<RequestOutcome, RequestOutcome>, Option<f64>) {
    let reply = match transport.post(body) {
        Ok(reply) => reply,
        Err(no_reply) => return (Err(RequestOutcome::Down { reason: transport.redact(no_reply.reason) }), None),
    };
    let reason = |what: &str| {
        let said = transport.redact(complaint(&reply.body));
        if said.is_empty() { what.to_owned() } else { format!("{what}: {said}") }
    };
    let status = format!("status {}", reply.status);
    let result = match reply.status {
        200..=299 => match completion(&reply) {
            Some(answer) => Ok(RequestOutcome::Answered(Answer { answer: transport.redact(answer.answer), ..answer })),
            None => Err(RequestOutcome::Unanswered { reason: reason("the reply is not a chat completion") }),
        },
        // A redirect, a bad key, or a wrong address.
        300..=399 | 401..=405 => Ok(RequestOutcome::Refused { status: reply.status, reason: reason(&status) }),
        429 | 502..=504 => Err(RequestOutcome::Down { reason: reason(&status) }),
        408 | 425 | 500.. => Err(RequestOutcome::Unanswered { reason: reason(&status) }),
        _ => Ok(RequestOutcome::Unanswered { reason: reason(&status) }),
    };
    (result, reply.retry_after)
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Choice {
    message: ChoiceMessage,
    /// `length` if the token limit ended the answer.
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct ChoiceMessage {
    /// A text or a list of parts; null if the model said nothing (a filter, or all tokens spent on thoughts).
    #[serde(default)]
    content: Value,
}

/// The answer and the token counts of a chat completion; none if the body is not one.
fn completion(reply: &Reply) -> Option<Answer> {
    let Completion { choices, usage } = serde_json::from_str(&reply.body).ok()?;
    let tokens = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
    let Choice { message, finish_reason } = choices.into_iter().next()?;
    Some(Answer {
        answer: text(&message.content),
        prompt_tokens: tokens("prompt_tokens"),
        completion_tokens: tokens("completion_tokens"),
        cut: finish_reason.is_some_and(|reason| matches!(reason.as_str(), "length" | "max_tokens")),
    })
}

/// The text of a message's content: a string, a list of parts, or one part. Parts with thoughts are left out.
fn text(content: &Value) -> String {
    match content {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().map(text).collect(),
        Value::Object(part) => {
            let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
            let thought = ["think", "reason", "redacted"].iter().any(|name| kind.contains(name));
            // Some servers send `{"text": {"value": "..."}}`.
            let inner = part.get("text").or_else(|| part.get("content")).or_else(|| part.get("value"));
            inner.filter(|_| !thought).map(text).unwrap_or_default()
        }
        other => other.to_string(),
    }
}

/// The error message of a body in one line, or the start of the body.
fn complaint(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let error = value.get("error");
    let message = error.and_then(|error| error.get("message").unwrap_or(error).as_str()).unwrap_or(body);
    excerpt(message)
}

/// The start of a text, in one line.
pub(super) fn excerpt(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}\u{2026}", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(content: &Value) -> Option<String> {
        let body = serde_json::json!({"choices": [{"message": {"role": "assistant", "content": content}}]});
        completion(&Reply { status: 200, retry_after: None, body: body.to_string() }).map(|answer| answer.answer)
    }

    #[test]
    fn content_is_a_text_or_parts() {
        use serde_json::json;
        for (content, text) in [
            (json!("Score: 4"), "Score: 4"),
            (json!(null), ""),
            (json!([{"type": "text", "text": "Score: "}, {"type": "text", "text": "4"}]), "Score: 4"),
            (json!([{"type": "output_text", "text": "Score: 4", "annotations": []}]), "Score: 4"),
            (
                json!([{"type": "thinking", "thinking": [{"type": "text", "text": "Score: 2"}]}, {"type": "text", "text": "Score: 4"}]),
                "Score: 4",
            ),
            (json!([{"type": "reasoning", "text": "Score: 2"}, "Score: 4"]), "Score: 4"),
            (json!({"type": "text", "text": {"value": "Score: 4"}}), "Score: 4"),
            (json!([]), ""),
            (json!(4), "4"),
        ] {
            assert_eq!(answer(&content).as_deref(), Some(text), "{content}");
        }
    }

    #[test]
    fn a_reply_at_the_token_limit_is_known_as_such() {
        let cut = |reason: &str| {
            let body = format!("{{\"choices\": [{{\"message\": {{}}, \"finish_reason\": {reason}}}]}}");
            completion(&Reply { status: 200, retry_after: None, body }).map(|answer| (answer.cut, answer.answer))
        };
        assert_eq!(cut("\"length\""), Some((true, String::new())));
        assert_eq!(cut("\"stop\""), Some((false, String::new())));
        assert_eq!(cut("null"), Some((false, String::new())));
    }
}
