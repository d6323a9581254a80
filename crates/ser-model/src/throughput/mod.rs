//! How fast a model scores and trains on this machine, in pairs, tokens and floating-point operations.

mod flops;
mod machine;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use ser_core::{BoxError, Context, Pair, PairLoss, Preference, PreferenceStore, Scorer, Training};
use ser_data::TokenizedPair;

pub use machine::MatrixRate;

use crate::{Device, ModelError, RewardModel, RewardTraining};

/// The result of a measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Throughput {
    /// Pairs that were measured, after the warm-up.
    pub pairs: u64,
    /// Their tokens, a shared prompt counted once.
    pub tokens: u64,
    /// The floating-point operations of their passes: linear maps and attention of the frozen network, 2 * rows * in * out and
    /// 4 * heads * head_dim for each visible key. The backward pass counts as many again from the lowest layer with an adapter
    /// on. Adapters, and what gradient checkpointing computes again, do not count.
    pub flops: u64,
    /// Seconds that they took.
    pub seconds: f64,
    /// The most memory in bytes: of tensors on GPUs, of the whole process on the CPU; `None` if the system does not tell.
    pub peak_memory: Option<u64>,
}

impl Throughput {
    /// Pairs per second.
    pub fn pairs_per_s(&self) -> f64 {
        self.pairs as f64 / self.seconds
    }

    /// Tokens per second.
    pub fn tokens_per_s(&self) -> f64 {
        self.tokens as f64 / self.seconds
    }

    /// Floating-point operations per second.
    pub fn flops_per_s(&self) -> f64 {
        self.flops as f64 / self.seconds
    }
}

/// Counts of one pair.
#[derive(Clone, Copy)]
struct Counts {
    tokens: u64,
    flops: u64,
}

/// Counts of pairs that were computed.
#[derive(Default)]
struct Counter {
    pairs: AtomicU64,
    tokens: AtomicU64,
    flops: AtomicU64,
}

impl Counter {
    fn add(&self, counts: impl IntoIterator<Item = Counts>) {
        for counts in counts {
            self.pairs.fetch_add(1, Ordering::Relaxed);
            self.tokens.fetch_add(counts.tokens, Ordering::Relaxed);
            self.flops.fetch_add(counts.flops, Ordering::Relaxed);
        }
    }

    fn reset(&self) {
        [&self.pairs, &self.tokens, &self.flops].iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }

    fn throughput(&self, seconds: f64, peak_memory: Option<u64>) -> Throughput {
        let [pairs, tokens, flops] =
            [&self.pairs, &self.tokens, &self.flops].map(|count| count.load(Ordering::Relaxed));
        Throughput { pairs, tokens, flops, seconds, peak_memory }
    }
}

/// Measures [`Scorer::score`], tokenization included: one pass over the pairs as a warm-up, then whole passes until `seconds`
/// are over, at least one. `device` is the one that the model was loaded on.
///
/// # Errors
/// As of scoring; [`ModelError::NoData`] without pairs.
pub fn scoring_throughput(
    model: &mut RewardModel,
    device: Device,
    pairs: &[Arc<Pair>],
    seconds: f64,
) -> Result<Throughput, ModelError> {
    if pairs.is_empty() {
        return Err(ModelError::NoData("no pairs were given"));
    }
    let counts = model.counts(pairs, false)?;
    device.reset_peak_memory()?;
    model.score(pairs, &mut Context::silent())?;
    let counter = Counter::default();
    device.synchronize()?;
    let start = Instant::now();
    loop {
        model.score(pairs, &mut Context::silent())?;
        counter.add(counts.iter().copied());
        device.synchronize()?;
        let elapsed = start.elapsed().as_secs_f64();
        if elapsed >= seconds {
            return Ok(counter.throughput(elapsed, device.peak_memory()?));
        }
    }
}

/// Optimizer steps before those that are measured.
const WARM_UP: u64 = 4;

/// Measures optimizer steps of a [`RewardTraining`]: four as a warm-up, then steps until `seconds` are over, at least one. The
/// model is trained by them. A training that ends earlier is an error, so `training.epochs` must be large. `device` is the one that
/// the model was loaded on.
///
/// # Errors
/// As of training; [`ModelError::NoData`] without preferences.
pub fn reward_training_throughput(
    model: &mut RewardModel,
    device: Device,
    data: &[Preference],
    loss: &dyn PairLoss,
    seed: u64,
    seconds: f64,
) -> Result<Throughput, ModelError> {
    let pairs: Vec<Arc<Pair>> = data.iter().map(|preference| Arc::clone(&preference.pair)).collect();
    let store = CountedStore { data, counts: model.counts(&pairs, true)?, counter: Counter::default() };
    device.reset_peak_memory()?;
    let mut training = RewardTraining::new(model, &store, loss, seed)?;
    for _ in 0..WARM_UP {
        training.step()?;
    }
    store.counter.reset();
    device.synchronize()?;
    let start = Instant::now();
    loop {
        training.step()?;
        // A step ends with its loss and gradient norm on the CPU, so that at most the optimizer's update is still running.
        if start.elapsed().as_secs_f64() >= seconds {
            device.synchronize()?;
            return Ok(store.counter.throughput(start.elapsed().as_secs_f64(), device.peak_memory()?));
        }
        if training.done() == training.total() {
            return Err(ModelError::NoData("the training ended before it was measured; raise training.epochs"));
        }
    }
}

/// Preferences that count the pairs of each step.
struct CountedStore<'a> {
    data: &'a [Preference],
    /// Counts of each pair.
    counts: Vec<Counts>,
    counter: Counter,
}

impl PreferenceStore for CountedStore<'_> {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn read(&self, positions: &[usize]) -> Result<Vec<Preference>, BoxError> {
        self.counter.add(positions.iter().filter_map(|&position| self.counts.get(position).copied()));
        PreferenceStore::read(self.data, positions)
    }
}

impl RewardModel {
    /// The counts of pairs: of a forward pass, with the backward pass if they are for training.
    fn counts(&self, pairs: &[Arc<Pair>], training: bool) -> Result<Vec<Counts>, ModelError> {
        let (config, lowest) = (self.config(), self.frozen_layers());
        let count = |pair: &TokenizedPair| Counts {
            tokens: pair.packed_len() as u64,
            flops: config.forward_flops(pair) + if training { config.backward_flops(lowest, pair) } else { 0 },
        };
        Ok(self.tokenizer().tokenize(pairs)?.iter().map(count).collect())
    }
}

#[cfg(test)]
mod tests;
