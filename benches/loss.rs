//! Pairwise losses with their gradients over a batch of scores. Items are pairs.

#![allow(clippy::unwrap_used)]

use divan::{Bencher, counter::ItemsCount};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::ndarray::aview2;
use ser_core::{PairLoss, PairTarget};
use ser_loss::{LossKind, LossSettings};

const PAIRS: usize = 4096;

fn main() {
    divan::main();
}

#[divan::bench(args = [LossKind::Hinge, LossKind::BradleyTerry])]
fn value_and_gradient(bencher: Bencher<'_, '_>, kind: LossKind) {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let scores: Vec<[f64; 2]> =
        (0..PAIRS).map(|_| [rng.random_range(-3.0..3.0), rng.random_range(-3.0..3.0)]).collect();
    let targets = vec![PairTarget { weight: 1.0, margin: None, probability: 1.0 }; PAIRS];
    let loss = LossSettings { kind, ..LossSettings::default() }.check().unwrap();
    bencher.counter(ItemsCount::new(PAIRS)).bench(|| loss.evaluate(aview2(&scores), &targets).unwrap());
}
