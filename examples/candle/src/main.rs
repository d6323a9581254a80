//! Self-evolution over a reward model of another framework: an embedding bag of words, trained by candle's autograd on
//! the CPU.
//!
//! ```sh
//! cargo run --release --manifest-path examples/candle/Cargo.toml -- runs/candle
//! ```
//!
//! A loss gives its derivative by each score. The model turns it into derivatives by its weights with one line: it
//! back-propagates the sum of score times derivative.
#![allow(clippy::print_stdout)]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{Device, Result as CandleResult, Tensor, Var, safetensors};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser::data::SplitSettings;
use ser::data::corpus::{CorpusSettings, generate};
use ser::loss::{LossKind, LossSettings};
use ser::ndarray::Array2;
use ser::status::Anchor;
use ser::{
    Baselines, BoxError, Context, FitSummary, Learner, LoopSettings, Outcome, Pair, PairLoss, PairScores, PairTarget,
    Preference, PreferenceStore, Scorer, SelfEvolution, Side, prepare,
};

const BUCKETS: usize = 1 << 12;
const DIMENSION: usize = 16;
const EPOCHS: usize = 4;
const BATCH: usize = 32;
const LEARNING_RATE: f64 = 0.03;

/// r(answer) = tanh(mean of the embeddings of its words) · head.
struct EmbeddingBag {
    embeddings: Var,
    head: Var,
}

/// The buckets of an answer's words.
fn buckets(answer: &str) -> Vec<u32> {
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3); // FNV-1a
    let bucket = |word: &str| (word.to_lowercase().bytes().fold(0xcbf2_9ce4_8422_2325, fold) % BUCKETS as u64) as u32;
    answer.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(bucket).collect()
}

impl EmbeddingBag {
    fn new(seed: u64) -> CandleResult<Self> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut matrix = |rows: usize, columns: usize| {
            let values: Vec<f32> = (0..rows * columns).map(|_| rng.random_range(-0.1..0.1)).collect();
            Var::from_tensor(&Tensor::from_vec(values, (rows, columns), &Device::Cpu)?)
        };
        Ok(EmbeddingBag { embeddings: matrix(BUCKETS, DIMENSION)?, head: matrix(DIMENSION, 1)? })
    }

    /// The rewards of answers, of shape `[answers]`.
    fn rewards(&self, answers: &[&str]) -> CandleResult<Tensor> {
        let words: Vec<Vec<u32>> = answers.iter().map(|answer| buckets(answer)).collect();
        let all = words.concat();
        let mut mean = vec![0f32; words.len() * all.len()];
        let mut first = 0;
        for (row, words) in mean.chunks_mut(all.len().max(1)).zip(&words) {
            row.iter_mut().skip(first).take(words.len()).for_each(|weight| *weight = 1.0 / words.len() as f32);
            first += words.len();
        }
        let mean = Tensor::from_vec(mean, (words.len(), all.len()), &Device::Cpu)?;
        let embedded = self.embeddings.index_select(&Tensor::new(all, &Device::Cpu)?, 0)?;
        mean.matmul(&embedded)?.tanh()?.matmul(&self.head)?.squeeze(1)
    }
}

impl Scorer for EmbeddingBag {
    type Error = BoxError;

    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, BoxError> {
        cx.start(Some(pairs.len() as u64), "pairs")?;
        let mut scores = Vec::with_capacity(pairs.len());
        for batch in pairs.chunks(BATCH) {
            let answers: Vec<&str> = batch.iter().flat_map(|p| [p.response(Side::A), p.response(Side::B)]).collect();
            let rewards = self.rewards(&answers)?.to_vec1::<f32>()?;
            scores.extend(rewards.as_chunks().0.iter().map(|[a, b]| PairScores::from((f64::from(*a), f64::from(*b)))));
            cx.advance(batch.len() as u64)?;
        }
        Ok(scores)
    }
}

