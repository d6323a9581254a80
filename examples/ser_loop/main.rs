//! Self-Evolved Reward Learning with a neural reward model: the main job.
//!
//! ```sh
//! cargo run --release --features libtorch --example ser_loop -- --out runs/demo
//! cargo run --release --features libtorch --example ser_loop -- --data hh.jsonl.gz --model llama-3-8b --out runs/hh
//! ```
//!
//! Without `--data` it works on the built-in corpus, whose base model it makes first. Ctrl-C stops where nothing is
//! lost; `--resume` goes on, as it does after a crash.

#[path = "../config/mod.rs"]
mod config;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ser::core::{FitSummary, Message, Observer};
use ser::data::corpus::generate;
use ser::data::read_prompts;
use ser::model::{CausalLm, Device, RewardModel, make_base};
use ser::{
    MetricsLog, Observers, Prepared, Progress, RunFolder, SelfEvolution, SerData, prepare, prepare_files, sample_pool,
};

use config::{Config, Flags, fetched};

/// What the built-in corpus does differently from the paper.
const DEMO: &str = include_str!("demo.toml");

/// Self-Evolved Reward Learning: trains a reward model on a few labels and lets it label the rest itself
#[derive(Parser)]
struct Arguments {
    /// The run's folder [default: runs/demo for the built-in corpus]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Goes on with the run in that folder
    #[arg(long)]
    resume: bool,
    /// Prompts for the pool, each answered twice by the base model: JSON lines with `prompt`, or a prompt a line. All pairs
    /// of --data for the reward model are then labelled ones, unless split.labelled says otherwise
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Held-out preferences to measure accuracy on; a part of --data if not given
    #[arg(long)]
    test_data: Option<PathBuf>,
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
    let from_files = arguments.flags.data.is_some() || !arguments.flags.config.is_empty();
    let mut config = arguments.flags.load(match (from_files, &arguments.prompts) {
        (true, Some(_)) => "split = { labelled = 1.0 }",
        (true, None) => "",
        (false, _) => DEMO,
    })?;
    config.prompts.file = arguments.prompts.or(config.prompts.file);
    let prompts = config.prompts.file.as_ref().map(read_prompts).transpose()?.unwrap_or_default();
    let (device, why) = Device::choose(config.model.device)?;
    ser::model::set_threads(config.run.threads);
    eprintln!("{why}");
    let out = match arguments.out.or_else(|| config.run.out.clone()) {
        Some(out) => out,
        None if config.run.data.is_none() => PathBuf::from("runs/demo"),
        None => anyhow::bail!("--data needs --out FOLDER for the run"),
    };
    let progress = Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?;

    // Everything that may be wrong with settings and input is found before a folder is made.
    config.evolution.check()?;
    config.reward_model().check()?;
    config.base.training.check()?;
    config.prompts.answers.check()?;
    let test_data = arguments.test_data.or_else(|| config.run.test_data.clone());
    match &config.run.data {
        Some(data) => {
            let Some(folder) = &config.run.model else {
                anyhow::bail!("--data needs --model FOLDER with config.json, tokenizer.json and *.safetensors");
            };
            let mut prepared = prepare_files(data, test_data.as_deref(), &config.data, &config.split)?;
            let mut model = RewardModel::from_folder(folder, &config.reward_model(), device)?;
            let mut run = RunFolder::open(&out, arguments.resume)?;
            let mut observers = Observers::new();
            observers.push(progress);
            fill_pool(&config, &prompts, folder, &mut prepared.data, &mut run, device, &mut observers)?;
            let title = format!("SER on {}", name(data));
            evolve(&config, &title, &mut model, prepared, &mut run, observers)
        }
        None => {
            let corpus = generate(&config.corpus)?;
            let texts: Vec<String> = corpus.texts().map(str::to_owned).collect();
            let mut prepared = prepare(corpus.train.preferences, Some(corpus.test.preferences), &config.split)?;
            let mut run = RunFolder::open(&out, arguments.resume)?;
            let mut observers = Observers::new();
            observers.push(progress);
            let folder = match &config.run.model {
                Some(folder) => folder.clone(),
                None => base(&config, &texts, &prepared, &mut run, device, &mut observers)?,
            };
            let mut model = RewardModel::from_folder(&folder, &config.reward_model(), device)?;
            fill_pool(&config, &prompts, &folder, &mut prepared.data, &mut run, device, &mut observers)?;
            evolve(&config, "SER on the built-in corpus", &mut model, prepared, &mut run, observers)
        }
    }
}

/// Makes the built-in corpus's base model in the run's folder, unless it is there.
fn base(
    config: &Config,
    texts: &[String],
    prepared: &Prepared,
    run: &mut RunFolder,
    device: Device,
    observer: &mut dyn Observer,
) -> anyhow::Result<PathBuf> {
    run.agree_on_settings("base", &config.base)?;
    run.agree_on_settings("corpus", &config.corpus)?;
    let seed = config.run.seed;
    run.folder_stage("base", |folder| -> anyhow::Result<FitSummary> {
        let texts = texts.iter().map(String::as_str);
        Ok(make_base(folder, texts, &prepared.sft, &config.text, &config.base, seed, device, observer)?)
    })?;
    Ok(run.stage_path("base"))
}

/// Adds two sampled answers for each prompt to the pool.
fn fill_pool(
    config: &Config,
    prompts: &[Vec<Message>],
    base: &Path,
    data: &mut SerData,
    run: &mut RunFolder,
    device: Device,
    observers: &mut Observers<'_>,
) -> anyhow::Result<()> {
    if prompts.is_empty() {
        return Ok(());
    }
    let folder = fetched(config.prompts.generator.as_deref().unwrap_or(base))?;
    let make = || CausalLm::from_folder(&folder, &config.causal_lm(), device);
    let pool = sample_pool(make, prompts, &config.prompts.answers, data.free_id(), run, observers)?;
    data.add_to_pool(pool);
    Ok(())
}

/// The loop, its table and where its report is.
fn evolve(
    config: &Config,
    title: &str,
    model: &mut RewardModel,
    prepared: Prepared,
    run: &mut RunFolder,
    observer: impl Observer,
) -> anyhow::Result<()> {
    run.agree_on_settings("model", &config.reward_model())?;
    let metrics = MetricsLog::append(run.path().join("metrics.jsonl"))?;
    let outcome = SelfEvolution::new(config.evolution.clone())
        .title(title)
        .observer(observer)
        .observer(metrics)
        .run_in(model, prepared.data, run)?;
    let (html, folder) = (outcome.html.display(), outcome.model.display());
    writeln!(io::stdout(), "{}\nThe model is in {folder}.\nThe report is {html}", outcome.report.to_text())?;
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
