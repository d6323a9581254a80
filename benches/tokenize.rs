//! Tokenizing pairs with a tokenizer trained on the built-in corpus. Items are pairs.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use divan::{Bencher, counter::ItemsCount};
use ser_core::Pair;
use ser_data::corpus::{CorpusSettings, generate};
use ser_data::{PairTokenizer, TextSettings, train_tokenizer};

const PAIRS: usize = 2_000;
const VOCABULARY: usize = 2_048;

fn main() {
    divan::main();
}

#[divan::bench(sample_count = 10)]
fn pairs(bencher: Bencher<'_, '_>) {
    let settings = CorpusSettings { pairs: PAIRS, test_pairs: 0, ..CorpusSettings::default() };
    let corpus = generate(&settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    train_tokenizer(corpus.texts(), VOCABULARY, folder.path()).unwrap();
    let tokenizer = PairTokenizer::from_folder(folder.path(), &TextSettings::default()).unwrap();
    let pairs: Vec<Arc<Pair>> = corpus.train.preferences.iter().map(|preference| preference.pair.clone()).collect();
    bencher.counter(ItemsCount::new(PAIRS)).bench(|| tokenizer.tokenize(&pairs).unwrap());
}
