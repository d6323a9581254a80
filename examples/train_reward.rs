//! Trains one reward model on the labels given, and saves adapter and head as PEFT does.
//!
//! ```sh
//! cargo run --release --features libtorch --example train_reward -- --model llama-3-8b --data hh.jsonl.gz --out rm
//! ```

mod config;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Parser;
use ser::core::{Control, Event, Learner, Preference, Scorer, Screening};
use ser::data::PreferenceFile;
use ser::model::RewardModel;
use ser::{MetricsLog, Observers, Progress};

use config::Flags;

/// Trains a reward model on a file of preferences
#[derive(Parser)]
struct Arguments {
    /// Folder for adapter and head
    #[arg(long)]
    out: PathBuf,
    /// Prints pairs per second over all steps but the first four as a line of JSON on stderr
    #[arg(long)]
    timing: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Steps that a timing leaves out.
const WARM_UP: u64 = 4;

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.flags.load("")?;
    let (Some(folder), Some(data)) = (&config.run.model, &config.run.data) else {
        bail!("give --model FOLDER and --data FILE");
    };
    let device = config.device()?;
    let (preferences, _) = PreferenceFile::open(data, &config.data)?.read_all()?;
    let loss = config.evolution.loss.build()?;
    let mut model = RewardModel::from_folder(folder, &config.reward_model(), device)?;
    let pairs: Vec<_> = preferences.iter().map(|p| Arc::clone(&p.pair)).collect();
    for note in model.tokenizer().notes(&pairs)? {
        eprintln!("note: {note}");
    }
    let (kept, left_out) = screened(&mut model, preferences)?;
    if left_out > 0 {
        eprintln!("left out: {left_out} pairs over max_length, with equal texts or an empty answer");
    }
    if kept.is_empty() {
        bail!("{}: no pair is left to train on; is max_length too small?", data.display());
    }
    std::fs::create_dir_all(&arguments.out).with_context(|| arguments.out.display().to_string())?;

    let mut clock: Vec<Instant> = Vec::new();
    let mut observers = Observers::new();
    observers.push(Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?);
    observers.push(MetricsLog::append(arguments.out.join("metrics.jsonl"))?);
    observers.push(|event: &Event<'_>| {
        if let Event::Advanced { .. } = event {
            clock.push(Instant::now());
        }
        Control::Continue
    });
    let summary = model.fit(&kept, &loss, config.run.seed, "train", &mut observers)?;
    drop(observers);
    model.save_adapter(&arguments.out)?;
    eprintln!(
        "{} steps on {} pairs: loss {:.4}, accuracy {:.3} in the last epoch; saved in {}",
        summary.steps,
        kept.len(),
        summary.loss,
        summary.accuracy,
        arguments.out.display()
    );
    if arguments.timing {
        let (Some(first), Some(last)) = (clock.get(WARM_UP as usize - 1), clock.last()) else {
            bail!("a timing needs more than {WARM_UP} steps");
        };
        let steps = (clock.len() as u64 - WARM_UP) as f64;
        let pairs = steps * (config.training.batch_size * config.training.gradient_accumulation) as f64;
        let figure = serde_json::json!({"pairs_per_s": pairs / (*last - *first).as_secs_f64(), "loss": summary.loss});
        eprintln!("{figure}");
    }
    Ok(())
}

/// The pairs that can be trained on, and how many cannot.
fn screened(model: &mut RewardModel, preferences: Vec<Preference>) -> anyhow::Result<(Vec<Preference>, usize)> {
    let pairs: Vec<_> = preferences.iter().map(|p| Arc::clone(&p.pair)).collect();
    let fits = model.screen(&pairs)?;
    let all = preferences.len();
    let kept: Vec<Preference> =
        preferences.into_iter().zip(fits).filter(|(_, fit)| *fit == Screening::Fit).map(|(p, _)| p).collect();
    let left_out = all - kept.len();
    Ok((kept, left_out))
}
