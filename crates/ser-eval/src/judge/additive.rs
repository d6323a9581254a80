//! A model behind an endpoint that grades each answer separately.

use std::sync::Arc;

use ser_core::{Context, Judge, Pair, PairScores, Verdict};

use super::chat::Chat;
use super::prompt::grade;
use super::reward::verdict;
use super::{JudgeSettings, Transport, Usage};
use crate::EvalError;

/// Asks a model for an additive score from 0 to 5 per answer, in the format of the authors' code (`Score: n`, then
/// `Evaluation evidence: ...`). The higher score wins, equal scores tie, and a pair with an unreadable score is a
/// [`Verdict::Failure`]. [`JudgeSettings::authors_code`] also has the criteria and the sampling of the authors' code.
pub struct AdditiveJudge {
    chat: Chat,
}

impl AdditiveJudge {
    /// Makes a judge over HTTP. Reads the API key and the cache.
    ///
    /// # Errors
    /// The errors of [`JudgeSettings::check`], [`EvalError::NoApiKey`], [`EvalError::BadApiKey`], and errors of the
    /// cache.
    #[cfg(feature = "http")]
    pub fn new(settings: JudgeSettings) -> Result<Self, EvalError> {
        let transport = Box::new(super::Http::new(&settings)?);
        AdditiveJudge::with_transport(settings, transport)
    }

    /// Makes a judge over another transport.
    ///
    /// # Errors
    /// The errors of [`JudgeSettings::check`] and of the cache.
    pub fn with_transport(settings: JudgeSettings, transport: Box<dyn Transport>) -> Result<Self, EvalError> {
        Ok(AdditiveJudge { chat: Chat::new(settings, transport)? })
    }

    /// The scores of each pair's answers, A's first, from 0 to 5; none if no score could be read.
    ///
    /// # Errors
    /// As [`judge`](Judge::judge).
    pub fn scores(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<[Option<f64>; 2]>, EvalError> {
        let rubric = self.chat.settings().rubric;
        let mut questions = Vec::with_capacity(2 * pairs.len());
        for pair in pairs {
            questions.extend(pair.responses.iter().map(|answer| grade(rubric, &pair.prompt, answer)));
        }
        let scores = self.chat.ask(&questions, |reading| reading.score(), cx)?;
        Ok(scores
            .chunks_exact(2)
            .map(|both| [both.first(), both.last()].map(|score| score.copied().flatten()))
            .collect())
    }

    /// The verdict that two scores give.
    pub fn verdict(scores: [Option<f64>; 2]) -> Verdict {
        match scores {
            [Some(a), Some(b)] => verdict(PairScores::new(a, b)),
            _ => Verdict::Failure,
        }
    }

    /// The mean score of each side, over the answers whose score was read; `None` if no score was read.
    pub fn mean_scores(scores: &[[Option<f64>; 2]]) -> [Option<f64>; 2] {
        let mean = |side: usize| {
            let read: Vec<f64> = scores.iter().filter_map(|both| both.get(side).copied().flatten()).collect();
            (!read.is_empty()).then(|| read.iter().sum::<f64>() / read.len() as f64)
        };
        [mean(0), mean(1)]
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

impl Judge for AdditiveJudge {
    type Error = EvalError;

    fn judge(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Verdict>, EvalError> {
        Ok(self.scores(pairs, cx)?.into_iter().map(AdditiveJudge::verdict).collect())
    }
}
