//! PPO's arithmetic over the rollouts of a step. Items are tokens.

#![allow(clippy::unwrap_used)]

use divan::{Bencher, counter::ItemsCount};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::ndarray::Array1;
use ser_core::{Response, Rollout, TokenEvaluation};
use ser_ppo::{Ppo, PpoSettings, ScoredRollout, TargetedRollout, gae};

const ROLLOUTS: usize = 64;
const TOKENS: usize = 256;

fn main() {
    divan::main();
}

fn draws(rng: &mut ChaCha8Rng, low: f64, high: f64) -> Vec<f64> {
    (0..TOKENS).map(|_| rng.random_range(low..high)).collect()
}

fn rollouts() -> Vec<Rollout> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    (0..ROLLOUTS)
        .map(|prompt| Rollout {
            prompt,
            prompt_tokens: vec![1, 2, 3],
            response: Response { text: String::new(), tokens: vec![5; TOKENS], finished: true },
            min_new_tokens: 0,
            log_probs: draws(&mut rng, -4.0, -0.1).into(),
            reference_log_probs: draws(&mut rng, -4.0, -0.1).into(),
            full_kl: None,
            values: draws(&mut rng, -1.0, 1.0).into(),
        })
        .collect()
}

fn ppo() -> Ppo {
    PpoSettings::default().check().unwrap()
}

fn scored(rollouts: &[Rollout]) -> Vec<ScoredRollout<'_>> {
    rollouts.iter().zip(0..).map(|(rollout, i)| ScoredRollout::new(rollout, f64::from(i % 7) - 3.0)).collect()
}

#[divan::bench]
fn generalized_advantages(bencher: Bencher<'_, '_>) {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (rewards, values): (Array1<f64>, Array1<f64>) =
        (draws(&mut rng, -1.0, 1.0).into(), draws(&mut rng, -1.0, 1.0).into());
    bencher.counter(ItemsCount::new(TOKENS)).bench(|| gae(rewards.view(), values.view(), 1.0, 0.95).unwrap());
}

/// Rewards, advantages, returns and statistics of a step.
#[divan::bench]
fn advantages(bencher: Bencher<'_, '_>) {
    let (ppo, rollouts) = (ppo(), rollouts());
    let scored = scored(&rollouts);
    bencher.counter(ItemsCount::new(ROLLOUTS * TOKENS)).bench(|| ppo.advantages(&scored, 0.05, &[0]).unwrap());
}

/// Value and gradient of the clipped objective of a mini-batch.
#[divan::bench]
fn objective(bencher: Bencher<'_, '_>) {
    let (ppo, rollouts) = (ppo(), rollouts());
    let prepared = ppo.advantages(&scored(&rollouts), 0.05, &[0]).unwrap();
    let samples: Vec<_> =
        rollouts.iter().zip(&prepared.targets).map(|(rollout, targets)| TargetedRollout { rollout, targets }).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    let evaluations: Vec<_> = rollouts
        .iter()
        .map(|rollout| TokenEvaluation {
            log_probs: rollout.log_probs.iter().map(|p| p + rng.random_range(-0.1..0.1)).collect(),
            values: draws(&mut rng, -1.0, 1.0).into(),
            entropies: draws(&mut rng, 0.1, 3.0).into(),
        })
        .collect();
    let tokens = ROLLOUTS * TOKENS;
    bencher.counter(ItemsCount::new(tokens)).bench(|| ppo.mini_batch_loss(&samples, &evaluations).unwrap());
}
