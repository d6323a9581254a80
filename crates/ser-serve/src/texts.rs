//! The texts of a request as pairs.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use ser_core::{Message, Pair, PairId, PairScores, RawText, Role};
use serde::Deserialize;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, SeqAccess, Visitor};

/// The text of a pair that stands for one whole text, already written by a template; `None` for any other pair.
///
/// `/get_reward` and `/classify` take such texts. Their pairs have no prompt, and [`RawText::Whole`] with the text twice. A
/// scorer with the raw template needs no special case.
pub fn whole_text(pair: &Pair) -> Option<&str> {
    match &pair.raw {
        RawText::Whole([text, other]) if pair.prompt.is_empty() && text == other => Some(text),
        _ => None,
    }
}

/// A prompt, or the turns before the answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Prompt {
    Text(String),
    Turns(Vec<Message>),
}

/// One or several of something.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl OneOrMany {
    pub(crate) fn into_vec(self) -> Vec<String> {
        match self {
            OneOrMany::One(text) => vec![text],
            OneOrMany::Many(texts) => texts,
        }
    }
}

/// A value that is a text or a list.
struct TextOr<T, L> {
    text: fn(String) -> T,
    list: fn(Vec<L>) -> T,
    expecting: &'static str,
    of: PhantomData<L>,
}

impl<'de, T, L: Deserialize<'de>> Visitor<'de> for TextOr<T, L> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok((self.text)(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list)).map(self.list)
    }
}

impl<'de> Deserialize<'de> for Prompt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a text or a list of messages";
        deserializer.deserialize_any(TextOr { text: Prompt::Text, list: Prompt::Turns, expecting, of: PhantomData })
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expecting = "a text or a list of texts";
        deserializer.deserialize_any(TextOr { text: OneOrMany::One, list: OneOrMany::Many, expecting, of: PhantomData })
    }
}

/// The pairs of a request, and where their scores belong.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    pub(crate) pairs: Vec<Arc<Pair>>,
    /// The index of each pair's first text in the request.
    first: Vec<usize>,
    /// Number of texts of each group.
    groups: Vec<usize>,
    count: usize,
    next_id: u64,
}

impl Texts {
    /// No texts yet; ids count from `next_id`.
    pub(crate) fn new(next_id: u64) -> Self {
        Texts { next_id, ..Texts::default() }
    }

    fn push(&mut self, texts: usize, mut pair: Pair) {
        pair.id = PairId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.first.push(self.count);
        self.count += texts;
        self.pairs.push(Arc::new(pair));
    }

    /// Adds a text that a template has written.
    pub(crate) fn whole(&mut self, text: String) {
        let responses = [text.clone(), text.clone()];
        let raw = RawText::Whole([text.clone(), text]);
        self.groups.push(1);
        self.push(1, Pair { id: PairId(0), prompt: Vec::new(), responses, response_turns: None, raw });
    }

    /// Adds the answers to a prompt. Two are one pair; a single one is paired with itself.
    pub(crate) fn answers(&mut self, prompt: &Prompt, answers: &[String]) {
        self.groups.push(answers.len());
        for pair in answers.chunks(2) {
            let [a, b] = match pair {
                [a, b] => [a.clone(), b.clone()],
                [a] => [a.clone(), a.clone()],
                _ => continue,
            };
            let texts = pair.len();
            let pair = match prompt {
                Prompt::Text(prompt) => Pair::from_text(PairId(0), prompt, a, b),
                Prompt::Turns(turns) => Pair {
                    id: PairId(0),
                    prompt: turns.clone(),
                    responses: [a, b],
                    response_turns: None,
                    raw: raw_of(turns),
                },
            };
            self.push(texts, pair);
        }
    }

