//! Examples of SFT: texts, and the tokens that carry loss.

use std::ops::Range;

use ser_core::Preference;
use ser_data::{TokenizedConversation, TokenizedResponse};

use super::settings::LossTurns;
use crate::ModelError;
use crate::language_model::CausalLm;

/// A text and its tokens that carry loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CausalExample {
    /// The whole text.
    pub tokens: Vec<u32>,
    /// The positions of the tokens that carry loss, in order. Position 0 is never predicted, so it carries no loss.
    pub loss_ranges: Vec<Range<usize>>,
}

impl CausalExample {
    /// The position of each token that carries loss.
    pub(crate) fn loss_positions(&self) -> impl Iterator<Item = usize> + '_ {
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

/// The SFT examples of a list of preferences, and the numbers of preferences left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SftExamples {
    /// One per usable preference, in the order of the preferences.
    pub examples: Vec<CausalExample>,
    /// Preferences left out because prompt and chosen answer have more tokens than [`CausalLm::text_limit`].
    pub too_long: usize,
    /// Preferences left out because no token carries loss: the chosen answer is empty.
    pub empty: usize,
}

impl SftExamples {
    /// The number of preferences left out, for any reason.
    pub fn left_out(&self) -> usize {
        self.too_long + self.empty
    }

    /// One line with the number of preferences left out and the reasons; `None` if none was left out.
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

/// Creates SFT examples from the chosen answers of preferences, tokenized by `model`. With [`LossTurns::All`] the assistant's
/// earlier turns in the prompt carry loss too.
///
/// Texts are not truncated: texts over [`CausalLm::text_limit`] and empty answers are left out and counted.
///
/// # Errors
/// Errors of the tokenizer and the template.
pub fn sft_examples(model: &CausalLm, preferences: &[Preference], turns: LossTurns) -> Result<SftExamples, ModelError> {
    let (tokenizer, limit) = (model.tokenizer(), model.text_limit());
    let mut result = SftExamples::default();
    for preference in preferences {
        let (pair, side) = (&preference.pair, preference.preferred);
        if pair.response_turns.is_none() && preference.chosen().trim().is_empty() {
            result.empty += 1;
            continue;
        }
        let example: CausalExample = match turns {
            LossTurns::Last => tokenizer.tokenize_answer(pair, side)?.into(),
            LossTurns::All => tokenizer.tokenize_answer_turns(pair, side)?.into(),
        };
        if example.loss_positions().next().is_none() {
            result.empty += 1;
        } else if example.tokens.len() > limit {
            result.too_long += 1;
        } else {
            result.examples.push(example);
        }
    }
    if let Some(warning) = result.warning() {
        tracing::warn!("{warning}");
    }
    Ok(result)
}
