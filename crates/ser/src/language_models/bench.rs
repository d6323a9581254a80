//! Measures how fast a model scores and trains on this machine.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use ser_core::{Context, Pair, Preference, Scorer, Screening};
use ser_data::corpus::{self, CorpusSettings};
use ser_model::{
    ActivationSettings, Device, MatrixRate, RewardModel, Throughput, TrainingSettings, reward_training_throughput,
    scoring_throughput,
};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::{Error, PairsRead};

const STAGE: &str = "bench";

/// What a benchmark measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Work {
    /// Scoring pairs.
    Score,
    /// Training the reward model.
    Reward,
}

/// The size of a benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct BenchSettings {
    /// What is measured, in this order.
    pub works: Vec<Work>,
    /// Pairs that are used, the first of the data that the model takes.
    pub pairs: usize,
    /// Seconds that each work is measured at least, after its warm-up.
    pub seconds: f64,
}

/// Results of a benchmark.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BenchReport {
    /// Rows of the matrices of the product whose rate `rate_share` refers to.
    pub matrix_rows: i64,
    /// Floating-point operations per second of that product, in the model's precision.
    pub matrix_flops_per_s: f64,
    /// The results of each work.
    pub works: Vec<WorkResult>,
}

/// The result of one work; see [`Throughput`] for what is counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct WorkResult {
    /// The work.
    pub work: Work,
    /// Pairs that were measured.
    pub pairs: u64,
    /// Seconds that they took.
    pub seconds: f64,
    /// Pairs per second.
    pub pairs_per_s: f64,
    /// Packed tokens per second.
    pub tokens_per_s: f64,
    /// Floating-point operations per second.
    pub flops_per_s: f64,
    /// `flops_per_s` as a share of the rate of a plain matrix product.
    pub rate_share: f64,
    /// The most memory in bytes: of tensors on GPUs, of the whole process since its start on the CPU.
    pub peak_memory: Option<u64>,
}

/// Measures a reward model with a fresh adapter and head over the base model in `base`, on pairs of `run.data` or of the built-in
/// corpus. The rate of a plain matrix product comes first. `progress` gets a sentence before each part.
///
/// # Errors
/// Data that cannot be read or has no pair that the model takes; a folder that contains no model; too little memory.
pub fn bench(
    config: &Config,
    base: &Path,
    settings: &BenchSettings,
    device: Device,
    mut progress: impl FnMut(&str),
) -> Result<BenchReport, Error> {
    let loss = config.evolution.loss.check().map_err(Error::stage(STAGE))?;
    progress("measuring the rate of a matrix product");
    let rate = MatrixRate::measure(device, config.model.precision).map_err(Error::stage(STAGE))?;
    progress("loading the model");
    let mut reward = config.reward_model();
    // Pairs come again, so what is kept of them would not be measured; and the training must not end.
    reward.activations = ActivationSettings { format: reward.activations.format, ..ActivationSettings::off() };
    reward.training = TrainingSettings { epochs: u32::MAX, ..reward.training };
    let mut model = RewardModel::from_folder(base, &reward, device)?;
    let data = usable(&mut model, read(config, settings.pairs)?, settings.pairs)?;
    let pairs: Vec<Arc<Pair>> = data.iter().map(|preference| Arc::clone(&preference.pair)).collect();
    let mut works = Vec::with_capacity(settings.works.len());
    for &work in &settings.works {
        let found = match work {
            Work::Score => {
                progress(&format!("scoring {} pairs", pairs.len()));
                scoring_throughput(&mut model, device, &pairs, settings.seconds)?
            }
            Work::Reward => {
                progress(&format!("training on {} pairs", pairs.len()));
                reward_training_throughput(&mut model, device, &data, &loss, config.run.seed, settings.seconds)?
            }
        };
        works.push(WorkResult::new(work, &found, &rate));
    }
    Ok(BenchReport { matrix_rows: rate.size, matrix_flops_per_s: rate.flops_per_s, works })
}

/// The preferences of `run.data`, or as many of the built-in corpus as are wanted.
fn read(config: &Config, wanted: usize) -> Result<Vec<Preference>, Error> {
    if let Some(data) = &config.run.data {
        return Ok(PairsRead::open(data, &config.data)?.preferences);
    }
    let settings = CorpusSettings { pairs: wanted, test_pairs: 0, ..config.corpus.clone() };
    Ok(corpus::generate(&settings).map_err(Error::stage(STAGE))?.train.preferences)
}

/// The first preferences that the model takes.
fn usable(model: &mut RewardModel, mut data: Vec<Preference>, wanted: usize) -> Result<Vec<Preference>, Error> {
    let pairs: Vec<Arc<Pair>> = data.iter().map(|preference| Arc::clone(&preference.pair)).collect();
    let mut screened = model.screen(&pairs, &mut Context::silent())?.into_iter();
    data.retain(|_| screened.next() == Some(Screening::Usable));
    data.truncate(wanted);
    if data.is_empty() {
        return Err(Error::Unusable("no pair of the data can be measured; is max_length too small?".to_owned()));
    }
    Ok(data)
}

impl WorkResult {
    fn new(work: Work, found: &Throughput, rate: &MatrixRate) -> Self {
        WorkResult {
            work,
            pairs: found.pairs,
            seconds: found.seconds,
            pairs_per_s: found.pairs_per_s(),
            tokens_per_s: found.tokens_per_s(),
            flops_per_s: found.flops_per_s(),
            rate_share: found.flops_per_s() / rate.flops_per_s,
            peak_memory: found.peak_memory,
        }
    }
}

impl BenchReport {
    /// The results as a table.
    pub fn to_text(&self) -> String {
        let rows = self.matrix_rows;
        let rate = self.matrix_flops_per_s / 1e9;
        let mut text = format!("matrix product of {rows} rows: {rate:.0} GFLOP/s\n");
        text.push_str("work      pairs/s   tokens/s   GFLOP/s   of the rate   peak memory\n");
        for work in &self.works {
            let name = match work.work {
                Work::Score => "score",
                Work::Reward => "reward",
            };
            let memory = work.peak_memory.map_or("unknown".to_owned(), |bytes| format!("{:.2} GB", bytes as f64 / 1e9));
            let _ = writeln!(
                text,
                "{name:<6} {:>10.2} {:>10.0} {:>9.1} {:>11.1} %   {memory:>11}",
                work.pairs_per_s,
                work.tokens_per_s,
                work.flops_per_s / 1e9,
                100.0 * work.rate_share,
            );
        }
        text
    }
}
