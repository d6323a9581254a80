//! The loop over a pool that does not fit into memory, with its time per pair and peak memory.
//!
//! ```sh
//! cargo run --release --example large_pool -- rows.parquet FOLDER
//! ```
//!
//! The model scores hashed words and pairs of words and is trained by stochastic gradient descent. It reads the pairs of its
//! training from the store that the loop gives it, a few at a time. `cargo xtask pool` makes files and runs this on them.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ser::data::{ReadSettings, SplitSettings};
use ser::ndarray::aview2;
use ser::status::Anchor;
use ser::{
    Baselines, BoxError, Context, FitSummary, Learner, LoopSettings, Pair, PairLoss, PairScores, PairTarget,
    PreferenceStore, Progress, Scorer, SelfEvolution, Side, prepare_indexed,
};

/// Number of weights.
const SIZE: usize = 1 << 16;
/// Pairs of a step.
const BATCH: usize = 256;
const LEARNING_RATE: f64 = 4.0;

struct HashedWords {
    weights: Vec<f64>,
}

/// The positions of a text's words and pairs of words among the weights.
fn features(text: &str) -> Vec<usize> {
    let hash = |text: &str, start: u64| {
        text.bytes().fold(start, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
    };
    let (mut found, mut before) = (Vec::new(), 0xcbf2_9ce4_8422_2325);
    for word in text.split_whitespace() {
        found.push(hash(word, 0xcbf2_9ce4_8422_2325) as usize % SIZE);
        found.push(hash(word, before) as usize % SIZE);
        before = hash(word, 7);
    }
    found
}

impl HashedWords {
    fn reward(&self, features: &[usize]) -> f64 {
        features.iter().filter_map(|at| self.weights.get(*at)).sum::<f64>() / (features.len().max(1) as f64).sqrt()
    }
}

impl Scorer for HashedWords {
    type Error = BoxError;

    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, BoxError> {
        cx.advance(pairs.len() as u64)?;
        let score = |pair: &Arc<Pair>, side| self.reward(&features(pair.response(side)));
        Ok(pairs.iter().map(|pair| PairScores::new(score(pair, Side::A), score(pair, Side::B))).collect())
    }
}

impl Learner for HashedWords {
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, BoxError> {
        cx.start(Some(data.len() as u64), "pairs")?;
        let mut summary = FitSummary { steps: 0, loss: 0.0, accuracy: 0.0 };
        for start in (0..data.len()).step_by(BATCH) {
            let batch = data.read_range(start..(start + BATCH).min(data.len()))?;
            cx.advance(batch.len() as u64)?;
            let texts: Vec<_> = batch.iter().map(|p| [p.chosen(), p.rejected()].map(features)).collect();
            let scores: Vec<_> = texts.iter().map(|texts| texts.each_ref().map(|text| self.reward(text))).collect();
            let targets: Vec<_> = batch.iter().map(PairTarget::from).collect();
            let out = loss.evaluate(aview2(&scores), &targets)?;
            for (texts, gradients) in texts.iter().zip(out.gradient.rows()) {
                for (text, gradient) in texts.iter().zip(gradients) {
                    for at in text {
                        if let Some(weight) = self.weights.get_mut(*at) {
                            *weight -= LEARNING_RATE * gradient / (text.len() as f64).sqrt();
                        }
                    }
                }
            }
            summary.steps += 1;
            summary.loss += out.value;
            summary.accuracy += scores.iter().filter(|[chosen, rejected]| chosen > rejected).count() as f64;
        }
        summary.loss /= summary.steps.max(1) as f64;
        summary.accuracy /= data.len().max(1) as f64;
        Ok(summary)
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), BoxError> {
        Ok(std::fs::write(folder.join("weights.json"), serde_json::to_vec(&self.weights)?)?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), BoxError> {
        self.weights = serde_json::from_slice(&std::fs::read(folder.join("weights.json"))?)?;
        Ok(())
    }
}

/// The peak of this process's memory in MiB, as Linux counts it.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}

fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let (Some(data), Some(folder)) = (arguments.next(), arguments.next()) else {
        return Err("usage: large_pool FILE FOLDER".into());
    };
    let folder = Path::new(&folder);
    let split = SplitSettings { test: 0.05, labelled: 0.05, ..SplitSettings::reward_model_only() };
    let start = Instant::now();
    let (read, index) = (ReadSettings::default(), folder.join("index"));
    let mut progress = Progress::with_ctrl_c()?;
    let data = prepare_indexed(data.as_ref(), None, &read, &split, &index, &mut progress)?.data;
    let indexed = start.elapsed().as_secs_f64();
    let pairs = data.seed.len() + data.validation.len() + data.pool.len() + data.test.len();

    let start = Instant::now();
    let settings = LoopSettings {
        anchor: Anchor::PerPair,
        top_share: Some(0.3),
        replay_seed: true,
        baselines: Baselines::none(),
        ..LoopSettings::default()
    };
    let mut model = HashedWords { weights: vec![0.0; SIZE] };
    let evolution = SelfEvolution::new(settings).observer(&mut progress).resume(true);
    let outcome = evolution.run(&mut model, data, folder.join("run"))?;
    let evolved = start.elapsed().as_secs_f64();

    let accuracy = |number: usize| outcome.report.iterations.get(number).map(|i| 100.0 * i.evaluation.accuracy.value);
    let last = outcome.report.iterations.len().saturating_sub(1);
    println!(
        "{pairs} pairs, {last} loops: test accuracy {:.2} % to {:.2} %; index {:.2} us a pair, loop {:.2} us a pair, peak \
         memory {:.0} MiB",
        accuracy(0).unwrap_or(f64::NAN),
        accuracy(last).unwrap_or(f64::NAN),
        1e6 * indexed / pairs as f64,
        1e6 * evolved / pairs as f64,
        peak_memory().unwrap_or(f64::NAN)
    );
    Ok(())
}
