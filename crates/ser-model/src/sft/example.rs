//! What SFT learns from: texts, and which of their tokens carry loss.

use std::ops::Range;

use ser_core::Preference;
use ser_data::{TokenizedConversation, TokenizedResponse};

use super::settings::LossTurns;
use crate::ModelError;
use crate::language_model::CausalLm;

/// A text and which of its tokens carry loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CausalExample {
    /// The whole text.
    pub tokens: Vec<u32>,
    /// The places of the tokens that carry loss, in order. The first token of a text never does: nothing foretells it.
    pub loss_ranges: Vec<Range<usize>>,
}

impl CausalExample {
    /// The places of the tokens that carry loss, one by one.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> + '_ {
        let end = self.tokens.len();
        self.loss_ranges.iter().flat_map(move |range| range.start.max(1)..range.end.min(end))
    }
}

impl From<TokenizedResponse> for CausalExample {
    fn from(text: TokenizedResponse) -> Self {
        let answer = text.prompt_len..text.tokens.len();
        CausalExample { tokens: text.tokens, loss_ranges: vec![answer] }
    }
}

impl From<TokenizedConversation> for CausalExample {
    fn from(text: TokenizedConversation) -> Self {
        CausalExample { tokens: text.tokens, loss_ranges: text.answers }
    }
}

/// The SFT examples of a list of preferences, and how many preferences gave none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SftExamples {
    /// One per usable preference, in the order of the preferences.
    pub examples: Vec<CausalExample>,
    /// Preferences left out because prompt and chosen answer have more tokens than [`CausalLm::text_limit`].
    pub too_long: usize,
    /// Preferences left out because no token of theirs carries loss: the chosen answer is empty.
    pub empty: usize,
}

impl SftExamples {
    /// How many preferences were left out, for whatever reason.
    pub fn left_out(&self) -> usize {
        self.too_long + self.empty
    }

    /// One line that says how many preferences were left out and why; `None` if none was.
    pub fn warning(&self) -> Option<String> {
        let all = self.examples.len() + self.left_out();
        let reasons: Vec<String> =
            [(self.too_long, "are longer than the length limit"), (self.empty, "have an empty answer")]
                .into_iter()
                .filter(|(count, _)| *count > 0)
                .map(|(count, reason)| format!("{count} {reason}"))
                .collect();
        (!reasons.is_empty())
            .then(|| format!("SFT leaves out {} of {all} texts: {}", self.left_out(), reasons.join(", ")))
    }
}

/// Makes SFT examples of the chosen answers of preferences, as `model` tokenizes them. With [`LossTurns::All`] the
/// assistant's earlier turns in the prompt carry loss too.
///
/// Texts are never cut: those over [`CausalLm::text_limit`] are left out and counted, and so are empty answers.
///
/// # Errors
/// A text that the tokenizer or its template refuses.
pub fn sft_examples(model: &CausalLm, preferences: &[Preference], turns: LossTurns) -> Result<SftExamples, ModelError> {
    let (tokenizer, limit) = (model.tokenizer(), model.text_limit());
    let mut made = SftExamples::default();
    for preference in preferences {
        let (pair, side) = (&preference.pair, preference.preferred);
        if pair.response_turns.is_none() && preference.chosen().trim().is_empty() {
            made.empty += 1;
            continue;
        }
        let example: CausalExample = match turns {
            LossTurns::Last => tokenizer.tokenize_answer(pair, side)?.into(),
            LossTurns::All => tokenizer.tokenize_answer_turns(pair, side)?.into(),
        };
        if example.places().next().is_none() {
            made.empty += 1;
        } else if example.tokens.len() > limit {
            made.too_long += 1;
        } else {
            made.examples.push(example);
        }
    }
    Ok(made)
}
