//! A policy that is a table learns by this crate: through ser-core's `Policy`, with its own hand-written gradients.

#![allow(clippy::unwrap_used)]

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use ser_core::{BoxError, Generator, Message, ObjectiveGradient, Policy, Response, Rollout, Sampling, TokenEvaluation};
use ser_ppo::{
    AdaptiveKl, DiagnosisSettings, KlControl, KlController, Ppo, PpoSettings, ResponseLength, RunningMoments, Sample,
    ScoreNormalization, StepStatistics, diagnose,
};

const VOCABULARY: usize = 5;
const END: u32 = 0;
/// The token that the reward is about.
const LIKED: u32 = 3;
const LENGTH: usize = 12;

/// Logits and a value for every place of a response, whatever stands before it.
#[derive(Clone, PartialEq, Debug)]
struct Table {
    logits: Vec<[f64; VOCABULARY]>,
    reference: Vec<[f64; VOCABULARY]>,
    values: Vec<f64>,
    learning_rate: f64,
}

fn log_softmax(logits: &[f64; VOCABULARY]) -> [f64; VOCABULARY] {
    let total = logits.iter().map(|l| l.exp()).sum::<f64>().ln();
    logits.map(|l| l - total)
}

impl Table {
    fn new(learning_rate: f64) -> Self {
        // The reference seldom ends and likes no token in particular.
        let logits = vec![[-2.0, 0.0, 0.0, 0.0, 0.0]; LENGTH];
        Table { reference: logits.clone(), logits, values: vec![0.0; LENGTH], learning_rate }
    }
}

impl Generator for Table {
    type Error = std::io::Error;

    fn generate(&mut self, prompts: &[Vec<Message>], sampling: &Sampling) -> std::io::Result<Vec<Vec<Response>>> {
        Ok(self.rollout(prompts, sampling)?.into_iter().map(|r| vec![r.response]).collect())
    }
}

impl Policy for Table {
    fn rollout(&mut self, prompts: &[Vec<Message>], sampling: &Sampling) -> std::io::Result<Vec<Rollout>> {
        let mut rng = ChaCha8Rng::seed_from_u64(sampling.seed);
        let mut sample = |prompt: usize| {
            let mut rollout = Rollout {
                prompt,
                prompt_tokens: vec![1],
                response: Response { text: String::new(), tokens: Vec::new(), finished: false },
                log_probs: Vec::new(),
                reference_log_probs: Vec::new(),
                values: Vec::new(),
            };
            for place in 0..LENGTH.min(sampling.max_new_tokens) {
                let log_probs = log_softmax(&self.logits[place]);
                let mut left: f64 = rng.random();
                let mut token = VOCABULARY - 1;
                for (candidate, log_prob) in log_probs.iter().enumerate() {
                    left -= log_prob.exp();
                    if left < 0.0 {
                        token = candidate;
                        break;
                    }
                }
                rollout.response.tokens.push(token as u32);
                rollout.log_probs.push(log_probs[token]);
                rollout.reference_log_probs.push(log_softmax(&self.reference[place])[token]);
                rollout.values.push(self.values[place]);
                if token as u32 == END {
                    rollout.response.finished = true;
                    break;
                }
            }
            rollout
        };
        Ok((0..prompts.len()).map(&mut sample).collect())
    }

    fn update(
        &mut self,
        batch: &[&Rollout],
        objective: &mut dyn FnMut(usize, &TokenEvaluation) -> Result<ObjectiveGradient, BoxError>,
    ) -> std::io::Result<()> {
        let mut by_logits = vec![[0.0; VOCABULARY]; LENGTH];
        let mut by_values = vec![0.0; LENGTH];
        for (index, rollout) in batch.iter().enumerate() {
            let tokens = &rollout.response.tokens;
            let rows: Vec<_> = (0..tokens.len()).map(|place| log_softmax(&self.logits[place])).collect();
            let entropy = |row: &[f64; VOCABULARY]| -row.iter().map(|l| l.exp() * l).sum::<f64>();
            let now = TokenEvaluation {
                log_probs: rows.iter().zip(tokens).map(|(row, token)| row[*token as usize]).collect(),
                values: self.values[..tokens.len()].to_vec(),
                entropies: rows.iter().map(entropy).collect(),
            };
            let gradient = objective(index, &now).map_err(std::io::Error::other)?;
            for (place, (row, token)) in rows.iter().zip(tokens).enumerate() {
                for (k, log_prob) in row.iter().enumerate() {
                    let p = log_prob.exp();
                    let chosen = f64::from(u8::from(k == *token as usize));
                    by_logits[place][k] += gradient.log_probs[place] * (chosen - p)
                        - gradient.entropies[place] * p * (log_prob + now.entropies[place]);
                }
                by_values[place] += gradient.values[place];
            }
        }
        let scale = self.learning_rate / batch.len() as f64;
        for (logits, by_logits) in self.logits.iter_mut().zip(&by_logits) {
            logits.iter_mut().zip(by_logits).for_each(|(l, g)| *l -= scale * g);
        }
        self.values.iter_mut().zip(&by_values).for_each(|(v, g)| *v -= scale * g);
        Ok(())
    }
}

/// The share of the liked token among a response's tokens.
fn reward(rollout: &Rollout) -> f64 {
    let tokens = &rollout.response.tokens;
    tokens.iter().filter(|t| **t == LIKED).count() as f64 / tokens.len() as f64
}

struct Run {
    ppo: Ppo,
    policy: Table,
    controller: KlController,
    moments: RunningMoments,
}

impl Run {
    fn new(settings: PpoSettings) -> Self {
        let ppo = settings.build().unwrap();
        let controller = ppo.controller().unwrap();
        Run { policy: Table::new(ppo.settings().learning_rate), ppo, controller, moments: RunningMoments::default() }
    }

    fn step(&mut self, step: u64) -> StepStatistics {
        let settings = self.ppo.settings().clone();
        let sampling = Sampling {
            max_new_tokens: self.ppo.response_length(step),
            seed: settings.seed * 1_000_003 + step,
            ..Default::default()
        };
        let prompts = vec![vec![Message::user("?")]; settings.batch_size];
        let rollouts = self.policy.rollout(&prompts, &sampling).unwrap();
        let raw: Vec<f64> = rollouts.iter().map(reward).collect();
        let scored = self.ppo.score(&mut self.moments, &rollouts, &raw).unwrap();
        let prepared = self.ppo.advantages(&scored, self.controller.coefficient(), &[END]).unwrap();
        let mut losses = Vec::new();
        for epoch in 0..settings.ppo_epochs as u64 {
            let start = losses.len();
            for places in self.ppo.updates(rollouts.len(), step, epoch) {
                let samples: Vec<Sample<'_>> =
                    places.iter().map(|p| Sample { rollout: &rollouts[*p], targets: &prepared.targets[*p] }).collect();
                let batch: Vec<&Rollout> = samples.iter().map(|s| s.rollout).collect();
                let mut objective = self.ppo.update_objective(&samples);
                self.policy
                    .update(&batch, &mut |place, now| objective.gradient(place, now).map_err(BoxError::from))
                    .unwrap();
                losses.extend(objective.finish().unwrap());
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
fn a_large_coefficient_holds_the_policy_and_none_lets_it_go() {
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
fn a_stored_run_goes_on_with_the_same_bits() {
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
    let mut resumed = Run { controller, moments, policy: first.policy, ppo: normalised().build().unwrap() };
    for step in 4..10 {
        resumed.step(step);
    }
    assert_eq!(resumed.policy, through.policy);
    assert_eq!(resumed.controller, through.controller);
    assert_eq!(resumed.moments, through.moments);
}
