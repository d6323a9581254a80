//! A small random model on the CPU: scoring, a reward step, a PPO step, generation. Items are pairs or answers.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use divan::{Bencher, counter::ItemsCount};
use ser::data::TextSettings;
use ser::data::corpus::{Corpus, CorpusSettings, generate};
use ser::loss::LossSettings;
use ser::model::{
    BaseSettings, CausalLm, CausalLmSettings, Device, PolicyModel, PolicySettings, RewardModel, RewardModelSettings,
    RewardTraining, TrainingSettings, fresh_base,
};
use ser::ppo::PpoSettings;
use ser::{Context, Generator, Message, Pair, PolicyRunSettings, PpoTraining, Sampling, Scorer, Training, reward_fn};
use tempfile::TempDir;

const PAIRS: usize = 64;
const ANSWERS: usize = 16;
const NEW_TOKENS: usize = 64;

fn main() {
    divan::main();
}

/// The folder of a random base model, and the pairs that its tokenizer was trained on.
fn base() -> (TempDir, Corpus) {
    let settings = CorpusSettings { pairs: 512, test_pairs: 0, ..CorpusSettings::default() };
    let corpus = generate(&settings).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = BaseSettings { vocab_size: 1024, ..BaseSettings::default() };
    fresh_base(folder.path(), corpus.texts(), &TextSettings::default(), &settings, 0, Device::cpu()).unwrap();
    (folder, corpus)
}

fn reward_model(folder: &TempDir) -> RewardModel {
    let training = TrainingSettings { epochs: 1_000_000, batch_size: ANSWERS, ..TrainingSettings::default() };
    let settings = RewardModelSettings { training, ..RewardModelSettings::default() };
    RewardModel::from_folder(folder.path(), &settings, Device::cpu()).unwrap()
}

fn language_model(folder: &TempDir) -> CausalLm {
    CausalLm::from_folder(folder.path(), &CausalLmSettings::default(), Device::cpu()).unwrap()
}

fn prompts(corpus: &Corpus) -> Vec<Vec<Message>> {
    corpus.train.preferences.iter().take(ANSWERS).map(|preference| preference.pair.prompt.clone()).collect()
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn scoring(bencher: Bencher<'_, '_>) {
    let (folder, corpus) = base();
    let mut model = reward_model(&folder);
    let pairs: Vec<Arc<Pair>> = corpus.train.preferences.iter().take(PAIRS).map(|p| p.pair.clone()).collect();
    bencher.counter(ItemsCount::new(PAIRS)).bench_local(|| model.score(&pairs, &mut Context::silent()).unwrap());
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn reward_step(bencher: Bencher<'_, '_>) {
    let (folder, corpus) = base();
    let mut model = reward_model(&folder);
    let loss = LossSettings::default().check().unwrap();
    let mut training = RewardTraining::new(&mut model, &corpus.train.preferences, &loss, 0).unwrap();
    bencher.counter(ItemsCount::new(ANSWERS)).bench_local(|| training.step().unwrap());
}

#[divan::bench(sample_count = 10, sample_size = 1)]
fn generation(bencher: Bencher<'_, '_>) {
    let (folder, corpus) = base();
    let (mut model, prompts) = (language_model(&folder), prompts(&corpus));
    let sampling = Sampling { max_new_tokens: NEW_TOKENS, ..Sampling::default() };
    bencher
        .counter(ItemsCount::new(ANSWERS))
        .bench_local(|| model.generate(&prompts, &sampling, &mut Context::silent()).unwrap());
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn ppo_step(bencher: Bencher<'_, '_>) {
    let (folder, corpus) = base();
    let mut policy = PolicyModel::new(language_model(&folder), &PolicySettings::default()).unwrap();
    let mut reward = reward_fn(|_, answer| answer.len() as f64 / 100.0);
    let ppo = PpoSettings {
        batch_size: ANSWERS,
        mini_batch_size: ANSWERS,
        response_length: ser::ppo::ResponseLength::Fixed(NEW_TOKENS),
        ..PpoSettings::default()
    };
    let settings = PolicyRunSettings { steps: Some(1_000_000), ..PolicyRunSettings::default() };
    let mut training = PpoTraining::new(ppo, settings, &mut policy, &mut reward, prompts(&corpus)).unwrap();
    bencher.counter(ItemsCount::new(ANSWERS)).bench_local(|| training.step().unwrap());
}
