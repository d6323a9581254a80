//! A reward model as a reward of single answers.

use std::sync::Arc;

use ser_core::{Context, Message, Pair, PairId, PairScores, RawText, Reward, Scorer};
use sha2::{Digest, Sha256};

use crate::run_folder::hash_text;

/// Any [`Scorer`] as a [`Reward`].
///
/// A scorer takes pairs, so each answer is scored as a pair with itself; a scorer that computes shared tokens once then does
/// no extra work. A pair's id is a hash of its texts, so rewards and data sets can share a scorer that caches by id.
#[derive(Debug)]
pub struct ScorerReward<S> {
    scorer: S,
    probability: bool,
    truncated: u64,
}

impl<S: Scorer> ScorerReward<S> {
    /// The reward is the raw score r.
    pub fn raw(scorer: S) -> Self {
        ScorerReward { scorer, probability: false, truncated: 0 }
    }

    /// The reward is p = sigmoid(r) (Eq. 1), as reward scaling (Eq. 7) expects it.
    pub fn probability(scorer: S) -> Self {
        ScorerReward { probability: true, ..ScorerReward::raw(scorer) }
    }

    /// The number of answers that were too long for the scorer and were truncated at their end.
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// The scorer.
    pub fn scorer_mut(&mut self) -> &mut S {
        &mut self.scorer
    }

    /// Returns the scorer.
    pub fn into_inner(self) -> S {
        self.scorer
    }
}

impl<S: Scorer> Reward for ScorerReward<S> {
    type Error = S::Error;

    fn reward(&mut self, answers: &[(&[Message], &str)], cx: &mut Context<'_>) -> Result<Vec<f64>, S::Error> {
        let pairs: Vec<_> =
            answers.iter().map(|(prompt, answer)| Arc::new(paired_with_itself(prompt, answer))).collect();
        let (scores, truncated) = self.scorer.score_truncated(&pairs, cx)?;
        self.truncated += truncated as u64;
        let reward = |scores: &PairScores| if self.probability { scores.a.sigmoid().get() } else { scores.a.0 };
        Ok(scores.iter().map(reward).collect())
    }
}

fn paired_with_itself(prompt: &[Message], answer: &str) -> Pair {
    let mut hasher = Sha256::new();
    let texts = prompt.iter().flat_map(|turn| [turn.role.as_str(), &turn.content]).chain([answer]);
    texts.for_each(|text| hash_text(text, &mut hasher));
    let hash: [u8; 32] = hasher.finalize().into();
    let id = PairId(hash.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)));
    let raw = if let [_] = prompt { RawText::Joined } else { RawText::None };
    Pair { id, prompt: prompt.to_vec(), responses: [answer.to_owned(), answer.to_owned()], response_turns: None, raw }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;
    use std::sync::Mutex;

    use ser_core::scorer_fn;

    use super::*;

    /// The scorer caches scores by id, and two rewards use it in turn.
    #[test]
    fn two_rewards_can_share_a_scorer_that_caches_by_id() {
        let known = Mutex::new(HashMap::new());
        let scorer = scorer_fn(|pairs, _| {
            let mut known = known.lock().unwrap();
            let score = |pair: &Arc<Pair>| *known.entry(pair.id).or_insert(pair.responses[0].len() as f64);
            Ok::<_, Infallible>(pairs.iter().map(score).map(|score| PairScores::new(score, score)).collect())
        });
        let cx = &mut Context::silent();
        let prompt = [Message::user("q")];
        let (mut first, mut second) = (ScorerReward::raw(scorer), ScorerReward::raw(scorer));
        assert_eq!(first.reward(&[(&prompt, "x"), (&prompt, "four")], cx).unwrap(), [1.0, 4.0]);
        assert_eq!(second.reward(&[(&prompt, "seven!!"), (&prompt, "x"), (&[], "ab")], cx).unwrap(), [7.0, 1.0, 2.0]);
    }
}
