//! Pairs: a prompt with two answers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The speaker of a turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool that the model called.
    Tool,
}

impl Role {
    /// The name in chat templates: `system`, `user`, `assistant` or `tool`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// The speaker.
    pub role: Role,
    /// The text of the turn; empty where the turn only calls tools.
    pub content: String,
    /// Further fields under their names in the file, for chat templates that render them: `reasoning_content`, `thinking`,
    /// `tool_calls`, `tool_call_id`, `name`. They are serialized beside `role` and `content`. Null fields are left out.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A turn of text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Message { role, content: content.into(), extra: Map::new() }
    }

    /// A turn of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Message::new(Role::User, content)
    }

    /// A turn of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Message::new(Role::Assistant, content)
    }

    /// [`extra`](Self::extra) as JSON, for hashes of messages; `None` if it is empty.
    pub fn extra_json(&self) -> Option<String> {
        (!self.extra.is_empty()).then(|| Value::Object(self.extra.clone()).to_string())
    }
}

/// One of the two answers of a [`Pair`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The first answer.
    A,
    /// The second answer.
    B,
}

impl Side {
    /// The other answer.
    pub fn other(self) -> Self {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }

    /// 0 for A, 1 for B: the answer's index in arrays of two.
    pub fn index(self) -> usize {
        match self {
            Side::A => 0,
            Side::B => 1,
        }
    }
}

/// The number of a pair, unique among the pairs of one run. Two data sets may use the same numbers, so a scorer, learner
/// or judge that serves several sets must not store results by the id alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PairId(pub u64);

/// The texts as the file has them, for templates that use them unchanged (see [`Pair::raw_texts`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawText {
    /// Two whole texts of prompt and answer, A's first (HH-RLHF).
    Whole([String; 2]),
    /// A prompt and two answers as plain text: the raw text is prompt and answer joined without a separator.
    Joined,
    /// Messages, which only a template renders as text.
    None,
}

/// A prompt and two answers, without a label.
///
/// The label, where there is one, is part of a [`Preference`](crate::Preference), so a pool of pairs cannot leak it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The number, unique in the run.
    pub id: PairId,
    /// The conversation before the answers.
    pub prompt: Vec<Message>,
    /// Answer A and answer B as text.
    pub responses: [String; 2],
    /// The turns that follow `prompt`, A's first, where an answer is more than one assistant turn of text: several
    /// turns, a last turn of the user, or a turn with [`Message::extra`] fields. A chat template renders these turns;
    /// everything else uses `responses`, which has the same turns written out as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_turns: Option<Box<[Vec<Message>; 2]>>,
    /// The texts as the file has them.
    pub raw: RawText,
}

impl Pair {
    /// A pair of plain texts.
    pub fn from_text(id: PairId, prompt: impl Into<String>, a: impl Into<String>, b: impl Into<String>) -> Self {
        Pair {
            id,
            prompt: vec![Message::user(prompt)],
            responses: [a.into(), b.into()],
            response_turns: None,
            raw: RawText::Joined,
        }
    }

    /// The answer of one side.
    pub fn response(&self, side: Side) -> &str {
        match side {
            Side::A => &self.responses[0],
            Side::B => &self.responses[1],
        }
    }

    /// The turns of one side that follow the prompt: its [`response_turns`](Self::response_turns), or its response as
    /// one assistant turn.
    pub fn turns(&self, side: Side) -> Cow<'_, [Message]> {
        match &self.response_turns {
            Some(turns) => {
                let [a, b] = turns.as_ref();
                Cow::Borrowed(if side == Side::A { a } else { b })
            }
            None => Cow::Owned(vec![Message::assistant(self.response(side))]),
        }
    }

    /// The two whole texts as the file has them, A's first; `None` where the file has messages.
    pub fn raw_texts(&self) -> Option<[Cow<'_, str>; 2]> {
        match &self.raw {
            RawText::Whole([a, b]) => Some([Cow::Borrowed(a), Cow::Borrowed(b)]),
            RawText::Joined => {
                let prompt: String = self.prompt.iter().map(|message| message.content.as_str()).collect();
                let [a, b] = &self.responses;
                Some([Cow::Owned(format!("{prompt}{a}")), Cow::Owned(format!("{prompt}{b}"))])
            }
            RawText::None => None,
        }
    }

    /// The same pair with A and B swapped.
    pub fn swapped(self) -> Self {
        let [a, b] = self.responses;
        let raw = match self.raw {
            RawText::Whole([a, b]) => RawText::Whole([b, a]),
            other => other,
        };
        let response_turns = self.response_turns.map(|turns| {
            let [a, b] = *turns;
            Box::new([b, a])
        });
        Pair { responses: [b, a], response_turns, raw, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_text_joins_prompt_and_answer() {
        let pair = Pair::from_text(PairId(1), "Why? ", "So.", "No.");
        let [a, b] = pair.raw_texts().unwrap();
        assert_eq!((a.as_ref(), b.as_ref()), ("Why? So.", "Why? No."));
    }

    #[test]
    fn extra_fields_are_serialized_beside_role_and_content() {
        let json = r#"{"role":"assistant","content":"4","reasoning_content":"Add."}"#;
        let message: Message = serde_json::from_str(json).unwrap();
        assert_eq!((message.role, message.extra["reasoning_content"].as_str()), (Role::Assistant, Some("Add.")));
        assert_eq!(serde_json::to_string(&message).unwrap(), json);
        assert_eq!(message.extra_json().unwrap(), r#"{"reasoning_content":"Add."}"#);
        assert_eq!(serde_json::to_string(&Message::user("q")).unwrap(), r#"{"role":"user","content":"q"}"#);
        assert_eq!(Message::user("q").extra_json(), None);
    }

    #[test]
    fn swapping_twice_changes_nothing() {
        let mut pair = Pair::from_text(PairId(1), "q", "a", "b");
        pair.raw = RawText::Whole(["qa".into(), "qb".into()]);
        assert_eq!(pair.turns(Side::B).as_ref(), [Message::assistant("b")]);
        pair.response_turns = Some(Box::new([vec![Message::user("a")], vec![Message::user("b")]]));
        let swapped = pair.clone().swapped();
        assert_eq!(swapped.response(Side::A), "b");
        assert_eq!(swapped.turns(Side::A).as_ref(), [Message::user("b")]);
        assert_eq!(swapped.raw, RawText::Whole(["qb".into(), "qa".into()]));
        assert_eq!(swapped.swapped(), pair);
    }
}