    /// Adds a conversation whose last turn is the answer.
    ///
    /// # Errors
    /// A sentence if it does not end with a turn of the assistant.
    pub(crate) fn conversation(&mut self, mut turns: Vec<Message>) -> Result<(), String> {
        let index = self.groups.len();
        let answer = match turns.pop() {
            Some(answer) if answer.role == Role::Assistant => answer,
            Some(other) => {
                let role = other.role.as_str();
                return Err(format!(
                    "conversation {index} ends with a turn of {role}; it must end with one of assistant"
                ));
            }
            None => return Err(format!("conversation {index} has no turns")),
        };
        let raw = if answer.extra.is_empty() { raw_of(&turns) } else { RawText::None };
        let responses = [answer.content.clone(), answer.content.clone()];
        let response_turns = (!answer.extra.is_empty()).then(|| Box::new([vec![answer.clone()], vec![answer.clone()]]));
        self.groups.push(1);
        self.push(1, Pair { id: PairId(0), prompt: turns, responses, response_turns, raw });
        Ok(())
    }

    /// Number of texts.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Where scores belong, for [`Layout::scores`].
    pub(crate) fn layout(&self) -> Layout {
        Layout { first: self.first.clone(), groups: self.groups.clone() }
    }
}

/// Where the scores of pairs belong.
pub(crate) struct Layout {
    first: Vec<usize>,
    groups: Vec<usize>,
}

impl Layout {
    /// The texts of a pair by their indices in the request, for a sentence.
    pub(crate) fn name(&self, pair: usize) -> String {
        let at = |pair: usize| self.first.get(pair).copied().unwrap_or(self.groups.iter().sum());
        let (first, next) = (at(pair), at(pair + 1));
        if next > first + 1 { format!("text {first} or {}", first + 1) } else { format!("text {first}") }
    }

    /// The raw scores of each group's texts.
    pub(crate) fn scores(&self, scores: &[PairScores]) -> Vec<Vec<f64>> {
        let mut pairs = scores.iter();
        let group = |&texts: &usize| {
            let of_pairs = pairs.by_ref().take(texts.div_ceil(2)).flat_map(|pair| [pair.a.0, pair.b.0]);
            let mut scores: Vec<f64> = of_pairs.collect();
            scores.truncate(texts);
            scores
        };
        self.groups.iter().map(group).collect()
    }
}

/// A single turn of the user is a plain prompt.
fn raw_of(turns: &[Message]) -> RawText {
    match turns {
        [turn] if turn.role == Role::User && turn.extra.is_empty() => RawText::Joined,
        _ => RawText::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_return_to_their_texts() {
        let mut texts = Texts::new(7);
        let answers: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        texts.answers(&Prompt::Text("q".to_owned()), &answers);
        texts.whole("w".to_owned());
        texts.answers(&Prompt::Turns(vec![Message::user("q")]), &[]);
        texts.conversation(vec![Message::user("q"), Message::assistant("d")]).unwrap();
        let responses: Vec<_> = texts.pairs.iter().map(|pair| pair.responses.join("|")).collect();
        assert_eq!(responses, ["a|b", "c|c", "w|w", "d|d"]);
        assert_eq!(texts.pairs.iter().map(|pair| pair.id.0).collect::<Vec<_>>(), [7, 8, 9, 10]);
        assert_eq!(texts.pairs.iter().map(|pair| whole_text(pair)).collect::<Vec<_>>(), [None, None, Some("w"), None]);
        assert_eq!(texts.len(), 5);
        let layout = texts.layout();
        let names: Vec<_> = (0..4).map(|pair| layout.name(pair)).collect();
        assert_eq!(names, ["text 0 or 1", "text 2", "text 3", "text 4"]);
        let scores: Vec<PairScores> = [[1.0, 2.0], [3.0, 3.0], [4.0, 4.0], [5.0, 5.0]].map(PairScores::from).to_vec();
        assert_eq!(layout.scores(&scores), [vec![1.0, 2.0, 3.0], vec![4.0], vec![], vec![5.0]]);
    }

    #[test]
    fn a_conversation_ends_with_the_assistant() {
        let mut texts = Texts::new(0);
        let error = texts.conversation(vec![Message::user("q")]).unwrap_err();
        assert_eq!(error, "conversation 0 ends with a turn of user; it must end with one of assistant");
        assert_eq!(texts.conversation(Vec::new()).unwrap_err(), "conversation 0 has no turns");
    }
}
