//! Trains one reward model on the labels given, measures it on held-out pairs, and writes a report.
//!
//! ```sh
//! cargo run --release --features libtorch --example train_reward -- --model llama-3-8b --data hh.jsonl.gz --out runs/rm
//! ```
//!
//! `--out` is a run folder: an existing one is refused unless `--resume` goes on with it. Adapter and head are in its
//! folder `reward/model`, in PEFT's layout; `score_pairs --adapter` and `train_ppo --reward-model` take the run folder,
//! too. Without `--test-data` a share of the pairs is held out (`split.test`, 0.1; 0 holds none out).

mod config;
mod exit;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Parser;
use ser::eval::{Count, DataCounts};
use ser::model::RewardModel;
use ser::{Control, Event, Pair, Scorer, Screening, Stage, observer_fn};
use ser::{
    Fit, MetricsLog, Observers, PairsRead, Progress, RunFolder, TrainedReward, fit_in, score_held_out,
    write_reward_report,
};

use config::{Config, Flags};

/// Trains a reward model on a file of preferences
#[derive(Parser)]
struct Arguments {
    /// The run's folder
    #[arg(long)]
    out: PathBuf,
    /// Goes on with the run in that folder
    #[arg(long)]
    resume: bool,
    /// Held-out preferences to measure accuracy on; a part of --data if not given
    #[arg(long, value_name = "FILE")]
    test_data: Option<PathBuf>,
    /// Prints pairs per second over all steps but the first four as a line of JSON on stderr
    #[arg(long)]
    timing: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Steps that a timing leaves out.
const WARM_UP: u64 = 4;
/// The stage that trains.
const MODEL: &str = "reward/model";

fn main() -> ExitCode {
    exit::exit_code(run(Arguments::parse()), Some("Run the same command with --resume to go on."))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.flags.load("")?;
    let (Some(folder), Some(data)) = (&config.run.model, &config.run.data) else {
        bail!("give --model FOLDER and --data FILE");
    };
    // Everything that may be wrong with settings and input is found before a folder is made.
    let loss = config.evolution.loss.check()?;
    let device = config::device(&config)?;
    let mut train = PairsRead::open(data, &config.data)?;
    let mut counts = DataCounts { source: data.display().to_string(), ..DataCounts::default() };
    let mut test = match arguments.test_data.as_ref().or(config.run.test_data.as_ref()) {
        Some(path) => {
            let test = PairsRead::open(path, &config.data)?;
            train.leave_out_prompts_of(&test);
            counts.source = format!("{}, test {}", counts.source, path.display());
            test
        }
        None => train.hold_out(&config.split)?,
    };
    counts.rows = train.summary.rows + test.summary.rows;
    let mut model = RewardModel::from_folder(folder, &config.reward_model(), device)?;
    for (name, part) in [("", &mut train), ("test pairs, ", &mut test)] {
        let pairs: Vec<Arc<Pair>> = part.preferences.iter().map(|p| Arc::clone(&p.pair)).collect();
        model.tokenizer().notes(&pairs)?.iter().for_each(|note| eprintln!("note: {name}{note}"));
        part.keep(&model.screen(&pairs, &mut ser::Context::silent())?, |screening| screening == Screening::Usable);
        part.lines().iter().for_each(|line| eprintln!("{name}{line}"));
        counts.left_out.extend(part.counts());
    }
    if train.preferences.is_empty() {
        bail!("{}: no pair is left to train on; is max_length too small?", data.display());
    }
    counts.splits =
        vec![Count::new("training", train.preferences.len() as u64), Count::new("test", test.preferences.len() as u64)];

    let progress = Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?;
    let mut run = RunFolder::open(&arguments.out, arguments.resume)?;
    run.record_or_verify_settings("model", &config.reward_model())?;
    run.record_or_verify_settings("loss", &config.evolution.loss)?;
    run.record_or_verify_data("seed", &config.run.seed)?;
    train.record_in(&mut run, "training")?;
    test.record_in(&mut run, "test")?;
    let mut clock: Vec<Instant> = Vec::new();
    let mut observers = Observers::new();
    observers.push(progress);
    observers.push(MetricsLog::append(run.path().join("metrics.jsonl"))?);
    observers.push(observer_fn(|event| {
        if let Event::Advanced { stage: Stage::TrainReward, .. } = event {
            clock.push(Instant::now());
        }
        Control::Continue
    }));
    let fit = Fit { data: &train.preferences, loss: &loss, seed: config.run.seed };
    let fit = fit_in(&mut model, fit, &mut run, Stage::TrainReward, MODEL, &mut observers)?;
    let scores = score_held_out(&mut run, "reward/test_scores.jsonl", &mut model, &test.preferences, &mut observers)?;
    drop(observers);

    let html = write_reward_report(
        &run,
        TrainedReward {
            title: "Reward model",
            seed: config.run.seed,
            data: counts,
            fit,
            trained_on: train.preferences.len() as u64,
            held_out: &test.preferences,
            test: &scores,
            bootstrap: config.evolution.bootstrap,
        },
    )?;
    eprintln!(
        "{} steps on {} pairs: loss {:.4}, accuracy {:.3} in the last epoch{}\nThe adapter is in {}.\nThe report is {}",
        fit.steps,
        train.preferences.len(),
        fit.loss,
        fit.accuracy,
        held_out(&scores),
        run.stage_path(MODEL).display(),
        html.display()
    );
    if arguments.timing {
        print_timing(&clock, &config, fit.loss)?;
    }
    Ok(())
}

/// What the held-out pairs say, for the summary line.
fn held_out(scores: &[[f64; 2]]) -> String {
    if scores.is_empty() {
        return "; no pairs were held out".to_owned();
    }
    let right = scores.iter().filter(|[chosen, rejected]| chosen > rejected).count();
    format!("; {:.3} on {} held-out pairs", right as f64 / scores.len() as f64, scores.len())
}

/// Pairs per second over all steps but the first ones, on stderr.
fn print_timing(clock: &[Instant], config: &Config, loss: f64) -> anyhow::Result<()> {
    let (Some(first), Some(last)) = (clock.get(WARM_UP as usize - 1), clock.last()) else {
        bail!("a timing needs more than {WARM_UP} steps");
    };
    let steps = (clock.len() as u64 - WARM_UP) as f64;
    let pairs = steps * (config.training.batch_size * config.training.gradient_accumulation) as f64;
    let figure = serde_json::json!({"pairs_per_s": pairs / (*last - *first).as_secs_f64(), "loss": loss});
    eprintln!("{figure}");
    Ok(())
}
