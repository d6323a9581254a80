//! A question with two answers.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Who speaks in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions that stand above the conversation.
    System,
    /// The person who asks.
    User,
    /// The model that answers.
    Assistant,
}

impl Role {
    /// The name that chat templates know: `system`, `user` or `assistant`.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of the person who asks.
    pub fn user(content: impl Into<String>) -> Self {
        Message { role: Role::User, content: content.into() }
    }

    /// A turn of the model.
    pub fn assistant(content: impl Into<String>) -> Self {
        Message { role: Role::Assistant, content: content.into() }
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

    /// 0 for A, 1 for B: the answer's place in arrays of two.
    pub fn index(self) -> usize {
        match self {
            Side::A => 0,
            Side::B => 1,
        }
    }
}

/// A pair's number, unique among the pairs of one run. Two data sets may use the same numbers: a scorer, a learner or a
/// judge must not keep what it knows of a pair under its id alone, as it may be asked about several sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PairId(pub u64);

/// What the file held, for those who want its texts untouched (see [`Pair::raw_texts`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RawText {
    /// Two whole texts, prompt and answer in one, A's first (HH-RLHF).
    Whole([String; 2]),
    /// A prompt and two answers as plain text: the raw text is prompt and answer joined with nothing between.
    Joined,
    /// Messages: only a template makes text of them.
    None,
}

/// A question and two answers, with no word on which is better.
///
/// The label, where there is one, stands in a [`Preference`](crate::Preference); a pool of pairs
/// therefore cannot leak it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// Unique in the run.
    pub id: PairId,
    /// The conversation so far; the answers come next.
    pub prompt: Vec<Message>,
    /// Answer A and answer B.
    pub responses: [String; 2],
    /// The texts as the file had them.
    pub raw: RawText,
}

impl Pair {
    /// A pair of plain texts.
    pub fn from_text(id: PairId, prompt: impl Into<String>, a: impl Into<String>, b: impl Into<String>) -> Self {
        Pair { id, prompt: vec![Message::user(prompt)], responses: [a.into(), b.into()], raw: RawText::Joined }
    }

    /// The answer of one side.
    pub fn response(&self, side: Side) -> &str {
        match side {
            Side::A => &self.responses[0],
            Side::B => &self.responses[1],
        }
    }

    /// The two whole texts as they stood in the file, A's first; `None` where the file held messages.
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

    /// The same pair with A and B changed about.
    pub fn swapped(self) -> Self {
        let [a, b] = self.responses;
        let raw = match self.raw {
            RawText::Whole([a, b]) => RawText::Whole([b, a]),
            other => other,
        };
        Pair { responses: [b, a], raw, ..self }
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
    fn swapping_twice_changes_nothing() {
        let mut pair = Pair::from_text(PairId(1), "q", "a", "b");
        pair.raw = RawText::Whole(["qa".into(), "qb".into()]);
        let swapped = pair.clone().swapped();
        assert_eq!(swapped.response(Side::A), "b");
        assert_eq!(swapped.raw, RawText::Whole(["qb".into(), "qa".into()]));
        assert_eq!(swapped.swapped(), pair);
    }
}
