//! Scoring pairs (Eq. 1).

use std::sync::Arc;

use ser_core::{Control, Event, Observer, Pair, PairScores, Scorer, Screening, Side, Silent};
use ser_data::{TokenizedPair, plan_batches_by_length};

use super::model::RewardModel;
use crate::ModelError;

impl Scorer for RewardModel {
    type Error = ModelError;

    fn score(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<PairScores>, ModelError> {
        self.score_observed(pairs, "score", &mut Silent)
    }

    fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, ModelError> {
        Ok(self.tokenizer.screen_pairs(pairs)?)
    }

    fn score_observed(
        &mut self,
        pairs: &[Arc<Pair>],
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<Vec<PairScores>, ModelError> {
        let stopped = || ModelError::Stopped(stage.to_owned());
        let started = Event::Started { stage, total: Some(pairs.len() as u64), unit: "pairs" };
        if observer.observe(&started) == Control::Stop {
            return Err(stopped());
        }
        let tokens = self.tokenized(pairs)?;
        let tokens: Vec<&TokenizedPair> = tokens.iter().collect();
        let scores =
            self.score_tokens(&tokens, &mut |done| match observer.observe(&Event::Advanced { stage, done }) {
                Control::Stop => Err(stopped()),
                Control::Continue => Ok(()),
            })?;
        let _ = observer.observe(&Event::Finished { stage });
        Ok(scores)
    }

    fn score_truncated(&mut self, pairs: &[Arc<Pair>]) -> Result<(Vec<PairScores>, usize), ModelError> {
        let limit = usize::try_from(self.network.config.longest_text()).unwrap_or(usize::MAX);
        let mut tokens = self.tokenizer.tokenize(pairs)?;
        let mut truncated = 0;
        for pair in &mut tokens {
            if [Side::A, Side::B].into_iter().any(|side| pair.text_len(side) > limit) {
                let [a, b] = [Side::A, Side::B].map(|side| {
                    let mut text = pair.text(side);
                    text.truncate(limit);
                    text
                });
                *pair = TokenizedPair::from_tokens(&a, &b);
                truncated += 1;
            }
        }
        let tokens: Vec<&TokenizedPair> = tokens.iter().collect();
        Ok((self.score_tokens(&tokens, &mut |_| Ok(()))?, truncated))
    }
}

/// So that a model can be lent to whatever takes a scorer.
impl Scorer for &mut RewardModel {
    type Error = ModelError;

    fn score(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<PairScores>, ModelError> {
        RewardModel::score(self, pairs)
    }

    fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, ModelError> {
        RewardModel::screen(self, pairs)
    }

    fn score_observed(
        &mut self,
        pairs: &[Arc<Pair>],
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<Vec<PairScores>, ModelError> {
        RewardModel::score_observed(self, pairs, stage, observer)
    }

    fn score_truncated(&mut self, pairs: &[Arc<Pair>]) -> Result<(Vec<PairScores>, usize), ModelError> {
        RewardModel::score_truncated(self, pairs)
    }
}

impl RewardModel {
    /// Scores in the order of `tokens`; `advanced` hears after each batch how many pairs are done.
    fn score_tokens(
        &self,
        tokens: &[&TokenizedPair],
        advanced: &mut dyn FnMut(u64) -> Result<(), ModelError>,
    ) -> Result<Vec<PairScores>, ModelError> {
        let lengths: Vec<usize> = tokens.iter().map(|t| t.packed_len()).collect();
        let mut scores = vec![PairScores::new(f64::NAN, f64::NAN); tokens.len()];
        let mut done = 0;
        for batch in plan_batches_by_length(&lengths, self.settings.token_budget) {
            let packed: Vec<&TokenizedPair> = batch.iter().filter_map(|&i| tokens.get(i).copied()).collect();
            let values = tch::no_grad(|| Ok::<_, ModelError>(Vec::<f32>::try_from(&self.scores(&packed)?)?))?;
            for (&i, pair) in batch.iter().zip(values.chunks_exact(2)) {
                if let (Some(place), [a, b]) = (scores.get_mut(i), pair) {
                    *place = PairScores::new(f64::from(*a), f64::from(*b));
                }
            }
            done += batch.len() as u64;
            advanced(done)?;
        }
        Ok(scores)
    }
}