impl Learner for EmbeddingBag {
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, BoxError> {
        let mut preferences: Vec<Preference> = data.read_range(0..data.len())?;
        let total = preferences.len() as f64;
        let mut rng = ChaCha8Rng::seed_from_u64(cx.seed());
        let variables = [self.embeddings.clone(), self.head.clone()];
        let mut squares = variables.iter().map(|var| var.affine(0.0, 1e-6)).collect::<CandleResult<Vec<_>>>()?;
        let mut summary = FitSummary { steps: 0, loss: 0.0, accuracy: 0.0 };
        cx.start(Some((EPOCHS * preferences.len().div_ceil(BATCH)) as u64), "steps")?;
        for _ in 0..EPOCHS {
            preferences.shuffle(&mut rng);
            (summary.loss, summary.accuracy) = (0.0, 0.0);
            for batch in preferences.chunks(BATCH) {
                let answers: Vec<&str> = batch.iter().flat_map(|p| [p.chosen(), p.rejected()]).collect();
                let rewards = self.rewards(&answers)?;
                let values = rewards.to_vec1::<f32>()?.into_iter().map(f64::from).collect();
                let scores = Array2::from_shape_vec((batch.len(), 2), values)?;
                let targets: Vec<_> = batch.iter().map(PairTarget::from).collect();
                let out = loss.evaluate(scores.view(), &targets)?;
                let slopes: Vec<f32> = out.gradient.iter().map(|slope| *slope as f32).collect();
                let gradients = (&rewards * Tensor::new(slopes, &Device::Cpu)?)?.sum_all()?.backward()?;
                for (variable, squares) in variables.iter().zip(&mut squares) {
                    let Some(gradient) = gradients.get(variable) else { continue };
                    *squares = (&*squares + gradient.sqr()?)?; // AdaGrad
                    let step = (gradient.affine(LEARNING_RATE, 0.0)? / squares.sqrt()?)?;
                    variable.set(&(variable.as_tensor() - step)?)?;
                }
                summary.steps += 1;
                summary.loss += out.value * batch.len() as f64 / total;
                summary.accuracy += scores.rows().into_iter().filter(|r| r[0] > r[1]).count() as f64 / total;
                cx.metrics(summary.steps, &[("loss", out.value)])?;
                cx.advance(1)?;
            }
        }
        Ok(summary)
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), BoxError> {
        let weights = [("embeddings", &self.embeddings), ("head", &self.head)];
        let weights: HashMap<_, _> = weights.map(|(name, var)| (name, var.as_tensor().clone())).into();
        Ok(safetensors::save(&weights, folder.join("model.safetensors"))?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), BoxError> {
        let weights = safetensors::load(folder.join("model.safetensors"), &Device::Cpu)?;
        for (name, variable) in [("embeddings", &self.embeddings), ("head", &self.head)] {
            variable.set(weights.get(name).ok_or_else(|| format!("{name} is missing"))?)?;
        }
        Ok(())
    }
}

fn run(folder: &Path, pairs: usize, observer: impl ser::Observer) -> Result<Outcome, BoxError> {
    let corpus = generate(&CorpusSettings { pairs, ..CorpusSettings::default() })?;
    let split = SplitSettings::reward_model_only();
    let data = prepare(corpus.train.preferences, Some(corpus.test.preferences), &split)?.data;
    let settings = LoopSettings {
        loss: LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() },
        anchor: Anchor::Fitted,
        baselines: Baselines::none(),
        ..LoopSettings::default()
    };
    Ok(SelfEvolution::new(settings).observer(observer).resume(true).run(&mut EmbeddingBag::new(0)?, data, folder)?)
}

fn main() -> Result<(), BoxError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "runs/candle".to_owned());
    let outcome = run(folder.as_ref(), 4000, ser::Progress::with_ctrl_c()?)?;
    println!("{}\nThe report is {}.", outcome.report.to_text(), outcome.html.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_run_selects_pairs_and_the_result_can_be_loaded() {
        let root = tempfile::tempdir().unwrap();
        let outcome = run(&root.path().join("run"), 800, ser::Silent).unwrap();
        let report = &outcome.report;
        assert!(report.iterations.iter().any(|i| i.selection.as_ref().is_some_and(|s| s.kept > 0)));
        assert!(report.iterations[0].evaluation.accuracy.value > 0.55, "{}", report.to_text());
        EmbeddingBag::new(1).unwrap().restore(&outcome.model).unwrap();
    }
}
