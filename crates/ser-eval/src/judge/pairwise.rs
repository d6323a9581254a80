//! A model behind an endpoint that compares two answers, in both orders.

use std::sync::Arc;

use ser_core::{Context, Judge, Pair, Verdict};

use super::chat::Chat;
use super::prompt::compare;
use super::{JudgeSettings, Transport, Usage};
use crate::EvalError;

/// Asks a model which of two answers is better, once in each order, as the paper does. Orders that disagree are a
/// [`Verdict::Contradiction`], which counts as a tie; a pair without a readable answer in one of the orders is a
/// [`Verdict::Failure`]. Identical answers tie without a request.
pub struct PairwiseJudge {
    chat: Chat,
}

impl PairwiseJudge {
    /// Makes a judge over HTTP. Reads the API key and the cache.
    ///
    /// # Errors
    /// The errors of [`JudgeSettings::check`], [`EvalError::NoApiKey`], [`EvalError::BadApiKey`], and errors of the
    /// cache.
    #[cfg(feature = "http")]
    pub fn new(settings: JudgeSettings) -> Result<Self, EvalError> {
        let transport = Box::new(super::Http::new(&settings)?);
        PairwiseJudge::with_transport(settings, transport)
    }

    /// Makes a judge over another transport.
    ///
    /// # Errors
    /// The errors of [`JudgeSettings::check`] and of the cache.
    pub fn with_transport(settings: JudgeSettings, transport: Box<dyn Transport>) -> Result<Self, EvalError> {
        Ok(PairwiseJudge { chat: Chat::new(settings, transport)? })
    }

    /// Requests, tokens and unreadable replies so far.
    pub fn usage(&self) -> Usage {
        self.chat.usage()
    }

    /// Excerpts of the first unreadable replies, at most two.
    pub fn unreadable_samples(&self) -> &[String] {
        self.chat.unreadable_samples()
    }
}

impl Judge for PairwiseJudge {
    type Error = EvalError;

    fn judge(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Verdict>, EvalError> {
        let differing: Vec<bool> = pairs.iter().map(|pair| pair.responses[0] != pair.responses[1]).collect();
        let mut questions = Vec::new();
        for (pair, _) in pairs.iter().zip(&differing).filter(|(_, differs)| **differs) {
            let [a, b] = &pair.responses;
            questions.extend([compare(&pair.prompt, a, b), compare(&pair.prompt, b, a)]);
        }
        let readings = self.chat.ask(&questions, |reading| reading.verdict(), cx)?;
        let mut readings = readings.chunks_exact(2);
        let verdict = |differs: bool| match differs.then(|| readings.next()) {
            None => Verdict::Tie,
            Some(Some([Some(first), Some(second)])) if *first == second.swapped() => *first,
            Some(Some([Some(_), Some(_)])) => Verdict::Contradiction,
            Some(_) => Verdict::Failure,
        };
        Ok(differing.into_iter().map(verdict).collect())
    }
}
