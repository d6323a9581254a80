//! Self-Evolved Reward Learning with a neural reward model: the main job.
//!
//! ```sh
//! cargo run --release --features libtorch --example ser_loop -- --out runs/demo
//! cargo run --release --features libtorch --example ser_loop -- --data hh.jsonl.gz --model llama-3-8b --out runs/hh
//! ```
//!
//! Reward models start from the model of `--model` as it is. The paper starts them from a model after SFT: give one
//! (`train_sft` makes it), or let `--full` make it. Without `--data` the run works on the built-in corpus, whose base
//! model it makes first. Ctrl-C stops where nothing is lost; `--resume` goes on, as it does after a crash.

#[path = "../config/mod.rs"]
mod config;
#[path = "../exit/mod.rs"]
mod exit;
mod policies;
mod preflight;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ser::data::corpus::generate;
use ser::data::read_prompts;
use ser::model::{CausalLm, Device, RewardModel, fresh_base, make_base};
use ser::{FitSummary, Message, Observer, Stage};
use ser::{
    MetricsLog, Observers, PreparedData, Progress, RunFolder, SelfEvolution, SerData, prepare, prepare_files,
    sample_pool, write_report,
};

use config::{Config, Flags, fetched};
use policies::Policies;
use preflight::Ready;

/// What the built-in corpus does differently from the paper.
const DEMO: &str = ser::config::DEMO;
/// And its policies.
const FULL: &str = ser::config::DEMO_POLICIES;

