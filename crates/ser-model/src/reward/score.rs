//! Scoring pairs (Eq. 1).

use std::sync::Arc;

use ser_core::{Context, Pair, PairScores, Scorer, Screening};
use ser_data::{TokenizedPair, plan_batches_by_length};
use tch::Tensor;

use super::model::RewardModel;
use crate::ModelError;
use crate::activations::Keep;

impl Scorer for RewardModel {
    type Error = ModelError;

    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, ModelError> {
        cx.start(Some(pairs.len() as u64), "pairs")?;
        let tokens = self.tokenized(pairs)?;
        self.score_tokens(&tokens.iter().collect::<Vec<_>>(), Keep::Yes, cx)
    }

    fn screen(&mut self, pairs: &[Arc<Pair>], _cx: &mut Context<'_>) -> Result<Vec<Screening>, ModelError> {
        Ok(self.tokenizer.screen_pairs(pairs)?)
    }

    fn score_truncated(
        &mut self,
        pairs: &[Arc<Pair>],
        cx: &mut Context<'_>,
    ) -> Result<(Vec<PairScores>, usize), ModelError> {
        cx.start(Some(pairs.len() as u64), "pairs")?;
        let limit = self.longest_text();
        let mut tokens = self.tokenizer.tokenize(pairs)?;
        let truncated = tokens.iter_mut().filter_map(|pair| pair.truncate(limit).then_some(())).count();
        let tokens: Vec<&TokenizedPair> = tokens.iter().collect();
        // A policy's answers come once.
        Ok((self.score_tokens(&tokens, Keep::No, cx)?, truncated))
    }
}

impl RewardModel {
    /// The raw scores of whole texts that a template has already written, in order, and the number of texts that were cut at
    /// their end, as in [`Scorer::score_truncated`]. Progress is in texts.
    ///
    /// # Errors
    /// A text without tokens, or one that the tokenizer refuses.
    pub fn score_written(&mut self, texts: &[&str], cx: &mut Context<'_>) -> Result<(Vec<f64>, usize), ModelError> {
        cx.start(Some(texts.len() as u64), "texts")?;
        let limit = self.longest_text();
        let mut truncated = 0;
        let mut pairs = Vec::with_capacity(texts.len());
        for text in texts {
            let mut tokens = self.tokenizer.encode_written(text)?;
            truncated += usize::from(tokens.len() > limit);
            tokens.truncate(limit);
            pairs.push(TokenizedPair::from_tokens(&tokens, &tokens));
        }
        let scores = self.score_tokens(&pairs.iter().collect::<Vec<_>>(), Keep::No, cx)?;
        Ok((scores.iter().map(|scores| scores.a.0).collect(), truncated))
    }

    fn longest_text(&self) -> usize {
        usize::try_from(self.network.config.longest_text()).unwrap_or(usize::MAX)
    }

    /// Scores in the order of `tokens`; reports progress after each batch.
    fn score_tokens(
        &self,
        tokens: &[&TokenizedPair],
        keep: Keep,
        cx: &mut Context<'_>,
    ) -> Result<Vec<PairScores>, ModelError> {
        if let Some(shared) = &self.shared {
            return self.score_by_all(shared, tokens, keep, cx);
        }
        let lengths: Vec<usize> = tokens.iter().map(|t| t.packed_len()).collect();
        let batches = plan_batches_by_length(&lengths, self.settings.token_budget);
        let none = PairScores::new(f64::NAN, f64::NAN);
        Ok(self.score_batches(tokens, batches, keep, cx)?.into_iter().map(|scores| scores.unwrap_or(none)).collect())
    }

    /// Scores the pairs of `batches`, at their positions in `tokens`; others are `None`. Reports progress after each batch.
    pub(super) fn score_batches(
        &self,
        tokens: &[&TokenizedPair],
        batches: Vec<Vec<usize>>,
        keep: Keep,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Option<PairScores>>, ModelError> {
        let _span = tracing::debug_span!("score", pairs = tokens.len()).entered();
        let mut scores = vec![None; tokens.len()];
        let mut read = |batch: &[usize], values: &Tensor, cx: &mut Context<'_>| -> Result<(), ModelError> {
            let values = Vec::<f32>::try_from(values)?;
            for (&i, pair) in batch.iter().zip(values.chunks_exact(2)) {
                if let (Some(score), [a, b]) = (scores.get_mut(i), pair) {
                    *score = Some(PairScores::new(f64::from(*a), f64::from(*b)));
                }
            }
            Ok(cx.advance(batch.len() as u64)?)
        };
        // A GPU computes one batch while the next is prepared.
        let mut queued: Option<(Vec<usize>, Tensor)> = None;
        for batch in batches {
            let packed: Vec<&TokenizedPair> = batch.iter().filter_map(|&i| tokens.get(i).copied()).collect();
            let values = tch::no_grad(|| self.scores(&packed, keep))?;
            if let Some((batch, values)) = queued.replace((batch, values)) {
                read(&batch, &values, cx)?;
            }
        }
        if let Some((batch, values)) = queued {
            read(&batch, &values, cx)?;
        }
        Ok(scores)
    }
}
