//! Answers to prompts: prompts packed and computed once, then one token per answer and step over a key/value cache.

mod answer;
mod cache;
mod engine;
mod options;
mod sampler;

use ser_core::{Context, Sampling};

pub use options::{GenerateOptions, SampledAnswer, TextPiece};
pub use sampler::check as check_sampling;

pub(crate) use options::Source;

use crate::ModelError;
use engine::Engine;

pub(crate) use engine::occurrences;

/// Answers to tokenized prompts: `sampling.samples_per_prompt` for each, in order. `occurrences` has the number of equal prompts
/// before each one, which its draws depend on.
pub(crate) fn sample(
    source: Source<'_>,
    prompts: &[Vec<u32>],
    occurrences: Vec<u64>,
    sampling: &Sampling,
    options: GenerateOptions<'_>,
    cx: &mut Context<'_>,
) -> Result<Vec<Vec<SampledAnswer>>, ModelError> {
    sampler::check(sampling)?;
    let limit = source.limit;
    for (i, prompt) in prompts.iter().enumerate() {
        if prompt.is_empty() {
            return Err(ModelError::EmptyPrompt);
        }
        if prompt.len() >= limit {
            return Err(ModelError::LongPrompt { prompt: i, tokens: prompt.len(), limit });
        }
    }
    let _span =
        tracing::debug_span!("generate", prompts = prompts.len(), samples = sampling.samples_per_prompt).entered();
    tch::no_grad(|| Engine::new(source, prompts, occurrences, sampling, options)?.run(cx))
}
