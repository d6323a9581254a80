//! Answers to prompts: prompts packed and computed once, then one token per answer and step over a key/value cache.

mod answer;
mod cache;
mod engine;
mod sampler;

use std::collections::HashMap;

use ser_core::{Generator, Message, Observer, Response, Sampling, Silent};
use ser_data::TemplateKind;

use crate::{CausalLm, ModelError};
use engine::Engine;
pub use sampler::check as check_sampling;

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

/// What is wanted of a generation besides its answers.
pub struct GenerateOptions<'a> {
    /// What the observer hears the work called.
    pub stage: &'a str,
    /// Hears how many answers are done, and may stop the work at any step.
    pub observer: &'a mut dyn Observer,
    /// Gets texts as they come.
    pub on_text: Option<&'a mut dyn FnMut(TextPiece<'_>)>,
    /// Whether log-probabilities are wanted.
    pub log_probs: bool,
}

impl CausalLm {
    /// Answers to tokenized prompts: `sampling.samples_per_prompt` for each, in order.
    ///
    /// A prompt is computed once for all its answers. At most [`CausalLmSettings::batch_answers`] answers are in the
    /// making at a time; whoever ends makes room for the next. An answer ends at one of [`stop_ids`](Self::stop_ids), at a
    /// stop text, after `sampling.max_new_tokens`, or where the model has no more positions. Which tokens are drawn depends
    /// on the seed, the prompt, how often the same prompt came before, and the answer's number, not on the other prompts,
    /// as far as arithmetic allows.
    ///
    /// # Errors
    /// Settings that mean nothing; a prompt without tokens, with unknown ids, or that leaves no room for an answer; logits
    /// that are no numbers; [`ModelError::Stopped`] if the observer said stop.
    ///
    /// [`CausalLmSettings::batch_answers`]: crate::CausalLmSettings::batch_answers
    pub fn sample(
        &self,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        options: GenerateOptions<'_>,
    ) -> Result<Vec<Vec<SampledAnswer>>, ModelError> {
        sampler::check(sampling)?;
        let limit = self.generation_limit();
        for (place, prompt) in prompts.iter().enumerate() {
            if prompt.is_empty() {
                return Err(ModelError::EmptyPrompt);
            }
            if prompt.len() >= limit {
                return Err(ModelError::LongPrompt { prompt: place, tokens: prompt.len(), limit });
            }
        }
        tch::no_grad(|| Engine::new(self, prompts, sampling, options)?.run())
    }

    /// The longest text, prompt and answer, that it can make. Under dynamic rotary scaling that is the length trained on:
    /// longer texts would turn the keys of the cache otherwise than they were.
    pub fn generation_limit(&self) -> usize {
        let config = self.config();
        let limit = config.rope_scaling.grows_beyond().map_or(config.max_positions, |n| n.min(config.max_positions));
        usize::try_from(limit).unwrap_or(0)
    }

    /// Whether the first space of an answer belongs to the template: the script puts one after `Answer:`, and chat
    /// templates that put one trim the answer.
    fn strips_space(&self) -> bool {
        self.settings.text.template != TemplateKind::Raw
    }
}

impl Generator for CausalLm {
    type Error = ModelError;

    fn generate(&mut self, prompts: &[Vec<Message>], sampling: &Sampling) -> Result<Vec<Vec<Response>>, ModelError> {
        self.generate_observed(prompts, sampling, "generate", &mut Silent)
    }

    fn generate_observed(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Vec<Response>>, ModelError> {
        let tokens = prompts.iter().map(|prompt| self.tokenize_prompt(prompt)).collect::<Result<Vec<_>, _>>()?;
        let options = GenerateOptions { stage, observer, on_text: None, log_probs: false };
        let answers = self.sample(&tokens, sampling, options)?;
        Ok(answers.into_iter().map(|samples| samples.into_iter().map(|s| s.response).collect()).collect())
    }
}

/// How often each prompt stands before its place among the same ones.
fn occurrences(prompts: &[Vec<u32>]) -> Vec<u64> {
    let mut seen: HashMap<&[u32], u64> = HashMap::new();
    prompts
        .iter()
        .map(|prompt| {
            let before = seen.entry(prompt.as_slice()).or_default();
            *before += 1;
            *before - 1
        })
        .collect()
}