/// Self-Evolved Reward Learning: trains a reward model on a few labels and lets it label the rest itself.
///
/// Reward models start from the model of --model as it is. The paper starts them from a model after SFT: give one
/// (train_sft makes it), or let --full make it from a base model.
#[derive(Parser)]
struct Arguments {
    /// The run's folder [default: runs/demo, or runs/demo-full, for the built-in corpus]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Goes on with the run in that folder
    #[arg(long)]
    resume: bool,
    /// Prompts for the pool, each answered twice by the base model: JSON lines with `prompt`, or a prompt a line. All pairs
    /// of --data for the reward model are then labelled ones, unless split.labelled says otherwise
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Trains policies, too: SFT before the loop, then PPO with the evolved reward model, and what it is held against
    #[arg(long)]
    full: bool,
    /// Held-out preferences to measure accuracy on [default: split.test, a tenth, of --data]
    #[arg(long)]
    test_data: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

fn main() -> ExitCode {
    exit::exit_code(run(Arguments::parse()), Some("Run the same command with --resume to go on."))
}

/// The settings of flags and files, and where the run is. What is taken for want of a flag is said on standard error.
fn settings(arguments: &Arguments) -> anyhow::Result<(Config, PathBuf)> {
    let flags = &arguments.flags;
    let from_files = flags.data.is_some() || !flags.config.is_empty();
    let mut config = flags.load(&match (from_files, &arguments.prompts) {
        (true, Some(_)) => "split = { labelled = 1.0 }".to_owned(),
        (true, None) => String::new(),
        (false, _) if arguments.full => format!("{DEMO}\n{FULL}"),
        (false, _) => DEMO.to_owned(),
    })?;
    config.policies.train |= arguments.full;
    config.prompts.file = arguments.prompts.clone().or(config.prompts.file);
    if flags.data.is_some() {
        // A test set belongs to its data.
        config.run.test_data = None;
    }
    config.run.test_data = arguments.test_data.clone().or(config.run.test_data);
    if config.run.data.is_none() && config.run.test_data.is_some() {
        anyhow::bail!("--test-data needs --data: the built-in corpus has a test set of its own");
    }
    if config.run.data.is_none() && config.run.model.is_none() {
        // A model made from nothing learns its language and its manners at once.
        config.sft.training = config.base.training.clone();
    }
    config.check()?;
    match (&config.run.data, &config.run.model) {
        (None, model) => {
            let model = model.as_ref().map_or("a base model made for it".to_owned(), |m| m.display().to_string());
            let settings =
                if from_files { "the paper's settings, where no file has others" } else { "the demo's settings" };
            eprintln!("no --data: the run works on the built-in corpus, with {model} and {settings}");
        }
        (Some(_), Some(model)) if !config.policies.train => eprintln!(
            "reward models start from {} as it is; the paper starts them from a model after SFT (train_sft, or --full)",
            model.display()
        ),
        _ => {}
    }
    let out = match arguments.out.clone().or_else(|| config.run.out.clone()) {
        Some(out) => out,
        None if config.run.data.is_none() && config.policies.train => PathBuf::from("runs/demo-full"),
        None if config.run.data.is_none() => PathBuf::from("runs/demo"),
        None => anyhow::bail!("--data needs --out FOLDER for the run"),
    };
    Ok((config, out))
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    let (config, out) = settings(&arguments)?;
    let prompts = match &config.prompts.file {
        Some(file) => {
            let (prompts, read) = read_prompts(file, &config.data)?;
            config::tell(&read);
            prompts
        }
        None => Vec::new(),
    };
    let device = config::device(&config)?;
    let progress = Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?;
    let (title, texts, mut prepared) = match &config.run.data {
        Some(data) => {
            let prepared = prepare_files(data, config.run.test_data.as_deref(), &config.data, &config.split)?;
            prepared.notes.iter().for_each(|note| eprintln!("note: {note}"));
            (format!("SER on {}", name(data)), None, prepared)
        }
        None => {
            let corpus = generate(&config.corpus)?;
            let texts: Vec<String> = corpus.texts().map(str::to_owned).collect();
            let prepared = prepare(corpus.train.preferences, Some(corpus.test.preferences), &config.split)?;
            ("SER on the built-in corpus".to_owned(), Some(texts), prepared)
        }
    };
    let given = config.run.model.clone();
    let mut ready = preflight::check(&config, given.as_deref(), texts.as_deref(), &mut prepared, prompts, device)?;

    // Nothing was written so far, and nothing that can be known beforehand is wrong.
    let mut run = RunFolder::open(&out, arguments.resume)?;
    let mut observers = Observers::new();
    observers.push(progress);
    observers.push(MetricsLog::append(run.path().join("metrics.jsonl"))?);
    ready.warnings.iter().for_each(|warning| observers.note(warning));
    let corpus = texts.is_some();
    let base = match (given, texts) {
        (Some(folder), _) => folder,
        (None, texts) => base(&config, &texts.unwrap_or_default(), &prepared, &mut run, device, &mut observers)?,
    };
    let start = match config.policies.train {
        true => policies::sft(&config, &base, std::mem::take(&mut ready.sft), &mut run, device, &mut observers)?,
        false => base,
    };
    let mut model = match ready.reward.take() {
        Some(model) => model,
        None => RewardModel::from_folder(&start, &config.reward_model(), device)?,
    };
    for note in model.tokenizer().notes(&prepared.data.pool)? {
        eprintln!("note: {note}");
    }
    fill_pool(&config, &ready.pool, &start, &mut prepared.data, &mut run, device, &mut observers)?;
    let work = Work { config: &config, title, start, corpus, device, ready };
    evolve(&work, &mut model, prepared, &mut run, &mut observers)
}

/// Makes the built-in corpus's base model in the run's folder, unless it is there. It has learnt its language already,
/// unless SFT is to come.
fn base(
    config: &Config,
    texts: &[String],
    prepared: &PreparedData,
    run: &mut RunFolder,
    device: Device,
    observer: &mut dyn Observer,
) -> anyhow::Result<PathBuf> {
    run.record_or_verify_settings("base", &config.base)?;
    run.record_or_verify_settings("corpus", &config.corpus)?;
    run.record_or_verify_settings("policies", &config.policies)?;
    let seed = config.run.seed;
    run.folder_stage("base", |folder| -> anyhow::Result<Option<FitSummary>> {
        let texts = texts.iter().map(String::as_str);
        if config.policies.train {
            fresh_base(folder, texts, &config.text, &config.base, seed, device)?;
            return Ok(None);
        }
        let fit = {
            let mut cx = ser::Context::new(Stage::Pretrain, observer);
            let fit = make_base(folder, texts, &prepared.sft, &config.text, &config.base, seed, device, &mut cx)?;
            cx.finish();
            fit
        };
        Ok(Some(fit))
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
    let make = || match config.prompts.generator {
        Some(_) => config::trained_lm(config, &folder, false, "generator", device),
        None => Ok(CausalLm::from_folder(&folder, &config.causal_lm(), device)?),
    };
    let pool = sample_pool(make, prompts, &config.prompts.answers, data.free_id(), run, observers)?;
    data.add_to_pool(pool);
    Ok(())
}

/// What a run works on.
struct Work<'a> {
    config: &'a Config,
    title: String,
    /// The model that reward models and policies start from.
    start: PathBuf,
    /// Whether that is the built-in corpus.
    corpus: bool,
    device: Device,
    /// Prompts of the policies, and what was left out.
    ready: Ready,
}

/// The loop and, where asked for, the policies; the table and where the report is.
fn evolve(
    work: &Work<'_>,
    model: &mut RewardModel,
    prepared: PreparedData,
    run: &mut RunFolder,
    observers: &mut Observers<'_>,
) -> anyhow::Result<()> {
    let config = work.config;
    run.record_or_verify_settings("model", &config.reward_model())?;
    let seed = prepared.data.seed.clone();
    let mut outcome = SelfEvolution::new(config.evolution.clone())
        .title(&work.title)
        .observer(&mut *observers)
        .run_in(model, prepared.data, run)?;
    if config.policies.train {
        let policies = Policies {
            config,
            device: work.device,
            sft: &work.start,
            ppo: &work.ready.ppo,
            seed: &seed,
            test: &work.ready.test,
            corpus: work.corpus,
        };
        let (report, warnings) = policies.run(model, run, observers)?;
        outcome.report.policy = Some(report);
        outcome.report.warnings.extend(work.ready.warnings.iter().cloned().chain(warnings));
        write_report(run, &mut outcome.report)?;
    }
    let (html, folder) = (outcome.html.display(), outcome.model.display());
    writeln!(io::stdout(), "{}\nThe model is in {folder}.\nThe report is {html}", outcome.report.to_text())?;
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
