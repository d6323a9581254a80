//! The loop over a reward model of your own: here a linear model on hashed words, in place of a neural network.
//!
//! ```sh
//! cargo run --release --example embed_custom_model -- --out runs/linear
//! cargo run --release --example embed_custom_model -- --data hh-rlhf.jsonl.gz --out runs/linear-hh
//! ```
//!
//! All that the loop asks of a model is [`Scorer`] (pairs to scores) and [`Learner`] (fit, save, load). Ctrl-C stops the
//! run where nothing is lost; `--resume` goes on, as it does after a crash.

mod exit;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::{fs, io};

use anyhow::Context;
use clap::Parser;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use ser::data::corpus::{CorpusSettings, generate};
use ser::data::{ReadSettings, SplitSettings};
use ser::loss::{LossKind, LossSettings};
use ser::ndarray::aview2;
use ser::status::Anchor;
use ser::{
    Context as Work, FitSummary, Learner, Pair, PairLoss, PairScores, PairTarget, PreferenceStore, Scorer, Side,
};
use ser::{LoopSettings, Progress, SelfEvolution, prepare, prepare_files};

/// A power of two; two features that fall on the same weight share it.
const WEIGHTS: usize = 1 << 16;
const EPOCHS: u64 = 5;
const BATCH: usize = 16;
const LEARNING_RATE: f64 = 0.1;

/// r(answer) = the mean weight of the answer's words and word pairs, times the square root of how many there are.
struct HashedLinear {
    weights: Vec<f64>,
}

/// The places of an answer's features among the weights. (The prompt is the same for both answers of a pair, so a
/// linear model learns nothing from it.)
fn features(answer: &str) -> Vec<usize> {
    let words: Vec<String> =
        answer.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect();
    // FNV-1a, which is the same in every version of Rust: weights are saved.
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let place = |feature: &[String]| {
        let bytes = feature.iter().flat_map(|word| word.bytes().chain([b' ']));
        bytes.fold(0xcbf2_9ce4_8422_2325, fold) as usize % WEIGHTS
    };
    words.windows(1).chain(words.windows(2)).map(place).collect()
}

impl HashedLinear {
    fn new() -> Self {
        HashedLinear { weights: vec![0.0; WEIGHTS] }
    }

    fn reward(&self, features: &[usize]) -> f64 {
        let sum: f64 = features.iter().filter_map(|&place| self.weights.get(place)).sum();
        sum / (features.len().max(1) as f64).sqrt()
    }
}

impl Scorer for HashedLinear {
    type Error = io::Error;

    fn score(&mut self, pairs: &[Arc<Pair>], _cx: &mut Work<'_>) -> io::Result<Vec<PairScores>> {
        let reward = |pair: &Pair, side| self.reward(&features(pair.response(side)));
        Ok(pairs.iter().map(|pair| PairScores::new(reward(pair, Side::A), reward(pair, Side::B))).collect())
    }
}

impl Learner for HashedLinear {
    /// AdaGrad, with the gradient of the loss by each score.
    fn fit(&mut self, data: &dyn PreferenceStore, loss: &dyn PairLoss, cx: &mut Work<'_>) -> io::Result<FitSummary> {
        let preferences = data.read_range(0..data.len()).map_err(io::Error::other)?;
        let answers: Vec<_> = preferences.iter().map(|p| [features(p.chosen()), features(p.rejected())]).collect();
        let targets: Vec<_> = preferences.iter().map(PairTarget::from).collect();
        let mut squares = vec![1e-8; WEIGHTS];
        let mut order: Vec<usize> = (0..preferences.len()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(cx.seed());
        let steps = EPOCHS * preferences.len().div_ceil(BATCH) as u64;
        cx.start(Some(steps), "steps")?;
        let (mut step, mut mean_loss, mut right) = (0, 0.0, 0);
        for _ in 0..EPOCHS {
            order.shuffle(&mut rng);
            (mean_loss, right) = (0.0, 0);
            for batch in order.chunks(BATCH) {
                let scores: Vec<[f64; 2]> =
                    batch.iter().map(|&i| [self.reward(&answers[i][0]), self.reward(&answers[i][1])]).collect();
                let batch_targets: Vec<_> = batch.iter().map(|&i| targets[i]).collect();
                let out = loss.evaluate(aview2(&scores), &batch_targets).map_err(io::Error::other)?;
                for (&i, gradient) in batch.iter().zip(out.gradient.rows()) {
                    for (features, slope) in answers[i].iter().zip(gradient) {
                        let slope = slope / (features.len().max(1) as f64).sqrt();
                        for &place in features {
                            squares[place] += slope * slope;
                            self.weights[place] -= LEARNING_RATE * slope / squares[place].sqrt();
                        }
                    }
                }
                step += 1;
                mean_loss += out.value * batch.len() as f64 / preferences.len() as f64;
                right += scores.iter().filter(|[chosen, rejected]| chosen > rejected).count();
                cx.metrics(step, &[("loss", out.value)])?;
                cx.advance(1)?;
            }
        }
        Ok(FitSummary { steps, loss: mean_loss, accuracy: right as f64 / preferences.len().max(1) as f64 })
    }

    fn snapshot(&mut self, folder: &Path) -> io::Result<()> {
        let bytes: Vec<u8> = self.weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        fs::write(folder.join("weights.f64"), bytes)
    }

    fn restore(&mut self, folder: &Path) -> io::Result<()> {
        let bytes = fs::read(folder.join("weights.f64"))?;
        self.weights = bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        Ok(())
    }
}

/// Self-Evolved Reward Learning over a linear reward model.
#[derive(Parser)]
struct Arguments {
    /// Preferences as JSON lines, gzipped or not, in HH-RLHF's layout or with `prompt`, `chosen`, `rejected`; the
    /// built-in corpus if left out.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The run's folder.
    #[arg(long)]
    out: PathBuf,
    /// Goes on with the run in that folder.
    #[arg(long)]
    resume: bool,
    /// Seed of the corpus, the split and the training.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { data, out, resume, seed } = arguments;
    // A linear model needs no fine-tuning, so nothing is set aside for it, nor for PPO.
    let split = SplitSettings { sft: 0.0, rm: 1.0, ppo: 0.0, seed, ..SplitSettings::default() };
    let prepared = match data {
        Some(file) => prepare_files(&file, None, &ReadSettings::default(), &split)?,
        None => {
            eprintln!("no --data: the run works on the built-in corpus");
            let corpus = generate(&CorpusSettings { seed, ..CorpusSettings::default() })?;
            prepare(corpus.train.preferences, Some(corpus.test.preferences), &split)?
        }
    };
    let settings = LoopSettings {
        seed,
        loss: LossSettings { kind: LossKind::BradleyTerry, ..LossSettings::default() },
        anchor: Anchor::Fitted,
        ..LoopSettings::default()
    };
    let outcome = SelfEvolution::new(settings)
        .title("A linear reward model that labels its own data")
        .observer(Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?)
        .resume(resume)
        .run(&mut HashedLinear::new(), prepared.data, &out)?;
    let (html, model) = (outcome.html.display(), outcome.model.display());
    writeln!(io::stdout(), "{}\nThe report is {html}, the model is in {model}.", outcome.report.to_text())?;
    Ok(())
}

fn main() -> ExitCode {
    exit::exit_code(run(Arguments::parse()), Some("Run the same command with --resume to go on."))
}
