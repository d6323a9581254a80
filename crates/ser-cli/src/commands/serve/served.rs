//! A reward model that also scores texts that a template has already written.

use std::sync::Arc;

use ser::model::{AnyRewardModel, ModelError};
use ser::{Context, Pair, PairScores, Scorer, Screening};
use ser_serve::whole_text;

/// A reward model behind a server.
pub(super) struct ServedModel(pub(super) AnyRewardModel);

impl Scorer for ServedModel {
    type Error = ModelError;

    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, ModelError> {
        Ok(self.score_truncated(pairs, cx)?.0)
    }

    fn screen(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Screening>, ModelError> {
        let (written, others) = divided(pairs);
        let tokenizer = self.0.tokenizer();
        let limit = tokenizer.settings().max_length;
        let mut screened = Vec::with_capacity(written.len());
        for text in written {
            screened.push(match tokenizer.encode_written(text)?.len() {
                0 => Screening::Empty,
                length if limit.is_some_and(|limit| length > limit) => Screening::TooLong,
                _ => Screening::Usable,
            });
        }
        let others = self.0.screen(&others, cx)?;
        Ok(joined(pairs, screened, others))
    }

    fn score_truncated(
        &mut self,
        pairs: &[Arc<Pair>],
        cx: &mut Context<'_>,
    ) -> Result<(Vec<PairScores>, usize), ModelError> {
        let (written, others) = divided(pairs);
        let (scores, cut) = if written.is_empty() {
            (Vec::new(), 0)
        } else {
            self.0.score_written(&written, &mut Context::silent())?
        };
        let (others, others_cut) =
            if others.is_empty() { (Vec::new(), 0) } else { self.0.score_truncated(&others, cx)? };
        let written = scores.into_iter().map(|score| PairScores::new(score, score)).collect();
        Ok((joined(pairs, written, others), cut + others_cut))
    }
}

/// The texts that are written already, and the pairs that the template writes, each in their order.
fn divided(pairs: &[Arc<Pair>]) -> (Vec<&str>, Vec<Arc<Pair>>) {
    let written = pairs.iter().filter_map(|pair| whole_text(pair)).collect();
    let others = pairs.iter().filter(|pair| whole_text(pair).is_none()).cloned().collect();
    (written, others)
}

/// The results of both parts in the order of `pairs`.
fn joined<T>(pairs: &[Arc<Pair>], written: Vec<T>, others: Vec<T>) -> Vec<T> {
    let (mut written, mut others) = (written.into_iter(), others.into_iter());
    let next = |pair: &Arc<Pair>| if whole_text(pair).is_some() { written.next() } else { others.next() };
    pairs.iter().filter_map(next).collect()
}
