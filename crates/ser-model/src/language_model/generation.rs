//! Answers of a language model to prompts.

use ser_core::{Context, Generator, Message, Response, Sampling};
use ser_data::TemplateKind;

use super::causal_lm::CausalLm;
use crate::ModelError;
use crate::generate::{GenerateOptions, SampledAnswer, Source, occurrences, sample};

impl CausalLm {
    /// Answers to tokenized prompts: `sampling.samples_per_prompt` for each, in order.
    ///
    /// A prompt is computed once for all its answers. At most [`CausalLmSettings::batch_answers`] answers are generated at the
    /// same time; finished answers are replaced by waiting ones. An answer ends at one of [`stop_ids`](Self::stop_ids), at a
    /// stop text, after `sampling.max_new_tokens`, or at the model's last position. The tokens drawn depend on the seed, the
    /// prompt, the number of equal prompts before it and the index of the answer. Other prompts affect them only through
    /// rounding.
    ///
    /// # Errors
    /// Settings out of range; a prompt without tokens, with unknown ids, or that fills the model's positions; logits that are
    /// not finite; [`ModelError::Stopped`] if a stop was requested.
    ///
    /// [`CausalLmSettings::batch_answers`]: crate::CausalLmSettings::batch_answers
    pub fn sample(
        &self,
        prompts: &[Vec<u32>],
        sampling: &Sampling,
        options: GenerateOptions<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Vec<SampledAnswer>>, ModelError> {
        self.sample_among(prompts, occurrences(prompts), sampling, options, cx)
    }

    /// As [`sample`](Self::sample), for some of a list of prompts: `occurrences` has the number of equal prompts before each one in
    /// the list.
    pub(crate) fn sample_among(
        &self,
        prompts: &[Vec<u32>],
        occurrences: Vec<u64>,
        sampling: &Sampling,
        options: GenerateOptions<'_>,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Vec<SampledAnswer>>, ModelError> {
        let source = Source {
            network: &self.network,
            tokenizer: &self.tokenizer,
            stop_ids: &self.stop_ids,
            token_budget: self.settings.token_budget,
            batch_answers: self.settings.batch_answers,
            limit: self.generation_limit(),
            strips_space: self.strips_space(),
        };
        sample(source, prompts, occurrences, sampling, options, cx)
    }

    /// The longest text, prompt and answer, in tokens. Under dynamic rotary scaling this is the original length: in a longer
    /// text the cached keys would have other rotations.
    pub fn generation_limit(&self) -> usize {
        let config = self.config();
        let limit = config.rope_scaling.grows_beyond().map_or(config.max_positions, |n| n.min(config.max_positions));
        usize::try_from(limit).unwrap_or(0)
    }

    /// Whether the first space of an answer belongs to the template: the authors_code template writes one after `Answer:`, and chat
    /// templates that write one trim the answer.
    fn strips_space(&self) -> bool {
        self.settings.text.template != TemplateKind::Raw
    }
}

impl Generator for CausalLm {
    type Error = ModelError;

    fn generate(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Vec<Response>>, ModelError> {
        let tokens = prompts.iter().map(|prompt| self.tokenize_prompt(prompt)).collect::<Result<Vec<_>, _>>()?;
        let answers = self.sample(&tokens, sampling, GenerateOptions::default(), cx)?;
        Ok(answers.into_iter().map(|samples| samples.into_iter().map(|s| s.response).collect()).collect())
    }
}
