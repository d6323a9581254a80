//! The generation loop: prompts enter the batch, each answer grows by one token per step, finished answers leave.

use std::collections::HashMap;

use ser_core::{Context, Sampling};
use ser_libtorch::upload;
use tch::{Kind, Tensor};

use super::answer::Answer;
use super::cache::{DecodeAttention, KvCache, PAGE, PrefillAttention, VisibleRanges, slot};
use super::options::{GenerateOptions, SampledAnswer, Source, TextPiece};
use super::sampler::{Sampler, is_plain_greedy, log_prob};
use crate::ModelError;
use crate::network::{ForwardMode, Layer, PackedBatch, Rows};

/// A prompt whose keys and values are in the cache.
struct Prompt {
    pages: Vec<usize>,
    tokens: usize,
    /// The number of its answers in the batch.
    answers: usize,
}

/// An answer in the batch.
struct Row {
    prompt: usize,
    sample: usize,
    /// The pages of its tokens.
    pages: Vec<usize>,
    /// Its tokens in the cache: all except the last one sampled.
    cached: usize,
    /// The last token sampled.
    last: u32,
    sampler: Sampler,
    answer: Answer,
}

pub(super) struct Engine<'a, 'o> {
    source: Source<'a>,
    prompts: &'a [Vec<u32>],
    occurrences: Vec<u64>,
    sampling: &'a Sampling,
    options: GenerateOptions<'o>,
    cache: KvCache,
    /// The distinct window sizes of the layers.
    windows: Vec<Option<i64>>,
    limit: usize,
    /// The index of the next prompt to enter the batch.
    next: usize,
    active: HashMap<usize, Prompt>,
    rows: Vec<Row>,
    answers: Vec<Vec<Option<SampledAnswer>>>,
    done: u64,
}

impl<'a, 'o> Engine<'a, 'o> {
    pub(super) fn new(
        source: Source<'a>,
        prompts: &'a [Vec<u32>],
        occurrences: Vec<u64>,
        sampling: &'a Sampling,
        options: GenerateOptions<'o>,
    ) -> Result<Self, ModelError> {
        let (network, limit) = (source.network, source.limit);
        let mut windows: Vec<Option<i64>> = (0..network.layers.len()).map(|i| network.config.window(i)).collect();
        windows.sort_unstable();
        windows.dedup();
        Ok(Engine {
            source,
            prompts,
            occurrences,
            sampling,
            options,
            cache: KvCache::new(&network.config, network.kind, network.layers.iter().map(Layer::device))?,
            windows,
            limit,
            next: 0,
            active: HashMap::new(),
            rows: Vec::new(),
            answers: vec![vec![None; sampling.samples_per_prompt]; prompts.len()],
            done: 0,
        })
    }

    /// Runs until every answer has ended.
    pub(super) fn run(mut self, cx: &mut Context<'_>) -> Result<Vec<Vec<SampledAnswer>>, ModelError> {
        let total = (self.prompts.len() * self.sampling.samples_per_prompt) as u64;
        cx.start(Some(total), "answers")?;
        let mut reported = 0;
        loop {
            self.admit()?;
            if self.rows.is_empty() {
                break;
            }
            self.step()?;
            cx.advance(self.done - std::mem::replace(&mut reported, self.done))?;
        }
        Ok(self.answers.into_iter().map(|samples| samples.into_iter().flatten().collect()).collect())
    }

    /// Adds prompts to the batch while it has capacity. It waits until a quarter of the batch is free, because a forward pass
    /// over few prompts is inefficient.
    fn admit(&mut self) -> Result<(), ModelError> {
        let most = self.source.batch_answers;
        while self.next < self.prompts.len() && self.rows.len() <= most - most.div_ceil(4) {
            let first = self.next;
            let (mut tokens, mut answers) = (0, self.rows.len());
            for prompt in self.prompts.get(first..).unwrap_or_default() {
                tokens += prompt.len();
                answers += self.sampling.samples_per_prompt;
                let fits = tokens <= self.source.token_budget && answers <= most;
                if self.next > first && !fits {
                    break;
                }
                self.next += 1;
            }
            self.prefill(first, self.next)?;
        }
        Ok(())
    }

    /// Computes the prompts `first..end` in one forward pass and samples the first tokens of their answers.
    fn prefill(&mut self, first: usize, end: usize) -> Result<(), ModelError> {
        let network = self.source.network;
        let prompts: Vec<&[u32]> = self.prompts.iter().take(end).skip(first).map(Vec::as_slice).collect();
        let batch = PackedBatch::of_texts(&prompts, &network.config, network.device)?;
        let mut slots = Vec::with_capacity(batch.positions.len());
        for (prompt, tokens) in (first..).zip(&prompts) {
            let pages = self.cache.allocate(tokens.len())?;
            slots.extend((0..tokens.len()).map(|token| slot(&pages, token)));
            let answers = self.sampling.samples_per_prompt;
            self.active.insert(prompt, Prompt { pages, tokens: tokens.len(), answers });
        }
        let slots = upload(&slots, network.device)?;
        let mut attention = PrefillAttention { cache: &mut self.cache, slots: &slots, batch: &batch, layer: 0 };
        let mode = ForwardMode::without_dropout(network.adapters.active());
        let hidden = network.forward_rows(&batch.tokens, &network.tables(&batch, Rows::Last)?, &mut attention, mode)?;
        let logits = network.logits(&hidden)?;
        let mut rows = Vec::new();
        let mut sources = Vec::new();
        for ((prompt, tokens), source) in (first..).zip(&prompts).zip(0..) {
            let before = self.occurrences.get(prompt).copied().unwrap_or(0);
            for sample in 0..self.sampling.samples_per_prompt {
                let sampler = Sampler::new(self.sampling, tokens, before, sample as u64);
                let answer = Answer::new(tokens, self.source.strips_space);
                rows.push(Row { prompt, sample, pages: Vec::new(), cached: 0, last: 0, sampler, answer });
                sources.push(source);
            }
        }
        self.sample_tokens(&logits, rows, &sources)
    }

