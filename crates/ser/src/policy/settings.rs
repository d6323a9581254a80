//! The settings of a PPO run: steps, sampling, checkpoints, kept answers.

use ser_core::Sampling;
use ser_ppo::DiagnosisSettings;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The settings of a PPO run, beside those of PPO itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyRunSettings {
    /// The number of steps, each of `ppo.batch_size` rollouts; default: each prompt once.
    pub steps: Option<u64>,
    /// Softmax temperature of the rollouts, over 0. At values other than 1 the rollouts are not distributed as the policy.
    pub temperature: f64,
    /// Rollouts are sampled from the k most probable tokens; 0 means all.
    pub top_k: usize,
    /// Rollouts are sampled from the most probable tokens whose mass reaches this share.
    pub top_p: f64,
    /// The least number of tokens of an answer; 0 means no limit. Up to it, end tokens are excluded from the distributions
    /// of policy and reference, in sampling and in log-probabilities. (TRL excludes them in sampling only, so that its KL
    /// divergence is too low, and even negative.)
    pub min_new_tokens: usize,
    /// Texts that end an answer and are not part of it.
    pub stop: Vec<String>,
    /// Write a checkpoint every N steps; a stopped or killed run continues from it.
    pub save_steps: u64,
    /// The largest number of checkpoints; the oldest is removed first. All are removed once the result is saved.
    pub save_total_limit: usize,
    /// Keep answers every N steps.
    pub sample_every: u64,
    /// The number of answers that are kept each time.
    pub samples: usize,
    /// The limits of the warnings.
    pub diagnosis: DiagnosisSettings,
}

impl Default for PolicyRunSettings {
    fn default() -> Self {
        PolicyRunSettings {
            steps: None,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_new_tokens: 0,
            stop: Vec::new(),
            save_steps: 20,
            save_total_limit: 1,
            sample_every: 10,
            samples: 2,
            diagnosis: DiagnosisSettings::default(),
        }
    }
}

impl PolicyRunSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`] with the first setting that cannot be used.
    pub fn check(&self) -> Result<(), Error> {
        let bad = |field, value: String, expected| Err(Error::Setting { field, value, expected });
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return bad("temperature", self.temperature.to_string(), "finite and over 0: PPO needs samples");
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return bad("top_p", self.top_p.to_string(), "over 0 and at most 1");
        }
        for (field, value) in [
            ("steps", self.steps.unwrap_or(1)),
            ("save_steps", self.save_steps),
            ("save_total_limit", self.save_total_limit as u64),
            ("sample_every", self.sample_every),
        ] {
            if value == 0 {
                return bad(field, "0".to_owned(), "at least 1");
            }
        }
        Ok(())
    }

    /// The sampling of a step's answers.
    pub(crate) fn sampling(&self, max_new_tokens: usize, seed: u64) -> Sampling {
        Sampling {
            max_new_tokens,
            min_new_tokens: self.min_new_tokens.min(max_new_tokens),
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            stop: self.stop.clone(),
            seed,
            ..Sampling::default()
        }
    }
}
