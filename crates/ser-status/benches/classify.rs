//! Classifying a million pairs: `cargo bench -p ser-status`.

#![allow(clippy::expect_used)]

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::{PairProbabilities, PairScores, PoolView, StatusRule};
use ser_status::{Anchor, PaperRule, Thresholds, select};

const PAIRS: usize = 1_000_000;

fn main() {
    divan::main();
}

fn scores() -> Vec<PairScores> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    (0..PAIRS).map(|_| PairScores::new(rng.random_range(-3.0..3.0), rng.random_range(-3.0..3.0))).collect()
}

fn probabilities() -> Vec<PairProbabilities> {
    scores().into_iter().map(PairScores::sigmoid).collect()
}

fn rule() -> PaperRule {
    PaperRule(Thresholds::default().check().expect("the defaults are good"))
}

#[divan::bench]
fn classify(bencher: divan::Bencher<'_, '_>) {
    let (pool, rule) = (probabilities(), rule());
    bencher.counter(PAIRS).bench(|| rule.classify(&PoolView::new(&pool)));
}

#[divan::bench]
fn anchor_and_select(bencher: divan::Bencher<'_, '_>) {
    let (pool, rule) = (scores(), rule());
    bencher.counter(PAIRS).bench(|| {
        let anchor = Anchor::PoolMean.fit(&pool, &[])?;
        select(&anchor.apply(&pool), &rule)
    });
}
