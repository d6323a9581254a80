//! What SFT learns from: texts, and which of their tokens carry loss.

use std::ops::Range;

use ser_data::{TokenizedConversation, TokenizedResponse};

/// A text and which of its tokens carry loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CausalExample {
    /// The whole text.
    pub tokens: Vec<u32>,
    /// The places of the tokens that carry loss, in order. The first token of a text never does: nothing foretells it.
    pub learnt: Vec<Range<usize>>,
}

impl CausalExample {
    /// The places of the tokens that carry loss, one by one.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> + '_ {
        let end = self.tokens.len();
        self.learnt.iter().flat_map(move |range| range.start.max(1)..range.end.min(end))
    }
}

impl From<TokenizedResponse> for CausalExample {
    fn from(text: TokenizedResponse) -> Self {
        let answer = text.prompt_len..text.tokens.len();
        CausalExample { tokens: text.tokens, learnt: vec![answer] }
    }
}

impl From<TokenizedConversation> for CausalExample {
    fn from(text: TokenizedConversation) -> Self {
        CausalExample { tokens: text.tokens, learnt: text.answers }
    }
}
