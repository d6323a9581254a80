//! What generation takes besides prompts, and what it returns.

use ser_core::Response;
use ser_data::PairTokenizer;

use crate::network::Network;

/// A piece of an answer's text as soon as it is certain: whole characters, nothing of a stop text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPiece<'a> {
    /// Which of the prompts.
    pub prompt: usize,
    /// Which of its answers.
    pub sample: usize,
    /// The text; empty at an answer's end if nothing was left.
    pub text: &'a str,
    /// Whether the answer ends with it.
    pub last: bool,
}

/// An answer with the log-probabilities of its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledAnswer {
    /// The answer.
    pub response: Response,
    /// log p of each of its tokens under the model as it is: no temperature, no top-k, no top-p, no penalty. Empty
    /// unless asked for.
    pub log_probs: Vec<f64>,
}

/// Options of a generation.
#[derive(Default)]
pub struct GenerateOptions<'a> {
    /// Called with each piece of text.
    pub on_text: Option<&'a mut dyn FnMut(TextPiece<'_>)>,
    /// Whether log-probabilities are returned.
    pub log_probs: bool,
}

/// What generation needs of a language model.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) network: &'a Network,
    pub(crate) tokenizer: &'a PairTokenizer,
    /// Token ids that end an answer.
    pub(crate) stop_ids: &'a [u32],
    /// Tokens in one forward pass over prompts.
    pub(crate) token_budget: usize,
    /// Answers in progress at one time.
    pub(crate) batch_answers: usize,
    /// The longest text, prompt and answer, in tokens.
    pub(crate) limit: usize,
    /// Whether the first space of an answer belongs to the template.
    pub(crate) strips_space: bool,
}
