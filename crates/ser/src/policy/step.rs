//! One step of PPO.

use ser_core::{Context, Control, Event, Message, Observer, Policy, Reward, Rollout, Stage};
use ser_ppo::{
    KlPenalty, MaskedRow, MiniBatchLoss, PreparedStep, StepStatistics, TargetedRollout, masked_mean, masked_var,
};

use super::state::{KeptAnswer, PolicyStep};
use super::training::PpoTraining;
use crate::Error;
use crate::seeds::seed_for;

/// Metrics of a step, by name.
type Metrics = Vec<(&'static str, f64)>;

/// The notes of the calls within a step. Their progress is not reported: the stage's progress is in steps, and a step is
/// not stopped halfway.
#[derive(Default)]
struct Notes(Vec<String>);

impl Observer for Notes {
    fn observe(&mut self, event: &Event<'_>) -> Control {
        if let Event::Note { text } = event {
            self.0.push((*text).to_owned());
        }
        Control::Continue
    }
}

impl<P: Policy + ?Sized, R: Reward + ?Sized> PpoTraining<'_, P, R> {
    /// Takes a step and records its metrics. Returns these, the number of optimizer steps that were skipped because
    /// gradients overflowed, and the notes of policy and reward.
    pub(super) fn take_step(&mut self) -> Result<(Metrics, usize, Vec<String>), Error> {
        let settings = self.ppo.settings().clone();
        let step = self.state.steps.len() as u64;
        let _span = tracing::debug_span!("ppo_step", step = step + 1).entered();
        let learning_rate = self.ppo.learning_rate(step, self.total);
        let prompts = self.prompts.of_step(step, settings.batch_size);
        let seed = seed_for(settings.seed, &format!("rollouts of step {step}"));
        let sampling = self.settings.sampling(self.ppo.response_length(step), seed);
        let mut notes = Notes::default();
        let full_kl = settings.kl_penalty == KlPenalty::Full;
        let rollouts = tracing::debug_span!("rollouts", prompts = prompts.len())
            .in_scope(|| {
                let mut cx = Context::new(Stage::Generate, &mut notes);
                self.policy.rollout(&prompts, &sampling, full_kl, &mut cx)
            })
            .map_err(Error::stage("sampling rollouts"))?;
        Error::count("sampling rollouts", prompts.len(), rollouts.len())?;
        let rewards = self.rewards(&prompts, &rollouts, &mut notes)?;
        self.keep_answers(step + 1, &prompts, &rollouts, &rewards);

        let failed = |e| Error::stage("PPO's arithmetic")(e);
        let scored = self.ppo.score(&mut self.state.moments, &rollouts, &rewards).map_err(failed)?;
        let coefficient = self.state.controller.coefficient();
        let prepared = self.ppo.advantages(&scored, coefficient, &self.policy.end_tokens()).map_err(failed)?;
        let (losses, norms) = self.optimize(step, &rollouts, &prepared)?;
        let grad_norm = norms.last().copied().unwrap_or_default();
        self.state.controller.update(prepared.statistics.kl, rollouts.len()).map_err(failed)?;

        let episode = (step + 1) * rollouts.len() as u64;
        let statistics = StepStatistics::new(&prepared.statistics, &losses, learning_rate, episode);
        let all = [MaskedRow::whole(&rewards)];
        let reward_mean = masked_mean(&all).unwrap_or_default();
        let reward_std = masked_var(&all).unwrap_or_default().sqrt();
        let step_metrics = PolicyStep { reward_mean, reward_std, grad_norm, statistics };
        self.state.steps.push(step_metrics);
        Ok((step_metrics.metrics(), norms.iter().filter(|norm| norm.is_infinite()).count(), notes.0))
    }

    fn rewards(
        &mut self,
        prompts: &[Vec<Message>],
        rollouts: &[Rollout],
        notes: &mut Notes,
    ) -> Result<Vec<f64>, Error> {
        let answers: Vec<(&[Message], &str)> = rollouts
            .iter()
            .map(|r| (prompts.get(r.prompt).map_or(&[][..], Vec::as_slice), r.response.text.as_str()))
            .collect();
        let _span = tracing::debug_span!("reward", answers = answers.len()).entered();
        let mut cx = Context::new(Stage::Reward, notes);
        let rewards = self.reward.reward(&answers, &mut cx).map_err(Error::stage("rewarding answers"))?;
        Error::count("rewarding answers", answers.len(), rewards.len())?;
        Ok(rewards)
    }

    /// Runs the epochs of optimizer steps. Returns the loss of each mini-batch and the gradient norm of each optimizer step.
    fn optimize(
        &mut self,
        step: u64,
        rollouts: &[Rollout],
        prepared: &PreparedStep,
    ) -> Result<(Vec<MiniBatchLoss>, Vec<f64>), Error> {
        let settings = self.ppo.settings();
        let learning_rate = self.ppo.learning_rate(step, self.total);
        let samples: Vec<TargetedRollout<'_>> = rollouts
            .iter()
            .zip(&prepared.targets)
            .map(|(rollout, targets)| TargetedRollout { rollout, targets })
            .collect();
        let (mut losses, mut norms) = (Vec::new(), Vec::new());
        for epoch in 0..settings.ppo_epochs as u64 {
            let _span = tracing::debug_span!("epoch", epoch).entered();
            let start = losses.len();
            for update in self.ppo.updates(samples.len(), step, epoch) {
                for indices in &update {
                    let batch: Vec<TargetedRollout<'_>> =
                        indices.iter().filter_map(|p| samples.get(*p).copied()).collect();
                    let mini_batch: Vec<&Rollout> = batch.iter().map(|s| s.rollout).collect();
                    self.policy
                        .accumulate(&mini_batch, 1.0 / update.len() as f64, &mut |now| {
                            let (loss, gradients) = self.ppo.mini_batch_loss(&batch, now)?;
                            losses.push(loss);
                            Ok(gradients)
                        })
                        .map_err(Error::stage("evaluating the policy"))?;
                }
                let norm = self.policy.step(learning_rate);
                norms.push(norm.map_err(Error::stage("the policy's optimizer step"))?);
            }
            if self.ppo.stops_early(losses.get(start..).unwrap_or_default()) {
                break;
            }
        }
        Ok((losses, norms))
    }

    fn keep_answers(&mut self, step: u64, prompts: &[Vec<Message>], rollouts: &[Rollout], rewards: &[f64]) {
        let due = step == 1 || step.is_multiple_of(self.settings.sample_every) || step == self.total;
        let kept = if due { self.settings.samples } else { 0 };
        for (rollout, reward) in rollouts.iter().zip(rewards).take(kept) {
            let pairs = rollout.log_probs.iter().zip(&rollout.reference_log_probs);
            self.state.answers.push(KeptAnswer {
                step,
                prompt: prompts.get(rollout.prompt).cloned().unwrap_or_default(),
                response: rollout.response.text.clone(),
                reward: *reward,
                kl: pairs.map(|(p, q)| p - q).sum(),
            });
        }
    }
}
