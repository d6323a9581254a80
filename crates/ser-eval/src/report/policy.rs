//! The policy part of a report: trainings, comparisons, sample answers.

use std::sync::Arc;

use ser_core::{Clusters, Pair, Side, Verdict};
use serde::{Deserialize, Serialize};

use super::headline::percent;
use crate::{Bootstrap, Estimate, EvalError, VerdictCounts, WinRate, length_controlled};

/// Policies of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicyReport {
    /// Trainings, in the order in which they ran.
    pub stages: Vec<PolicyStage>,
    /// Win rates between policies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<Comparison>,
    /// Answers of the policies to the same prompts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<SamplePrompt>,
}

/// How a policy is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PolicyTraining {
    /// Supervised, on chosen answers.
    Sft,
    /// On pairs, without a reward model.
    Dpo,
    /// Against a reward.
    Ppo,
}

/// One training of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyStage {
    /// Display name, also used by comparisons: `SFT`, `PPO-SER`, `PPO-Full`.
    pub name: String,
    /// The kind of training.
    pub training: PolicyTraining,
    /// Target of the KL controller, in the unit of `objective/kl`; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_kl: Option<f64>,
    /// Metrics over steps.
    pub curves: Vec<Curve>,
}

/// A metric over steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// TRL's name: `loss`, `eval_loss`, `objective/scores`, `objective/kl`, ...
    pub metric: String,
    /// Steps, from 1, increasing.
    pub steps: Vec<u64>,
    /// The value at each step, finite.
    pub values: Vec<f64>,
}

impl PolicyStage {
    /// A stage without curves.
    pub fn new(name: impl Into<String>, training: PolicyTraining) -> Self {
        PolicyStage { name: name.into(), training, target_kl: None, curves: Vec::new() }
    }

    /// Appends the metrics of a step, in the form of `ser_core::Event::Metrics`. Values that are NaN or infinite (a
    /// metric that a step lacks) are left out, since a report cannot contain them.
    pub fn record(&mut self, step: u64, values: &[(&str, f64)]) {
        for &(metric, value) in values.iter().filter(|(_, value)| value.is_finite()) {
            let index = self.curves.iter().position(|curve| curve.metric == metric).unwrap_or_else(|| {
                self.curves.push(Curve { metric: metric.to_owned(), steps: Vec::new(), values: Vec::new() });
                self.curves.len() - 1
            });
            if let Some(curve) = self.curves.get_mut(index) {
                curve.steps.push(step);
                curve.values.push(value);
            }
        }
    }

    /// The curve of a metric, if it was recorded.
    pub fn curve(&self, metric: &str) -> Option<&Curve> {
        self.curves.iter().find(|curve| curve.metric == metric)
    }
}

/// A judge's verdicts on the answers of one policy against those of another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The policy whose wins are counted.
    pub policy: String,
    /// The other policy.
    pub against: String,
    /// The judge's display name.
    pub judge: String,
    /// Wins, ties, losses and failures.
    pub counts: VerdictCounts,
    /// (wins + ties / 2) / judged; none without a verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub win_rate: Option<Estimate>,
    /// Standard error of the win rate; none with fewer than two verdicts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<f64>,
    /// The win rate at equal length, see [`length_controlled`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length_controlled: Option<Estimate>,
    /// Share of the judged pairs with different answers on which the judge contradicted itself between the two orders;
    /// none without such a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contradiction_rate: Option<f64>,
    /// Mean length of the answers in characters, the policy's first; none without pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_lengths: Option<[f64; 2]>,
}

impl Comparison {
    /// Computes a comparison from a judge's verdicts on pairs whose answer A is `policy`'s and whose answer B is
    /// `against`'s. `clusters` gives the prompt of each pair.
    ///
    /// # Errors
    /// [`EvalError::LengthMismatch`] and the errors of [`Bootstrap::check`].
    pub fn measure(
        policy: impl Into<String>,
        against: impl Into<String>,
        judge: impl Into<String>,
        pairs: &[Arc<Pair>],
        verdicts: &[Verdict],
        clusters: Clusters<'_>,
        bootstrap: &Bootstrap,
    ) -> Result<Self, EvalError> {
        if pairs.len() != verdicts.len() {
            return Err(EvalError::LengthMismatch {
                left_name: "the pairs",
                left: pairs.len(),
                right_name: "the verdicts",
                right: verdicts.len(),
            });
        }
        let length = |pair: &Pair, side| pair.response(side).chars().count() as f64;
        let counts = VerdictCounts::of(verdicts);
        let rate = WinRate::measure(verdicts, clusters, bootstrap)?;
        let (mut outcomes, mut differences, mut ids) = (Vec::new(), Vec::new(), Vec::new());
        for (index, (pair, verdict)) in pairs.iter().zip(verdicts).enumerate() {
            outcomes.push(match verdict {
                Verdict::Prefers(Side::A) => 1.0,
                Verdict::Prefers(Side::B) => 0.0,
                Verdict::Tie | Verdict::Contradiction => 0.5,
                Verdict::Failure => continue,
            });
            differences.push(length(pair, Side::A) - length(pair, Side::B));
            ids.extend(clusters.id(index));
        }
        let asked = |(pair, verdict): &(&Arc<Pair>, &Verdict)| {
            **verdict != Verdict::Failure && pair.response(Side::A) != pair.response(Side::B)
        };
        let asked = pairs.iter().zip(verdicts).filter(asked).count() as u64;
        let mean = |side| pairs.iter().map(|pair| length(pair, side)).sum::<f64>() / pairs.len() as f64;
        Ok(Comparison {
            policy: policy.into(),
            against: against.into(),
            judge: judge.into(),
            counts,
            win_rate: rate.map(|rate| rate.rate),
            standard_error: rate.and_then(|rate| rate.standard_error),
            length_controlled: length_controlled(&outcomes, &differences, Clusters::Ids(&ids), bootstrap)?,
            contradiction_rate: (asked > 0).then(|| counts.contradictions as f64 / asked as f64),
            mean_lengths: (!pairs.is_empty()).then(|| [mean(Side::A), mean(Side::B)]),
        })
    }
}

impl Comparison {
    /// Reasons to distrust the win rate, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let VerdictCounts { contradictions, failures, .. } = self.counts;
        let (name, judged) = (format!("{} against {}", self.policy, self.against), self.counts.judged());
        let mut warnings = Vec::new();
        if judged == 0 && failures > 0 {
            warnings.push(format!("{name}: none of {failures} pairs could be judged."));
        } else if failures > 0 && failures >= judged {
            let all = judged + failures;
            warnings
                .push(format!("{name}: {failures} of {all} pairs could not be judged; the win rate is of the rest."));
        }
        if let Some(rate) = self.contradiction_rate.filter(|rate| *rate >= CONTRADICTING) {
            warnings.push(format!(
                "{name}: the judge contradicted itself on {contradictions} pairs ({} % of those with different answers), \
                 which count as ties. A judge that tosses a coin does so on 50 %, one that always prefers the first answer on \
                 100 %: the win rate says little about the answers.",
                percent(rate)
            ));
        }
        warnings
    }
}

/// From this contradiction rate on, a judge is as good as a coin toss.
const CONTRADICTING: f64 = 0.5;

/// A prompt with the policies' answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplePrompt {
    /// The prompt as text.
    pub prompt: String,
    /// The answers, in the order of the stages.
    pub answers: Vec<SampleAnswer>,
}

/// A policy's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleAnswer {
    /// The policy's name.
    pub policy: String,
    /// The answer's text.
    pub text: String,
    /// Its reward, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward: Option<f64>,
}
