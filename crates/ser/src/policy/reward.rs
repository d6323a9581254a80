//! A reward model as the reward of single answers.

use std::sync::Arc;

use ser_core::{Message, Pair, PairId, PairScores, RawText, Reward, Scorer};

/// Any [`Scorer`] as a [`Reward`].
///
/// A scorer takes pairs, so each answer is scored as a pair with itself: one that computes shared tokens once does the
/// work once.
#[derive(Debug)]
pub struct ScorerReward<S> {
    scorer: S,
    probability: bool,
    asked: u64,
    truncated: u64,
}

impl<S: Scorer> ScorerReward<S> {
    /// The raw score r.
    pub fn raw(scorer: S) -> Self {
        ScorerReward { scorer, probability: false, asked: 0, truncated: 0 }
    }

    /// p = sigmoid(r) (Eq. 1), which reward scaling (Eq. 7) is for.
    pub fn probability(scorer: S) -> Self {
        ScorerReward { probability: true, ..ScorerReward::raw(scorer) }
    }

    /// How many answers were too long for the scorer and were scored without their end.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// The scorer back.
    pub fn into_inner(self) -> S {
        self.scorer
    }
}

impl<S: Scorer> Reward for ScorerReward<S> {
    type Error = S::Error;

    fn reward(&mut self, answers: &[(&[Message], &str)]) -> Result<Vec<f64>, S::Error> {
        let mut pair = |(prompt, answer): &(&[Message], &str)| {
            // Scorers may keep what they know of a pair by its id. Files count from 0, this from the other end.
            let id = PairId(u64::MAX - self.asked);
            self.asked += 1;
            let responses = [(*answer).to_owned(), (*answer).to_owned()];
            let raw = if let [_] = prompt { RawText::Joined } else { RawText::None };
            Arc::new(Pair { id, prompt: prompt.to_vec(), responses, response_turns: None, raw })
        };
        let pairs: Vec<_> = answers.iter().map(&mut pair).collect();
        let (scores, truncated) = self.scorer.score_truncated(&pairs)?;
        self.truncated += truncated as u64;
        let reward = |scores: &PairScores| if self.probability { scores.a.sigmoid().get() } else { scores.a.0 };
        Ok(scores.iter().map(reward).collect())
    }
}
