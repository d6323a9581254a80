//! Supervised fine-tuning of a language model on the chosen answers of preferences.
//!
//! ```sh
//! cargo run --release --features libtorch --example train_sft -- --model llama-3-8b --data hh.jsonl.gz --out runs/sft
//! ```
//!
//! Ctrl-C stops where nothing is lost; `--resume` goes on, as it does after a crash.

mod config;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use ser::core::Preference;
use ser::data::PreferenceFile;
use ser::eval::PolicyReport;
use ser::model::{CausalExample, CausalLm, LearntTurns, SftTraining};
use ser::{MetricsLog, Observers, Progress, RunFolder, train_in, write_policy_report};

use config::{Config, Flags};

/// Supervised fine-tuning on chosen answers
#[derive(Parser)]
struct Arguments {
    /// The run's folder
    #[arg(long)]
    out: PathBuf,
    /// Goes on with the run in that folder
    #[arg(long)]
    resume: bool,
    /// Preferences whose chosen answers the loss is looked at on, without training
    #[arg(long, value_name = "FILE")]
    validation_data: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

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
    config.sft.check()?;
    let device = config.device()?;
    let read = |path: &PathBuf| -> anyhow::Result<Vec<Preference>> {
        Ok(PreferenceFile::open(path, &config.data)?.read_all()?.0)
    };
    let chosen = read(data)?;
    let validation = arguments.validation_data.as_ref().map(read).transpose()?.unwrap_or_default();
    let mut model = CausalLm::from_folder(folder, &config.causal_lm(), device)?;
    let examples = examples(&model, &config, &chosen)?;
    let validation = self::examples(&model, &config, &validation)?;
    if examples.is_empty() {
        bail!("{}: no answer is left to train on; is max_length too small?", data.display());
    }
    let progress = Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?;
    let mut training = SftTraining::new(&mut model, examples, validation, &config.sft, config.run.seed)?;

    let mut run = RunFolder::open(&arguments.out, arguments.resume)?;
    run.agree_on_settings("sft", &config.sft)?;
    run.agree_on_settings("text", &config.text)?;
    run.agree_on_data("seed", &config.run.seed)?;
    run.agree_on_data("texts", &training.fingerprint())?;
    let mut observers = Observers::new();
    observers.push(progress);
    let metrics = run.path().join("metrics.jsonl");
    observers.push(MetricsLog::append(&metrics)?);
    train_in(&mut training, &mut run, "sft", config.sft.checkpoint_every, &mut observers)?;
    let summary = training.summary();
    let stage = MetricsLog::stage(&metrics, "sft", "SFT", ser::eval::PolicyTraining::Sft)?;
    let report = PolicyReport { stages: vec![stage], ..PolicyReport::default() };
    let html = write_policy_report(&run, "SFT", config.run.seed, report, Vec::new())?;
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

/// The chosen answers that are within the length limit.
fn examples(model: &CausalLm, config: &Config, preferences: &[Preference]) -> anyhow::Result<Vec<CausalExample>> {
    let mut examples = Vec::with_capacity(preferences.len());
    for preference in preferences {
        let (pair, side) = (&preference.pair, preference.preferred);
        let example = match config.sft.turns {
            LearntTurns::Last => model.tokenizer().tokenize_answer(pair, side)?.into(),
            LearntTurns::All => model.tokenizer().tokenize_answer_turns(pair, side)?.into(),
        };
        examples.push(example);
    }
    let all = examples.len();
    examples.retain(|example: &CausalExample| example.tokens.len() <= model.text_limit());
    if examples.len() < all {
        eprintln!("left out: {} answers over max_length", all - examples.len());
    }
    Ok(examples)
}
