//! What a reply of the endpoint means.

use serde::Deserialize;
use serde_json::Value;

use super::cache::Answer;
use super::{Reply, Transport};

/// How a request ended.
pub(super) enum Outcome {
    /// With an answer, readable or not.
    Answered(Answer),
    /// With none; other requests may have one.
    Unanswered { reason: String },
    /// With none, in a way that says the endpoint as a whole does not answer now.
    Down { reason: String },
    /// With a reply that every other request will get too.
    Refused { status: u16, reason: String },
    /// Not at all, as the work was stopped.
    Stopped,
}

/// Longest excerpt of an endpoint's words in a message, in characters.
const EXCERPT: usize = 200;

/// Sends a request once. An `Err` may be tried again, after as many seconds as come with it; it is how the request ends if
/// it is not.
pub(super) fn outcome(transport: &dyn Transport, body: &str) -> (Result<Outcome, Outcome>, Option<f64>) {
    let reply = match transport.post(body) {
        Ok(reply) => reply,
        Err(no_reply) => return (Err(Outcome::Down { reason: transport.redact(no_reply.reason) }), None),
    };
    let reason = |what: &str| {
        let said = transport.redact(complaint(&reply.body));
        if said.is_empty() { what.to_owned() } else { format!("{what}: {said}") }
    };
    let status = format!("status {}", reply.status);
    let result = match reply.status {
        200..=299 => match completion(&reply) {
            Some(answer) => Ok(Outcome::Answered(Answer { answer: transport.redact(answer.answer), ..answer })),
            None => Err(Outcome::Unanswered { reason: reason("the reply is no chat completion") }),
        },
        // A redirect, a bad key, or nothing there.
        300..=399 | 401..=405 => Ok(Outcome::Refused { status: reply.status, reason: reason(&status) }),
        429 | 502..=504 => Err(Outcome::Down { reason: reason(&status) }),
        408 | 425 | 500.. => Err(Outcome::Unanswered { reason: reason(&status) }),
        _ => Ok(Outcome::Unanswered { reason: reason(&status) }),
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
}

#[derive(Deserialize)]
struct ChoiceMessage {
    /// Null where the model said nothing (a filter, all tokens spent on thought).
    content: Option<String>,
}

/// The answer and the token counts of a chat completion; none if the body is not one.
fn completion(reply: &Reply) -> Option<Answer> {
    let Completion { choices, usage } = serde_json::from_str(&reply.body).ok()?;
    let tokens = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or(0);
    Some(Answer {
        answer: choices.into_iter().next()?.message.content.unwrap_or_default(),
        prompt_tokens: tokens("prompt_tokens"),
        completion_tokens: tokens("completion_tokens"),
    })
}

/// What a body complains of, in one line: the message of its error, or its beginning.
fn complaint(body: &str) -> String {
    let value: Value = serde_json::from_str(body).unwrap_or_default();
    let error = value.get("error");
    let message = error.and_then(|error| error.get("message").unwrap_or(error).as_str()).unwrap_or(body);
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}\u{2026}", line.get(..end).unwrap_or_default()),
        None => line,
    }
}