    /// Samples one token for every row.
    fn step(&mut self) -> Result<(), ModelError> {
        let network = self.source.network;
        let (mut tokens, mut positions, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        let mut ranges: Vec<_> = self.windows.iter().map(|&window| (window, VisibleRanges::default())).collect();
        for row in &mut self.rows {
            let Some(prompt) = self.active.get(&row.prompt) else { continue };
            if row.cached % PAGE == 0 {
                row.pages.extend(self.cache.allocate(1)?);
            }
            tokens.push(i64::from(row.last));
            positions.push((prompt.tokens + row.cached) as i64);
            slots.push(slot(&row.pages, row.cached));
            row.cached += 1;
            let parts = [(prompt.pages.as_slice(), prompt.tokens), (row.pages.as_slice(), row.cached)];
            ranges.iter_mut().for_each(|(window, visible)| visible.push(&parts, *window));
        }
        let tables = network.tables_at(&positions, &[], None)?;
        let mut attention = DecodeAttention::new(&mut self.cache, &slots, ranges)?;
        let mode = ForwardMode::without_dropout(network.adapters.active());
        let hidden = network.forward_rows(&upload(&tokens, network.device)?, &tables, &mut attention, mode)?;
        let logits = network.logits(&hidden)?;
        let rows = std::mem::take(&mut self.rows);
        let sources: Vec<usize> = (0..rows.len()).collect();
        self.sample_tokens(&logits, rows, &sources)
    }

    /// Samples a token for each of `rows` from its row of `logits`. Finished rows leave the batch.
    fn sample_tokens(&mut self, logits: &Tensor, rows: Vec<Row>, sources: &[usize]) -> Result<(), ModelError> {
        let (sampling, stop_ids) = (self.sampling, self.source.stop_ids);
        let (_, vocab) = logits.size2()?;
        let plain = is_plain_greedy(sampling) && !self.options.log_probs;
        let best = if plain { Vec::<i64>::try_from(&logits.f_argmax(-1, false)?)? } else { Vec::new() };
        let values = if plain { Vec::new() } else { floats(logits)? };
        let mut scratch = Vec::new();
        for (mut row, &source) in rows.into_iter().zip(sources) {
            let from = source * vocab as usize;
            let raw = values.get(from..from + vocab as usize).unwrap_or_default();
            let token = if plain {
                best.get(source).and_then(|&id| u32::try_from(id).ok())
            } else {
                scratch.clear();
                scratch.extend_from_slice(raw);
                row.sampler.choose(&mut scratch, sampling, row.answer.tokens.len(), stop_ids)
            };
            let Some(token) = token else { return Err(ModelError::NoToken { prompt: row.prompt }) };
            if self.options.log_probs {
                row.answer.log_probs.push(log_prob(raw, token));
            }
            row.last = token;
            let ended = row.answer.push(token, sampling, stop_ids, self.source.tokenizer)?;
            let full = self.prompts.get(row.prompt).map_or(0, Vec::len) + row.answer.tokens.len() >= self.limit;
            let ended = ended || full;
            if ended {
                row.answer.close(sampling, self.source.tokenizer)?;
            }
            if let Some(on_text) = &mut self.options.on_text {
                let text = row.answer.new_text(&sampling.stop, ended);
                if ended || !text.is_empty() {
                    on_text(TextPiece { prompt: row.prompt, sample: row.sample, text, last: ended });
                }
            }
            if ended {
                self.finish(row);
            } else {
                self.rows.push(row);
            }
        }
        Ok(())
    }

    /// Stores a finished answer and frees its pages, and the prompt's pages after the last of its answers.
    fn finish(&mut self, row: Row) {
        self.cache.free(&row.pages);
        if let Some(prompt) = self.active.get_mut(&row.prompt) {
            prompt.answers -= 1;
            if prompt.answers == 0 {
                self.cache.free(&prompt.pages);
                self.active.remove(&row.prompt);
            }
        }
        let (response, log_probs) = row.answer.into_response();
        if let Some(answer) = self.answers.get_mut(row.prompt).and_then(|samples| samples.get_mut(row.sample)) {
            *answer = Some(SampledAnswer { response, log_probs });
        }
        self.done += 1;
    }
}

/// All entries in f32, in row-major order.
fn floats(x: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(Vec::try_from(&x.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?)?)
}

/// For each prompt, the number of equal prompts before it.
pub(crate) fn occurrences(prompts: &[Vec<u32>]) -> Vec<u64> {
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
