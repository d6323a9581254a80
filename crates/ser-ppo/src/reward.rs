//! From scores to the rewards of rollouts.

use ser_core::Rollout;

use crate::{Ppo, PpoError, RunningMoments, ScoreNormalization, ScoredRollout};

impl Ppo {
    /// Turns the scores of a reward model or function into the rewards of `rollouts`, in this order: Eq. 7, running
    /// normalisation (which `moments` is for), clip, penalty for responses that did not end by themselves.
    ///
    /// If it returns an error, `moments` is as it was.
    pub fn score<'a>(
        &self,
        moments: &mut RunningMoments,
        rollouts: &'a [Rollout],
        scores: &[f64],
    ) -> Result<Vec<ScoredRollout<'a>>, PpoError> {
        let settings = self.settings();
        if scores.len() != rollouts.len() {
            return Err(PpoError::CountMismatch { what: "scores", len: scores.len(), rollouts: rollouts.len() });
        }
        for (rollout, &value) in scores.iter().enumerate() {
            if !value.is_finite() {
                return Err(PpoError::BadScore { rollout, value });
            }
            if settings.reward_scaling.is_some() && !(0.0..=1.0).contains(&value) {
                return Err(PpoError::NotAProbability { rollout, value });
            }
        }
        let scaled: Vec<f64> = match settings.reward_scaling {
            Some(scaling) => scores.iter().map(|x| scaling.scale(*x)).collect(),
            None => scores.to_vec(),
        };
        if settings.score_normalization != ScoreNormalization::None {
            moments.update(&scaled);
        }
        let moments = &*moments;
        let rewarded = rollouts.iter().zip(&scaled).map(|(rollout, &scaled)| {
            let mut score = match settings.score_normalization {
                ScoreNormalization::None => scaled,
                ScoreNormalization::Scale => moments.normalize(scaled, false),
                ScoreNormalization::Standardize => moments.normalize(scaled, true),
            };
            let mut at_limit = settings.reward_scaling.is_some_and(|s| s.at_limit(scaled));
            if let Some(clip) = settings.score_clip {
                at_limit |= score.abs() >= clip;
                score = score.clamp(-clip, clip);
            }
            if !rollout.response.finished {
                score -= settings.missing_eos_penalty;
            }
            ScoredRollout { at_limit, ..ScoredRollout::new(rollout, score) }
        });
        Ok(rewarded.collect())
    }
}
