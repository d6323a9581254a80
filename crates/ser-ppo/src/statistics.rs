//! The statistics of one step of PPO.

use serde::{Deserialize, Serialize};

use crate::masked::{mean, variance};
use crate::{MiniBatchLoss, ObjectiveStatistics};

/// One step, under TRL's names: serialised, it is a line of `metrics.jsonl`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepStatistics {
    /// Mean over responses of the sum of their tokens' KL from the reference, as the penalty measures it, in nats.
    #[serde(rename = "objective/kl")]
    pub kl: f64,
    /// The KL coefficient beta of the step.
    #[serde(rename = "objective/kl_coef")]
    pub kl_coefficient: f64,
    /// Mean over responses of -log pi(response), in nats.
    #[serde(rename = "objective/entropy")]
    pub entropy: f64,
    /// Mean over responses of -beta KL.
    #[serde(rename = "objective/non_score_reward")]
    pub non_score_reward: f64,
    /// `objective/non_score_reward` + `objective/scores`.
    #[serde(rename = "objective/rlhf_reward")]
    pub rlhf_reward: f64,
    /// Mean score.
    #[serde(rename = "objective/scores")]
    pub scores: f64,
    /// Standard deviation of the scores.
    #[serde(rename = "objective/scores_std")]
    pub scores_std: f64,
    /// Share of scores at a limit of scaling or clip.
    #[serde(rename = "objective/scores_at_limit")]
    pub scores_at_limit: f64,
    /// Mean over mini-batches of the mean of (log pi - log pi_old)² / 2.
    #[serde(rename = "policy/approxkl_avg")]
    pub approx_kl: f64,
    /// Mean over mini-batches of the mean of log pi_old - log pi.
    #[serde(rename = "policy/policykl_avg")]
    pub policy_kl: f64,
    /// Mean over mini-batches of the share of tokens whose policy loss the clip decided.
    #[serde(rename = "policy/clipfrac_avg")]
    pub clip_fraction: f64,
    /// Mean over mini-batches of the entropy of the next-token distributions, in nats.
    #[serde(rename = "policy/entropy_avg")]
    pub policy_entropy: f64,
    /// Mean over mini-batches of the policy loss.
    #[serde(rename = "loss/policy_avg")]
    pub policy_loss: f64,
    /// Mean over mini-batches of the value loss.
    #[serde(rename = "loss/value_avg")]
    pub value_loss: f64,
    /// Mean over mini-batches of the share of tokens whose value loss the clip decided.
    #[serde(rename = "val/clipfrac_avg")]
    pub value_clip_fraction: f64,
    /// Mean over mini-batches of their mean probability ratio.
    #[serde(rename = "val/ratio")]
    pub ratio: f64,
    /// Variance over mini-batches of their mean probability ratio, Bessel's correction applied; 0 for a single one.
    #[serde(rename = "val/ratio_var")]
    pub ratio_var: f64,
    /// Mini-batches skipped because of their ratio.
    #[serde(rename = "val/num_skipped")]
    pub num_skipped: u64,
    /// End tokens in the responses.
    #[serde(rename = "val/num_eos_tokens")]
    pub num_eos_tokens: u64,
    /// Mean of the values.
    #[serde(rename = "val/mean")]
    pub values_mean: f64,
    /// Standard deviation of the values.
    #[serde(rename = "val/std")]
    pub values_std: f64,
    /// Standard deviation of the returns.
    #[serde(rename = "returns/std")]
    pub returns_std: f64,
    /// 1 - Var(R - V) / Var(R), of the rollouts' values.
    #[serde(rename = "val/explained_variance")]
    pub explained_variance: f64,
    /// Mean number of response tokens.
    #[serde(rename = "tokens/responses_len_mean")]
    pub response_length: f64,
    /// Learning rate.
    #[serde(rename = "lr")]
    pub learning_rate: f64,
    /// Rollouts so far.
    pub episode: u64,
}

impl StepStatistics {
    /// The statistics of one step, from those of its rollouts and from every mini-batch of every epoch that ran.
    pub fn new(o: &ObjectiveStatistics, mini_batches: &[MiniBatchLoss], learning_rate: f64, episode: u64) -> Self {
        let average = |of: fn(&MiniBatchLoss) -> f64| mean(|| mini_batches.iter().map(of)).unwrap_or(0.0);
        StepStatistics {
            kl: o.kl,
            kl_coefficient: o.kl_coefficient,
            entropy: o.entropy,
            non_score_reward: o.non_score_reward,
            rlhf_reward: o.rlhf_reward,
            scores: o.scores,
            scores_std: o.scores_std,
            scores_at_limit: o.scores_at_limit,
            approx_kl: average(|m| m.approx_kl),
            policy_kl: average(|m| m.policy_kl),
            clip_fraction: average(|m| m.clip_fraction),
            policy_entropy: average(|m| m.entropy),
            policy_loss: average(|m| m.policy),
            value_loss: average(|m| m.value),
            value_clip_fraction: average(|m| m.value_clip_fraction),
            ratio: average(|m| m.ratio),
            ratio_var: variance(|| mini_batches.iter().map(|m| m.ratio)).unwrap_or(0.0),
            num_skipped: mini_batches.iter().filter(|m| m.skipped).count() as u64,
            num_eos_tokens: o.num_eos_tokens,
            values_mean: o.values_mean,
            values_std: o.values_std,
            returns_std: o.returns_std,
            explained_variance: o.explained_variance,
            response_length: o.response_length,
            learning_rate,
            episode,
        }
    }

    /// Names and numbers, as [`Event::Metrics`](ser_core::Event) takes them.
    pub fn metrics(&self) -> [(&'static str, f64); 26] {
        [
            ("objective/kl", self.kl),
            ("objective/kl_coef", self.kl_coefficient),
            ("objective/entropy", self.entropy),
            ("objective/non_score_reward", self.non_score_reward),
            ("objective/rlhf_reward", self.rlhf_reward),
            ("objective/scores", self.scores),
            ("objective/scores_std", self.scores_std),
            ("objective/scores_at_limit", self.scores_at_limit),
            ("policy/approxkl_avg", self.approx_kl),
            ("policy/policykl_avg", self.policy_kl),
            ("policy/clipfrac_avg", self.clip_fraction),
            ("policy/entropy_avg", self.policy_entropy),
            ("loss/policy_avg", self.policy_loss),
            ("loss/value_avg", self.value_loss),
            ("val/clipfrac_avg", self.value_clip_fraction),
            ("val/ratio", self.ratio),
            ("val/ratio_var", self.ratio_var),
            ("val/num_skipped", self.num_skipped as f64),
            ("val/num_eos_tokens", self.num_eos_tokens as f64),
            ("val/mean", self.values_mean),
            ("val/std", self.values_std),
            ("returns/std", self.returns_std),
            ("val/explained_variance", self.explained_variance),
            ("tokens/responses_len_mean", self.response_length),
            ("lr", self.learning_rate),
            ("episode", self.episode as f64),
        ]
    }
}
