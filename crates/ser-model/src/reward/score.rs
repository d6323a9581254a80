//! Scoring pairs (Eq. 1).

use std::sync::Arc;

use ser_core::{Control, Event, Observer, Pair, PairScores, Scorer, Screening, Silent};
use ser_data::{TokenizedPair, plan_batches_by_length};

use super::RewardModel;
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
        let lengths: Vec<usize> = tokens.iter().map(TokenizedPair::packed_len).collect();
        let mut scores = vec![PairScores::new(f64::NAN, f64::NAN); pairs.len()];
        let mut done = 0;
        for batch in plan_batches_by_length(&lengths, self.settings.token_budget) {
            let packed: Vec<&TokenizedPair> = batch.iter().filter_map(|&i| tokens.get(i)).collect();
            let values = tch::no_grad(|| Ok::<_, ModelError>(Vec::<f32>::try_from(&self.scores(&packed)?)?))?;
            for (&i, pair) in batch.iter().zip(values.chunks_exact(2)) {
                if let (Some(place), [a, b]) = (scores.get_mut(i), pair) {
                    *place = PairScores::new(f64::from(*a), f64::from(*b));
                }
            }
            done += batch.len() as u64;
            if observer.observe(&Event::Advanced { stage, done }) == Control::Stop {
                return Err(stopped());
            }
        }
        let _ = observer.observe(&Event::Finished { stage });
        Ok(scores)
    }
}
