//! Anchor and selection over a pool of 10 million pairs. Items are pairs.

#![allow(clippy::unwrap_used)]

use divan::{Bencher, counter::ItemsCount};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::{PairProbabilities, PairScores};
use ser_status::{Anchor, PaperRule, Thresholds, select};

const PAIRS: usize = 10_000_000;

fn main() {
    divan::main();
}

fn scores() -> Vec<PairScores> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    (0..PAIRS).map(|_| PairScores::new(rng.random_range(-3.0..3.0), rng.random_range(-3.0..3.0))).collect()
}

fn rule() -> PaperRule {
    PaperRule(Thresholds::default().check().unwrap())
}

#[divan::bench(sample_count = 10)]
fn selection(bencher: Bencher<'_, '_>) {
    let pool: Vec<PairProbabilities> = scores().into_iter().map(PairScores::sigmoid).collect();
    let rule = rule();
    bencher.counter(ItemsCount::new(PAIRS)).bench(|| select(&pool, &rule).unwrap());
}

#[divan::bench(sample_count = 10)]
fn anchor_and_selection(bencher: Bencher<'_, '_>) {
    let (pool, rule) = (scores(), rule());
    bencher.counter(ItemsCount::new(PAIRS)).bench(|| {
        let anchor = Anchor::PoolMean.fit(&pool, &[]).unwrap();
        select(&anchor.apply(&pool), &rule).unwrap()
    });
}
