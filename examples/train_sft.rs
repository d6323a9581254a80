//! Supervised fine-tuning of a language model on the chosen answers of preferences.
//!
//! ```sh
//! cargo run --release --features libtorch --example train_sft -- --model llama-3-8b --data hh.jsonl.gz --out runs/sft
//! ```
//!
//! Ctrl-C stops where nothing is lost; `--resume` goes on, as it does after a crash.

mod config;
mod exit;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use ser::Preference;
use ser::data::PreferenceFile;
use ser::eval::{Count, DataCounts, PolicyReport};
use ser::model::{CausalExample, CausalLm, SftTraining, sft_examples};
use ser::{MetricsLog, Observers, Progress, RunFolder, count_rows, train_in, write_policy_report};

use config::Flags;

/// Supervised fine-tuning on chosen answers
#[derive(Parser)]
struct Arguments {
    /// The run's folder
    #[arg(long)]
    out: PathBuf,
    /// Goes on with the run in that folder
    #[arg(long)]
    resume: bool,
    /// Preferences on whose chosen answers the loss is measured, without training [default: none]
    #[arg(long, value_name = "FILE")]
    validation_data: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    exit::exit_code(run(Arguments::parse()), Some("Run the same command with --resume to go on."))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = arguments.flags.load("")?;
    let (Some(folder), Some(data)) = (&config.run.model, &config.run.data) else {
        bail!("give --model FOLDER and --data FILE");
    };
    let device = config::device(&config)?;
    let mut counts = DataCounts { source: data.display().to_string(), ..DataCounts::default() };
    let mut read = |path: &PathBuf| -> anyhow::Result<Vec<Preference>> {
        let (preferences, summary) = PreferenceFile::open(path, &config.data)?.read_all()?;
        config::tell(&summary);
        count_rows(&mut counts, &summary);
        Ok(preferences)
    };
    let chosen = read(data)?;
    let validation = arguments.validation_data.as_ref().map(&mut read).transpose()?.unwrap_or_default();
    let validation_pairs = validation.len();
    let mut model = CausalLm::from_folder(folder, &config.causal_lm(), device)?;
    let examples = |preferences: &[Preference]| -> anyhow::Result<Vec<CausalExample>> {
        let texts = sft_examples(&model, preferences, config.sft.turns)?;
        texts.warning().iter().for_each(|warning| eprintln!("{warning}"));
        Ok(texts.examples)
    };
    let (examples, validation) = (examples(&chosen)?, examples(&validation)?);
    if examples.is_empty() {
        bail!("{}: no answer is left to train on; is max_length too small?", data.display());
    }
    let progress = Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?;
    let parts = [("training answers", &examples, chosen.len()), ("validation answers", &validation, validation_pairs)];
    for (name, part, pairs) in parts {
        counts.splits.push(Count::new(name, part.len() as u64));
        if part.len() < pairs {
            counts.left_out.push(Count::new(format!("{name} that are too long or empty"), (pairs - part.len()) as u64));
        }
    }
    let mut training = SftTraining::new(&mut model, examples, validation, &config.sft, config.run.seed)?;

    let mut run = RunFolder::open(&arguments.out, arguments.resume)?;
    run.record_or_verify_settings("sft", &config.sft)?;
    run.record_or_verify_settings("text", &config.text)?;
    run.record_or_verify_data("seed", &config.run.seed)?;
    run.record_or_verify_data("texts", &training.fingerprint())?;
    let mut observers = Observers::new();
    observers.push(progress);
    let metrics = run.path().join("metrics.jsonl");
    observers.push(MetricsLog::append(&metrics)?);
    train_in(&mut training, &mut run, "sft", &mut observers)?;
    let summary = training.summary();
    let stage = MetricsLog::stage(&metrics, "sft", "SFT", ser::eval::PolicyTraining::Sft)?;
    let report = PolicyReport { stages: vec![stage], ..PolicyReport::default() };
    let html = write_policy_report(&run, "SFT", config.run.seed, report, counts, Vec::new())?;
    eprintln!(
        "{} steps: loss {:.4}, {:.1} % of tokens right in the last epoch\nThe {} is in {}.\nThe report is {}",
        summary.steps,
        summary.loss,
        100.0 * summary.accuracy,
        if config.sft.lora.is_some() { "adapter" } else { "model" },
        run.stage_path("sft/model").display(),
        html.display()
    );
    Ok(())
}
