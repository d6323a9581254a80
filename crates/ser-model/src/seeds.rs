//! Streams of seeds, and random orders, derived from one seed.

use std::cell::RefCell;

use rand::seq::SliceRandom;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A stream of seeds: each dropout and each fresh tensor takes the next one.
#[derive(Clone, Debug)]
pub(crate) struct Seeds(RefCell<ChaCha8Rng>);

impl Seeds {
    pub(crate) fn new(seed: u64) -> Self {
        Seeds(RefCell::new(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// The stream of one part of one training step. It does not depend on earlier draws, so a training resumes without the
    /// state of a generator.
    pub(crate) fn of_step(seed: u64, step: u64, part: u64) -> Self {
        Seeds(RefCell::new(generator([seed, step, part, 0])))
    }

    /// The next seed.
    pub(crate) fn draw(&self) -> u64 {
        self.0.borrow_mut().next_u64()
    }

    /// The stream and the position in it, for another process.
    pub(crate) fn state(&self) -> SeedsState {
        SeedsState { key: self.0.borrow().get_seed(), position: self.position() }
    }

    /// A stream at the position of `state`.
    pub(crate) fn from_state(state: &SeedsState) -> Self {
        let seeds = Seeds(RefCell::new(ChaCha8Rng::from_seed(state.key)));
        seeds.seek(state.position);
        seeds
    }

    /// The position in the stream, in words of 32 bits.
    pub(crate) fn position(&self) -> u64 {
        u64::try_from(self.0.borrow().get_word_pos()).unwrap_or(u64::MAX)
    }

    /// Moves to a [`position`](Self::position) of the same stream.
    pub(crate) fn seek(&self, position: u64) {
        self.0.borrow_mut().set_word_pos(u128::from(position));
    }
}

/// A stream of seeds at a position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SeedsState {
    key: [u8; 32],
    position: u64,
}

/// 0..n in the order of one epoch.
pub(crate) fn epoch_order(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.shuffle(&mut generator([seed, epoch, 0, 1]));
    order
}

/// 0..n in the order of one epoch. Each epoch shuffles the order of the previous one with the same generator.
pub(crate) fn chained_epoch_order(n: usize, seed: u64, epoch: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..=epoch).for_each(|_| order.shuffle(&mut rng));
    order
}

/// The generator of a key.
fn generator(key: [u64; 4]) -> ChaCha8Rng {
    let mut bytes = [0; 32];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip(key) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(bytes)
}
