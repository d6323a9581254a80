//! Self-evolution over a reward model of your own: a linear model on hashed words and pairs of words.
//!
//! ```sh
//! cargo run --release --example embed_custom_model -- runs/linear
//! cargo run --release --example embed_custom_model -- runs/linear-hh hh-rlhf.jsonl.gz
//! ```
//!
//! A run needs two traits of a model: [`Scorer`] (pairs to scores) and [`Learner`] (fit, save, load). Ctrl-C stops the
//! run, and the same command continues it.
#![allow(clippy::print_stdout, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use ser::data::SplitSettings;
use ser::data::corpus::{CorpusSettings, generate};
use ser::loss::{LossKind, LossSettings};
use ser::ndarray::Array2;
use ser::status::Anchor;
use ser::{
    BoxError, Context, FitSummary, Learner, LoopSettings, Pair, PairLoss, PairScores, PairTarget, PreferenceStore,
    PreparedData, Scorer, SelfEvolution, Side, prepare, prepare_files,
};

const WEIGHTS: usize = 1 << 16;
const EPOCHS: usize = 5;
const BATCH: usize = 16;
const LEARNING_RATE: f64 = 0.1;

/// r(answer) = the sum of the weights of its words and pairs of words, divided by the square root of their number.
pub(crate) struct HashedLinear {
    weights: Vec<f64>,
}

/// The indices of an answer's features. Both answers of a pair have the same prompt, so a linear model does not need it.
fn features(answer: &str) -> Vec<usize> {
    let words: Vec<String> =
        answer.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    // FNV-1a, which does not change with the version of Rust.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let index = |feature: &[String]| {
        feature.iter().flat_map(|word| word.bytes().chain([b' '])).fold(0xcbf2_9ce4_8422_2325, step) as usize % WEIGHTS
    };
    words.windows(1).chain(words.windows(2)).map(index).collect()
}

impl HashedLinear {
    /// All weights are 0.
    pub(crate) fn new() -> Self {
        HashedLinear { weights: vec![0.0; WEIGHTS] }
    }

    fn reward(&self, features: &[usize]) -> f64 {
        features.iter().map(|&index| self.weights[index]).sum::<f64>() / (features.len().max(1) as f64).sqrt()
    }
}

impl Scorer for HashedLinear {
    type Error = BoxError;

    fn score(&mut self, pairs: &[Arc<Pair>], _cx: &mut Context<'_>) -> Result<Vec<PairScores>, BoxError> {
        let score =
            |pair: &Arc<Pair>| [Side::A, Side::B].map(|side| self.reward(&features(pair.response(side)))).into();
        Ok(pairs.iter().map(score).collect())
    }
}

impl Learner for HashedLinear {
    /// AdaGrad. The loss gives its derivative by each score, and the chain rule gives the derivative by each weight.
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, BoxError> {
        let preferences = data.read_range(0..data.len())?;
        let answers: Vec<_> = preferences.iter().map(|p| [features(p.chosen()), features(p.rejected())]).collect();
        let mut squares = vec![1e-8; WEIGHTS];
        let mut order: Vec<usize> = (0..answers.len()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(cx.seed());
        let mut summary = FitSummary { steps: 0, loss: 0.0, accuracy: 0.0 };
        cx.start(Some((EPOCHS * answers.len().div_ceil(BATCH)) as u64), "steps")?;
        for _ in 0..EPOCHS {
            order.shuffle(&mut rng);
            (summary.loss, summary.accuracy) = (0.0, 0.0);
            for batch in order.chunks(BATCH) {
                let scores =
                    Array2::from_shape_fn((batch.len(), 2), |(row, side)| self.reward(&answers[batch[row]][side]));
                let targets: Vec<_> = batch.iter().map(|&i| PairTarget::from(&preferences[i])).collect();
                let out = loss.evaluate(scores.view(), &targets)?;
                for ((row, side), slope) in out.gradient.indexed_iter() {
                    let features = &answers[batch[row]][side];
                    let slope = slope / (features.len().max(1) as f64).sqrt();
                    for &index in features {
                        squares[index] += slope * slope;
                        self.weights[index] -= LEARNING_RATE * slope / squares[index].sqrt();
                    }
                }
                summary.steps += 1;
                summary.loss += out.value * batch.len() as f64 / answers.len() as f64;
                let right = scores.rows().into_iter().filter(|row| row[0] > row[1]).count();
                summary.accuracy += right as f64 / answers.len() as f64;
                cx.metrics(summary.steps, &[("loss", out.value)])?;
                cx.advance(1)?; // an error if a stop was requested
            }
        }
        Ok(summary)
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), BoxError> {
        let bytes: Vec<u8> = self.weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        Ok(fs::write(folder.join("weights.f64"), bytes)?)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), BoxError> {
        let bytes = fs::read(folder.join("weights.f64"))?;
        self.weights = bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        Ok(())
    }
}

/// The settings of a run with this model: the paper's, but with a loss and an anchor that suit a linear model.
pub(crate) fn settings() -> LoopSettings {
    LoopSettings {
        loss: LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() },
        anchor: Anchor::Fitted,
        ..LoopSettings::default()
    }
}

/// The built-in corpus. Nothing is set aside for SFT and PPO.
pub(crate) fn corpus(pairs: usize) -> Result<PreparedData, BoxError> {
    let corpus = generate(&CorpusSettings { pairs, ..CorpusSettings::default() })?;
    let split = SplitSettings::reward_model_only();
    Ok(prepare(corpus.train.preferences, Some(corpus.test.preferences), &split)?)
}

#[allow(dead_code, reason = "other lessons use the model alone")]
fn main() -> Result<(), BoxError> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().unwrap_or_else(|| "runs/linear".to_owned());
    let prepared = match arguments.next() {
        Some(file) => prepare_files(file.as_ref(), None, &Default::default(), &SplitSettings::reward_model_only())?,
        None => corpus(CorpusSettings::default().pairs)?,
    };
    let outcome = SelfEvolution::new(settings()).observer(ser::Progress::with_ctrl_c()?).resume(true).run(
        &mut HashedLinear::new(),
        prepared.data,
        folder,
    )?;
    println!("{}\nThe report is {}.", outcome.report.to_text(), outcome.html.display());
    Ok(())
}
