//! A table is trained as a policy by this crate, through the `Policy` trait of ser-core.

#![allow(clippy::unwrap_used)]

use ser_core::testing::TablePolicy;
use ser_core::{Context, Message, Policy, Rollout, Sampling};
use ser_ppo::{
    AdaptiveKl, DiagnosisSettings, KlControl, KlController, KlPenalty, Ppo, PpoSettings, ResponseLength,
    RunningMoments, ScoreNormalization, StepStatistics, TargetedRollout, diagnose,
};

const LENGTH: usize = 12;

/// The share of a letter among a response's tokens.
fn reward(rollout: &Rollout) -> f64 {
    rollout.response.text.matches('c').count() as f64 / rollout.response.tokens.len() as f64
}

struct Run {
    ppo: Ppo,
    policy: TablePolicy,
    controller: KlController,
    moments: RunningMoments,
}

impl Run {
    fn new(settings: PpoSettings) -> Self {
        let ppo = settings.check().unwrap();
        let controller = ppo.controller().unwrap();
        Run { policy: TablePolicy::new(LENGTH), ppo, controller, moments: RunningMoments::default() }
    }

    fn step(&mut self, step: u64) -> StepStatistics {
        let settings = self.ppo.settings().clone();
        let sampling = Sampling {
            max_new_tokens: self.ppo.response_length(step),
            seed: settings.seed * 1_000_003 + step,
            ..Default::default()
        };
        let prompts = vec![vec![Message::user("?")]; settings.batch_size];
        let rollouts = self
            .policy
            .rollout(&prompts, &sampling, settings.kl_penalty == KlPenalty::Full, &mut Context::silent())
            .unwrap();
        let raw: Vec<f64> = rollouts.iter().map(reward).collect();
        let scored = self.ppo.score(&mut self.moments, &rollouts, &raw).unwrap();
        let prepared = self.ppo.advantages(&scored, self.controller.coefficient(), &self.policy.end_tokens()).unwrap();
        let mut losses = Vec::new();
        for epoch in 0..settings.ppo_epochs as u64 {
            let start = losses.len();
            for update in self.ppo.updates(rollouts.len(), step, epoch) {
                for mini_batch in &update {
                    let sample = |p: &usize| TargetedRollout { rollout: &rollouts[*p], targets: &prepared.targets[*p] };
                    let samples: Vec<TargetedRollout<'_>> = mini_batch.iter().map(sample).collect();
                    let batch: Vec<&Rollout> = samples.iter().map(|s| s.rollout).collect();
                    let mut objective = |now: &[_]| {
                        let (loss, gradient) = self.ppo.mini_batch_loss(&samples, now)?;
                        losses.push(loss);
                        Ok(gradient)
                    };
                    self.policy.accumulate(&batch, 1.0 / update.len() as f64, &mut objective).unwrap();
                }
                self.policy.step(settings.learning_rate).unwrap();
            }
            if self.ppo.stops_early(&losses[start..]) {
                break;
            }
        }
        self.controller.update(prepared.statistics.kl, rollouts.len()).unwrap();
        let episode = (step + 1) * rollouts.len() as u64;
        StepStatistics::new(&prepared.statistics, &losses, settings.learning_rate, episode)
    }
}

fn settings(seed: u64) -> PpoSettings {
    PpoSettings {
        learning_rate: 0.3,
        batch_size: 32,
        mini_batch_size: 4,
        gradient_accumulation_steps: 2,
        kl_control: KlControl::Adaptive(AdaptiveKl { target: 2.0, horizon: 400.0 }),
        initial_kl_coefficient: 0.05,
        reward_scaling: None,
        response_length: ResponseLength::Uniform { min: 8, max: LENGTH },
        seed,
        ..Default::default()
    }
}

fn mean(steps: &[StepStatistics], of: fn(&StepStatistics) -> f64) -> f64 {
    steps.iter().map(of).sum::<f64>() / steps.len() as f64
}

#[test]
fn reward_rises_and_kl_stays_near_its_target() {
    for seed in 0..3 {
        let mut run = Run::new(settings(seed));
        let steps: Vec<StepStatistics> = (0..300).map(|step| run.step(step)).collect();
        let (start, end) = (&steps[..10], &steps[250..]);
        let (before, after) = (mean(start, |s| s.scores), mean(end, |s| s.scores));
        let kl = mean(end, |s| s.kl);
        assert!(before < 0.4 && after > before + 0.2, "seed {seed}: {before} to {after}");
        assert!((1.7..2.3).contains(&kl), "seed {seed}: KL {kl}");
        assert_eq!(diagnose(&steps, &DiagnosisSettings::default()), [], "seed {seed}");
        assert!(mean(end, |s| s.explained_variance) > mean(start, |s| s.explained_variance));
    }
}

#[test]
fn a_large_coefficient_keeps_the_policy_near_its_reference() {
    let last = |coefficient: f64| {
        let fixed = PpoSettings {
            kl_control: KlControl::Fixed,
            initial_kl_coefficient: coefficient,
            score_normalization: ScoreNormalization::Standardize,
            ..settings(1)
        };
        let mut run = Run::new(fixed);
        let steps: Vec<StepStatistics> = (0..150).map(|step| run.step(step)).collect();
        (mean(&steps[130..], |s| s.kl), mean(&steps[130..], |s| s.scores))
    };
    let (held, free) = (last(2.0), last(0.0));
    assert!(held.0 < 0.5 && free.0 > 4.0 * held.0, "{held:?} {free:?}");
}

#[test]
fn the_entropy_bonus_keeps_entropy() {
    let last = |entropy_coefficient: f64| {
        let mut run = Run::new(PpoSettings {
            entropy_coefficient,
            kl_control: KlControl::Fixed,
            initial_kl_coefficient: 0.0,
            ..settings(2)
        });
        (0..120).map(|step| run.step(step)).last().unwrap().policy_entropy
    };
    let (without, with) = (last(0.0), last(0.5));
    assert!(with > without + 0.2, "{without} {with}");
}

#[test]
fn a_stored_run_resumes_with_the_same_bits() {
    let normalised = || PpoSettings { score_normalization: ScoreNormalization::Scale, ..settings(5) };
    let mut through = Run::new(normalised());
    for step in 0..10 {
        through.step(step);
    }
    let mut first = Run::new(normalised());
    for step in 0..4 {
        first.step(step);
    }
    let state = serde_json::to_string(&(first.controller, first.moments)).unwrap();
    let (controller, moments) = serde_json::from_str(&state).unwrap();
    let mut resumed = Run { controller, moments, policy: first.policy, ppo: normalised().check().unwrap() };
    for step in 4..10 {
        resumed.step(step);
    }
    assert_eq!(resumed.policy, through.policy);
    assert_eq!(resumed.controller, through.controller);
    assert_eq!(resumed.moments, through.moments);
}
