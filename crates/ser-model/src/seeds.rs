//! A stream of seeds from one seed.

use std::cell::RefCell;

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Seeds for draws that follow each other: each dropout and each fresh tensor takes one.
#[derive(Clone, Debug)]
pub(crate) struct Seeds(RefCell<ChaCha8Rng>);

impl Seeds {
    pub(crate) fn new(seed: u64) -> Self {
        Seeds(RefCell::new(ChaCha8Rng::seed_from_u64(seed)))
    }

    /// The next one.
    pub(crate) fn draw(&self) -> u64 {
        self.0.borrow_mut().next_u64()
    }
}
