//! A reward model as judge.

use std::sync::Arc;

use ser_core::{Context, Judge, Pair, PairScores, Scorer, Verdict};

/// Judges by the scores of a [`Scorer`]: the strictly higher score wins, equal scores tie, and NaN gives no verdict.
///
/// A policy that was trained against the same reward model wins under it by construction: use another reward model. A
/// reward model of `ser-model` is loaded by `RewardModel::for_scoring`, which refuses one without a trained head and
/// reads texts as in its training.
#[derive(Clone, Copy, Debug)]
pub struct RewardJudge<S>(pub S);

impl<S: Scorer> Judge for RewardJudge<S> {
    type Error = S::Error;

    fn judge(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Verdict>, S::Error> {
        Ok(self.0.score_truncated(pairs, cx)?.0.into_iter().map(verdict).collect())
    }
}

/// The verdict that two scores give.
pub(super) fn verdict(scores: PairScores) -> Verdict {
    match scores.higher() {
        Some(side) => Verdict::Prefers(side),
        None if scores.a == scores.b => Verdict::Tie,
        None => Verdict::Failure,
    }
}
