//! Prompts with responses as tokens, for training on responses.

use std::ops::Range;

use ser_core::{Message, Pair, Role, Side};

use super::PairTokenizer;
use super::turns::{raw_prompt, whole};
use crate::text::authors_code_text;
use crate::{DataError, TemplateKind};

/// A prompt with one response as tokens, for training on responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedResponse {
    /// The whole text.
    pub tokens: Vec<u32>,
    /// Number of leading tokens of the prompt alone; at least one token belongs to the response.
    pub prompt_len: usize,
}

/// A conversation as tokens, for training on every turn of the assistant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedConversation {
    /// The whole text.
    pub tokens: Vec<u32>,
    /// The token ranges of the assistant's turns, in order; the last one is the response's.
    pub answers: Vec<Range<usize>>,
}

const WHAT: &str = "a prompt with its response";

impl PairTokenizer {
    /// A prompt and one response tokenized together, for training on the response.
    pub fn tokenize_response(&self, prompt: &[Message], response: &str) -> Result<TokenizedResponse, DataError> {
        self.tokenize_turn(prompt, &Message::assistant(response))
    }

    /// One side of a pair, for training on its answer: as [`tokenize_response`](Self::tokenize_response), but if the
    /// answer is several turns and the chat template renders them, the response is the last turn of the assistant, and
    /// everything before it belongs to the prompt.
    pub fn tokenize_answer(&self, pair: &Pair, side: Side) -> Result<TokenizedResponse, DataError> {
        match self.last_turn(pair, side) {
            Some((prompt, last)) => self.tokenize_turn(&prompt, &last),
            None => self.tokenize_response(&pair.prompt, pair.response(side)),
        }
    }

    /// One side of a pair, for training on every turn of the assistant.
    pub fn tokenize_answer_turns(&self, pair: &Pair, side: Side) -> Result<TokenizedConversation, DataError> {
        match self.last_turn(pair, side) {
            Some((prompt, last)) => self.tokenize_turns(&prompt, &last),
            None => self.tokenize_conversation(&pair.prompt, pair.response(side)),
        }
    }

    /// One side of a pair, for comparing answers: everything after the prompt is the response, including user turns.
    pub fn tokenize_completion(&self, pair: &Pair, side: Side) -> Result<TokenizedResponse, DataError> {
        if self.settings.template != TemplateKind::Chat || pair.response_turns.is_none() {
            return self.tokenize_response(&pair.prompt, pair.response(side));
        }
        let text = self.chat(&whole(pair, side), false, &|| format!("pair {}", pair.id.0))?;
        self.after_prompt(&pair.prompt, self.encode(&text, false)?)
    }

    /// The last assistant turn and the turns before it, if an answer is turns that a template renders.
    fn last_turn(&self, pair: &Pair, side: Side) -> Option<(Vec<Message>, Message)> {
        if self.settings.template != TemplateKind::Chat || pair.response_turns.is_none() {
            return None;
        }
        let mut turns = whole(pair, side);
        let last = turns.iter().rposition(|turn| turn.role == Role::Assistant)?;
        turns.truncate(last + 1);
        let last = turns.pop()?;
        Some((turns, last))
    }

    fn tokenize_turn(&self, prompt: &[Message], response: &Message) -> Result<TokenizedResponse, DataError> {
        let tokens = match self.settings.template {
            TemplateKind::Raw => self.encode(&format!("{}{}", raw_prompt(prompt)?, response.content), true)?,
            TemplateKind::AuthorsCode | TemplateKind::Chat => self.templated(prompt, response, &|| WHAT.to_string())?,
        };
        self.after_prompt(prompt, tokens)
    }

    /// The start of the response: the end of the common prefix with the prompt alone.
    fn after_prompt(&self, prompt: &[Message], tokens: Vec<u32>) -> Result<TokenizedResponse, DataError> {
        let alone = self.encode_prompt(prompt)?;
        let shared = tokens.iter().zip(&alone).take_while(|(x, y)| x == y).count();
        let prompt_len = shared.min(tokens.len().saturating_sub(1));
        Ok(TokenizedResponse { tokens, prompt_len })
    }

    /// A prompt and one response tokenized together, for training on every assistant turn: on its tokens and on the
    /// special token that ends it.
    ///
    /// # Errors
    /// Those of [`tokenize_response`](Self::tokenize_response), and a chat template that changes the assistant's text.
    pub fn tokenize_conversation(
        &self,
        prompt: &[Message],
        response: &str,
    ) -> Result<TokenizedConversation, DataError> {
        self.tokenize_turns(prompt, &Message::assistant(response))
    }

    fn tokenize_turns(&self, prompt: &[Message], response: &Message) -> Result<TokenizedConversation, DataError> {
        let last = self.tokenize_turn(prompt, response)?;
        let earlier = prompt.iter().filter(|turn| turn.role == Role::Assistant).count();
        let mut answers = Vec::with_capacity(earlier + 1);
        if earlier > 0 {
            let what = || WHAT.to_string();
            let (text, special) = match self.settings.template {
                TemplateKind::Raw => (format!("{}{}", raw_prompt(prompt)?, response.content), true),
                TemplateKind::AuthorsCode => (authors_code_text(prompt, &response.content), true),
                TemplateKind::Chat => {
                    let turns: Vec<Message> = prompt.iter().chain([response]).cloned().collect();
                    (self.chat(&turns, false, &what)?, false)
                }
            };
            let encoding = self
                .tokenizer
                .encode(text.as_str(), special)
                .map_err(|error| DataError::Tokenize { bytes: text.len(), problem: error.to_string() })?;
            let (offsets, marks) = (encoding.get_offsets(), encoding.get_special_tokens_mask());
            let mut from = 0;
            for turn in prompt {
                let said = turn.content.trim();
                let found = text.get(from..).and_then(|rest| rest.find(said)).map(|at| from + at);
                let Some(start) = found else {
                    let problem = format!("it changes the turn {said:?}, so its tokens cannot be found");
                    return Err(DataError::ChatTemplate { what: what(), problem });
                };
                from = start + said.len();
                if turn.role == Role::Assistant && !said.is_empty() {
                    // A token that begins with the space before the answer belongs to the answer.
                    let said = |&(begin, end): &(usize, usize)| begin < from && end > start;
                    let begins = offsets.iter().position(said).unwrap_or(last.prompt_len);
                    let mut ends = offsets.iter().rposition(said).map_or(begins, |position| position + 1);
                    ends += usize::from(marks.get(ends) == Some(&1));
                    answers.push(begins..ends.min(last.prompt_len));
                }
            }
        }
        answers.push(last.prompt_len..last.tokens.len());
        Ok(TokenizedConversation { tokens: last.tokens, answers })
    }
}
