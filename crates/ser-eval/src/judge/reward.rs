//! A reward model as judge.

use std::sync::Arc;

use ser_core::{Judge, Observer, Pair, PairScores, Scorer, Verdict};

/// Judges by any scorer: the answer that scores strictly higher is better, equal scores tie, and NaN is no verdict.
///
/// A policy that was trained against this very reward model wins under it for free: judge it by another. A reward model
/// of `ser-model` is loaded by `RewardModel::for_scoring`, which refuses one without a trained head and reads texts as in
/// its training.
#[derive(Clone, Copy, Debug)]
pub struct RewardJudge<S>(pub S);

impl<S: Scorer> Judge for RewardJudge<S> {
    type Error = S::Error;

    fn judge(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Verdict>, S::Error> {
        Ok(self.0.score_truncated(pairs)?.0.into_iter().map(verdict).collect())
    }

    fn judge_observed(
        &mut self,
        pairs: &[Arc<Pair>],
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Verdict>, S::Error> {
        Ok(self.0.score_observed(pairs, stage, observer)?.into_iter().map(verdict).collect())
    }
}

/// What two scores say.
pub(super) fn verdict(scores: PairScores) -> Verdict {
    match scores.higher() {
        Some(side) => Verdict::Prefers(side),
        None if scores.a == scores.b => Verdict::Tie,
        None => Verdict::Failure,
    }
}
