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
mod policies;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use ser::core::{Event, FitSummary, Message, Observer};
use ser::data::corpus::generate;
use ser::data::read_prompts;
use ser::model::{CausalLm, Device, RewardModel, fresh_base, make_base};
use ser::{
    MetricsLog, Observers, Prepared, Progress, RunFolder, SelfEvolution, SerData, prepare, prepare_files, sample_pool,
    write_report,
};

use config::{Config, Flags, fetched};
use policies::Policies;

/// What the built-in corpus does differently from the paper.
const DEMO: &str = include_str!("demo.toml");
/// And its policies.
const FULL: &str = include_str!("full.toml");

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
    /// Trains policies, too: SFT before the loop, then PPO with the evolved reward model, and what it is held against
    #[arg(long)]
    full: bool,
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
    let mut config = arguments.flags.load(&match (from_files, &arguments.prompts) {
        (true, Some(_)) => "split = { labelled = 1.0 }".to_owned(),
        (true, None) => String::new(),
        (false, _) if arguments.full => format!("{DEMO}\n{FULL}"),
        (false, _) => DEMO.to_owned(),
    })?;
    config.policies.train |= arguments.full;
    config.prompts.file = arguments.prompts.or(config.prompts.file);
    let prompts = config.prompts.file.as_ref().map(read_prompts).transpose()?.unwrap_or_default();
    let device = config.device()?;
    let out = match arguments.out.or_else(|| config.run.out.clone()) {
        Some(out) => out,
        None if config.run.data.is_none() && arguments.full => PathBuf::from("runs/demo-full"),
        None if config.run.data.is_none() => PathBuf::from("runs/demo"),
        None => anyhow::bail!("--data needs --out FOLDER for the run"),
    };
    let progress = Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?;
    if config.run.data.is_none() && config.run.model.is_none() {
        // A model made from nothing learns its language and its manners at once.
        config.sft.training = config.base.training.clone();
    }

    // Everything that may be wrong with settings and input is found before a folder is made.
    config.evolution.check()?;
    config.reward_model().check()?;
    config.base.training.check()?;
    config.prompts.answers.check()?;
    policies::check(&config)?;
    let test_data = arguments.test_data.or_else(|| config.run.test_data.clone());
    let mut observers = Observers::new();
    observers.push(progress);
    let (title, texts, mut prepared) = match &config.run.data {
        Some(data) => {
            let prepared = prepare_files(data, test_data.as_deref(), &config.data, &config.split)?;
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
    if given.is_none() && texts.is_none() {
        anyhow::bail!("--data needs --model FOLDER with config.json, tokenizer.json and *.safetensors");
    }
    // A folder that does not hold together is refused before anything is made.
    let load = |folder: &PathBuf| RewardModel::from_folder(folder, &config.reward_model(), device);
    let loaded = given.as_ref().map(load).transpose()?.filter(|_| !config.policies.train);
    let mut run = RunFolder::open(&out, arguments.resume)?;
    observers.push(MetricsLog::append(run.path().join("metrics.jsonl"))?);
    let corpus = texts.is_some();
    let base = match (given, texts) {
        (Some(folder), _) => folder,
        (None, texts) => base(&config, &texts.unwrap_or_default(), &prepared, &mut run, device, &mut observers)?,
    };
    let start = match config.policies.train {
        true => policies::sft(&config, &base, &prepared.sft, &mut run, device, &mut observers)?,
        false => base,
    };
    let mut model = loaded.map_or_else(|| load(&start), Ok)?;
    for note in model.tokenizer().notes(&prepared.data.pool)? {
        eprintln!("note: {note}");
    }
    fill_pool(&config, &prompts, &start, &mut prepared.data, &mut run, device, &mut observers)?;
    evolve(&Work { config: &config, title, start, corpus, device }, &mut model, prepared, &mut run, &mut observers)
}

/// Makes the built-in corpus's base model in the run's folder, unless it is there. It has learnt its language already,
/// unless SFT is to come.
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
    run.agree_on_settings("policies", &config.policies)?;
    let seed = config.run.seed;
    run.folder_stage("base", |folder| -> anyhow::Result<Option<FitSummary>> {
        let texts = texts.iter().map(String::as_str);
        if config.policies.train {
            fresh_base(folder, texts, &config.text, &config.base, seed, device)?;
            return Ok(None);
        }
        let fit = make_base(folder, texts, &prepared.sft, &config.text, &config.base, seed, device, observer)?;
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
    let make = || CausalLm::from_folder(&folder, &config.causal_lm(), device);
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
}

/// The loop and, where asked for, the policies; the table and where the report is.
fn evolve(
    work: &Work<'_>,
    model: &mut RewardModel,
    prepared: Prepared,
    run: &mut RunFolder,
    observers: &mut Observers<'_>,
) -> anyhow::Result<()> {
    let config = work.config;
    run.agree_on_settings("model", &config.reward_model())?;
    let seed = prepared.data.seed.clone();
    let test: Vec<Vec<Message>> =
        prepared.data.test.iter().take(config.policies.judged).map(|p| p.pair.prompt.clone()).collect();
    let mut outcome = SelfEvolution::new(config.evolution.clone())
        .title(&work.title)
        .observer(|event: &Event<'_>| observers.observe(event))
        .run_in(model, prepared.data, run)?;
    if config.policies.train {
        let policies = Policies {
            config,
            device: work.device,
            sft: &work.start,
            ppo: &prepared.ppo,
            seed: &seed,
            test: &test,
            corpus: work.corpus,
        };
        let (report, warnings) = policies.run(model, run, observers)?;
        outcome.report.policy = Some(report);
        outcome.report.warnings.extend(warnings);
        write_report(run, &mut outcome.report)?;
    }
    let (html, folder) = (outcome.html.display(), outcome.model.display());
    writeln!(io::stdout(), "{}\nThe model is in {folder}.\nThe report is {html}", outcome.report.to_text())?;
    Ok(())
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
