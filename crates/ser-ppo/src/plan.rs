//! Random draws: response lengths and the order of rollouts. Every draw is a function of the seed and the step, so a run
//! resumes without the state of a generator.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::{Deserialize, Serialize};

use crate::PpoError;

/// The length limit of responses, in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ResponseLength {
    /// The same in every step.
    Fixed(usize),
    /// Drawn uniformly from min..=max for each step (the authors' code: from 32).
    Uniform {
        /// The shortest limit.
        min: usize,
        /// The longest limit; unlike in TRL's `LengthSampler`, it is drawn too.
        max: usize,
    },
}

impl Default for ResponseLength {
    fn default() -> Self {
        ResponseLength::Fixed(256)
    }
}

impl ResponseLength {
    pub(crate) fn check(self) -> Result<(), PpoError> {
        let (setting, min, max) = match self {
            ResponseLength::Fixed(length) => ("response_length.fixed", length, length),
            ResponseLength::Uniform { min, max } => ("response_length.uniform", min, max),
        };
        if min == 0 {
            return Err(PpoError::OutOfRange { setting, value: 0.0, allowed: "at least 1 token" });
        }
        if max < min {
            return Err(PpoError::ReversedRange { setting, min: min as f64, max: max as f64 });
        }
        Ok(())
    }

    /// The longest limit of any step.
    pub fn longest(self) -> usize {
        match self {
            ResponseLength::Fixed(length) => length,
            ResponseLength::Uniform { max, .. } => max,
        }
    }

    /// The limit of a step's responses.
    pub fn draw(self, seed: u64, step: u64) -> usize {
        match self {
            ResponseLength::Fixed(length) => length,
            ResponseLength::Uniform { min, max } => {
                generator(seed, step, Purpose::Length).random_range(min..=max.max(min))
            }
        }
    }
}

/// The indices 0..`rollouts` in the order of one epoch of one step.
pub(crate) fn shuffled(rollouts: usize, seed: u64, step: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rollouts).collect();
    order.shuffle(&mut generator(seed, step, Purpose::Order { epoch }));
    order
}

enum Purpose {
    Length,
    Order { epoch: u64 },
}

/// A generator of its own for each seed, step and purpose.
fn generator(seed: u64, step: u64, purpose: Purpose) -> ChaCha8Rng {
    let (kind, epoch) = match purpose {
        Purpose::Length => (0, 0),
        Purpose::Order { epoch } => (1, epoch),
    };
    let mut key = [0; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip([seed, step, kind, epoch]) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}
