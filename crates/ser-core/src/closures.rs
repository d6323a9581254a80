//! Closures as implementations of the traits of one method.

use std::sync::Arc;

use crate::{
    BoxError, Control, Event, Judge, LearningStatus, LossOutput, Message, Observer, Pair, PairLoss, PairProbabilities,
    PairScores, PairTarget, Reward, Scorer, StatusRule, Verdict,
};

impl<F, E> Scorer for F
where
    F: FnMut(&[Arc<Pair>]) -> Result<Vec<PairScores>, E> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    type Error = E;

    fn score(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<PairScores>, E> {
        self(pairs)
    }
}

impl<F> Reward for F
where
    F: FnMut(&[Message], &str) -> f64 + Send,
{
    type Error = std::convert::Infallible;

    fn reward(&mut self, answers: &[(&[Message], &str)]) -> Result<Vec<f64>, Self::Error> {
        Ok(answers.iter().map(|(prompt, answer)| self(prompt, answer)).collect())
    }
}

impl<F, E> StatusRule for F
where
    F: Fn(&[PairProbabilities]) -> Result<Vec<LearningStatus>, E> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
{
    type Error = E;

    fn classify(&self, pairs: &[PairProbabilities]) -> Result<Vec<LearningStatus>, E> {
        self(pairs)
    }
}

impl<F> PairLoss for F
where
    F: Fn(&[[f64; 2]], &[PairTarget]) -> Result<LossOutput, BoxError> + Send + Sync,
{
    fn evaluate(&self, scores: &[[f64; 2]], targets: &[PairTarget]) -> Result<LossOutput, BoxError> {
        self(scores, targets)
    }
}

impl<F, E> Judge for F
where
    F: FnMut(&[Arc<Pair>]) -> Result<Vec<Verdict>, E> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    type Error = E;

    fn judge(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Verdict>, E> {
        self(pairs)
    }
}

impl<F> Observer for F
where
    F: FnMut(&Event<'_>) -> Control + Send,
{
    fn observe(&mut self, event: &Event<'_>) -> Control {
        self(event)
    }
}
