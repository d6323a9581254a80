//! The state of a PPO run between steps, beside the policy.

use std::path::Path;

use ser_core::Message;
use ser_ppo::{KlController, Ppo, PpoError, RunningMoments, StepStatistics};
use serde::{Deserialize, Deserializer, Serialize};

use crate::Error;
use crate::run_folder::{RunFolder, read_json, write_json, write_lines};

/// The file beside the policy's own, named as by Hugging Face's trainers.
const FILE: &str = "trainer_state.json";

/// The metrics of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyStep {
    /// Mean of the rewards before scaling, normalisation, clipping and penalty.
    #[serde(rename = "env/reward_mean")]
    pub reward_mean: f64,
    /// Their standard deviation; 0 for a single one.
    #[serde(rename = "env/reward_std")]
    pub reward_std: f64,
    /// Norm of the last optimizer step's gradient before clipping; infinite (null in JSON) if the step was skipped because
    /// gradients overflowed float16.
    #[serde(deserialize_with = "null_is_infinite")]
    pub grad_norm: f64,
    /// All others, under TRL's names.
    #[serde(flatten)]
    pub statistics: StepStatistics,
}

fn null_is_infinite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

impl PolicyStep {
    /// Names and values, as [`Event::Metrics`](ser_core::Event) takes them.
    pub fn metrics(&self) -> Vec<(&'static str, f64)> {
        let own =
            [("env/reward_mean", self.reward_mean), ("env/reward_std", self.reward_std), ("grad_norm", self.grad_norm)];
        self.statistics.metrics().into_iter().chain(own).collect()
    }
}

/// An answer that is kept for reading.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptAnswer {
    /// The step, from 1.
    pub step: u64,
    /// The prompt.
    pub prompt: Vec<Message>,
    /// The policy's answer.
    pub response: String,
    /// Its reward before scaling.
    pub reward: f64,
    /// The sum over its tokens of log pi - log pi_ref, in nats.
    pub kl: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) controller: KlController,
    pub(crate) moments: RunningMoments,
    pub(crate) steps: Vec<PolicyStep>,
    pub(crate) answers: Vec<KeptAnswer>,
}

impl State {
    pub(crate) fn new(ppo: &Ppo) -> Result<Self, PpoError> {
        let moments = RunningMoments::default();
        Ok(State { controller: ppo.controller()?, moments, steps: Vec::new(), answers: Vec::new() })
    }

    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        write_json(&folder.join(FILE), self)
    }

    pub(crate) fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(FILE);
        read_json(&path)?.ok_or_else(|| Error::Format { path, message: "it is missing".to_owned() })
    }

    pub(crate) fn write_answers(&self, run: &RunFolder, name: &str) -> Result<(), Error> {
        let path = run.stage_path(name);
        run.write(name, |out| write_lines(out, &path, &self.answers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_skipped_step_survives_a_checkpoint() {
        for grad_norm in [0.5, f64::INFINITY] {
            let step = PolicyStep { grad_norm, ..PolicyStep::default() };
            let text = serde_json::to_string(&step).unwrap();
            assert_eq!(serde_json::from_str::<PolicyStep>(&text).unwrap(), step);
        }
    }
}
