//! Batch planning over a million lengths. Items are pairs.

use divan::{Bencher, counter::ItemsCount};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_data::{plan_batches, plan_batches_by_length};

const PAIRS: usize = 1_000_000;
const TOKENS: usize = 16_384;

fn main() {
    divan::main();
}

fn lengths() -> Vec<usize> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    (0..PAIRS).map(|_| rng.random_range(32..1024)).collect()
}

#[divan::bench(sample_count = 10)]
fn in_order(bencher: Bencher<'_, '_>) {
    let lengths = lengths();
    bencher.counter(ItemsCount::new(PAIRS)).bench(|| plan_batches(&lengths, TOKENS));
}

#[divan::bench(sample_count = 10)]
fn by_length(bencher: Bencher<'_, '_>) {
    let lengths = lengths();
    bencher.counter(ItemsCount::new(PAIRS)).bench(|| plan_batches_by_length(&lengths, TOKENS));
}
