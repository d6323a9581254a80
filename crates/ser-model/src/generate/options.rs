//! Options and results of generation.

use ser_core::Response;
use ser_data::PairTokenizer;

use crate::network::Network;

/// A final piece of an answer's text: whole characters, without any part of a stop text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextPiece<'a> {
    /// The index of the prompt.
    pub prompt: usize,
    /// The index of the answer among those to the prompt.
    pub sample: usize,
    /// The text; may be empty at the end of an answer.
    pub text: &'a str,
    /// Whether this is the last piece of the answer.
    pub last: bool,
}

/// An answer with the log-probabilities of its tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct SampledAnswer {
    /// The answer.
    pub response: Response,
    /// log p of each token under the model's own distribution, without temperature, top-k, top-p and penalty. Empty unless
    /// [`GenerateOptions::log_probs`] is set.
    pub log_probs: Vec<f64>,
}

/// Options of a generation.
#[derive(Default)]
pub struct GenerateOptions<'a> {
    /// Receives pieces of text during generation.
    pub on_text: Option<&'a mut dyn FnMut(TextPiece<'_>)>,
    /// Whether to return log-probabilities.
    pub log_probs: bool,
}

/// The parts of a language model that generation uses.
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
