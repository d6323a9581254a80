//! `ser run`: the loop, or with `--full` the whole procedure.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::bail;
use clap::Args;
use ser::config::{Config, DEMO, DEMO_POLICIES, FEW_LABELS};
use ser::distributed::Environment;
use ser::{LanguageModels, Procedure};

use crate::flags::Flags;
use crate::output;
use crate::processes::{self, Part};

/// Trains a reward model on a few labels and lets it label the rest itself; with --full, the whole procedure
///
/// Reward models start from the model of --model as it is. The paper starts them from a model after SFT: give one
/// (`ser train sft` makes it), or let --full make it from a base model. Without --data the run works on the built-in
/// corpus, whose base model it makes first. Ctrl-C stops the run without losing work; --resume continues it, also after a
/// crash.
///
/// Started as several processes (`ser launch -n 2 -- run ...`, torchrun), rank 0 reads and writes, and all compute.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The run's folder [default: runs/demo, or runs/demo-full, for the built-in corpus]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Continues the run in that folder
    #[arg(long)]
    resume: bool,
    /// Continues the run after comparing every file with its checksum; damaged stages are made again from those before them
    #[arg(long)]
    repair: bool,
    /// Prompts for the pool, each answered twice by the base model: JSON lines with `prompt`, or a prompt a line. All pairs
    /// of --data for the reward model are then labelled ones, unless split.labelled says otherwise
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// Trains policies too: SFT before the loop, then PPO with the evolved reward model and the policies to compare it with
    #[arg(long)]
    full: bool,
    /// Settings for few labels and a real language model, which --model names: a linear reward model over its hidden states;
    /// `ser config --few-labels` prints them. Files and flags win over them
    #[arg(long, conflicts_with_all = ["full", "prompts"])]
    few_labels: bool,
    /// Held-out preferences to measure accuracy on [default: split.test, a tenth, of --data]
    #[arg(long)]
    test_data: Option<PathBuf>,
    /// Prints the result as JSON instead of the report's tables
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(arguments: &Arguments, environment: &Environment) -> anyhow::Result<()> {
    let (config, out) = settings(arguments)?;
    let models = LanguageModels::new(&config)?;
    let models = match processes::join(environment, &config, models.device())? {
        Part::Command(Some(workers)) => models.workers(workers),
        Part::Command(None) => models,
        Part::Done => return Ok(()),
    };
    let progress = output::progress()?;
    let expected = progress.expected_stages();
    let run = Procedure::new(config, models)
        .observer(progress)
        .resume(arguments.resume)
        .repair(arguments.repair)
        .open(out)?;
    expected.store(run.stages_left(), Ordering::Relaxed);
    let outcome = run.finish()?;
    let (html, folder) = (outcome.html.display(), outcome.model.display());
    let text = format!("{}\nThe model is in {folder}.\nThe report is {html}", outcome.report.to_text());
    let json = serde_json::json!({
        "model": outcome.model, "html": outcome.html, "report": if arguments.json { Some(&outcome.report) } else { None },
    });
    output::result(arguments.json, &json, &text)
}

/// The settings of flags and files, and the run's folder. Defaults that stand in for a flag are noted.
fn settings(arguments: &Arguments) -> anyhow::Result<(Config, PathBuf)> {
    let flags = &arguments.flags;
    let from_files = flags.data.is_some() || !flags.config.is_empty();
    let mut config = flags.load(match (from_files, &arguments.prompts) {
        _ if arguments.few_labels => &[FEW_LABELS],
        (true, Some(_)) => &["split = { labelled = 1.0 }"],
        (true, None) => &[],
        (false, _) if arguments.full => &[DEMO, DEMO_POLICIES],
        (false, _) => &[DEMO],
    })?;
    config.policies.train |= arguments.full;
    config.prompts.file = arguments.prompts.clone().or(config.prompts.file);
    if flags.data.is_some() {
        // A test set belongs to its data.
        config.run.test_data = None;
    }
    config.run.test_data = arguments.test_data.clone().or(config.run.test_data);
    if config.run.data.is_none() && config.run.test_data.is_some() {
        bail!("--test-data needs --data: the built-in corpus has a test set of its own");
    }
    if config.run.data.is_some() && config.run.model.is_none() {
        bail!("--data needs --model FOLDER with config.json, tokenizer.json and *.safetensors");
    }
    config.check()?;
    if arguments.few_labels && config.run.model.is_none() {
        bail!(
            "--few-labels needs --model: a folder with config.json, tokenizer.json and *.safetensors, or a GGUF file"
        );
    }
    match (&config.run.data, &config.run.model) {
        (None, model) => {
            let model = model.as_ref().map_or("a base model made for it".to_owned(), |m| m.display().to_string());
            let settings = match (arguments.few_labels, from_files) {
                (true, _) => "the settings for few labels",
                (_, true) => "the paper's settings, where no file has others",
                _ => "the demo's settings",
            };
            output::note(format_args!("no --data: the run works on the built-in corpus, with {model} and {settings}"));
        }
        (Some(_), Some(model)) if !config.policies.train => output::note(format_args!(
            "reward models start from {} as it is; the paper starts them from a model after SFT (ser train sft, or --full)",
            model.display()
        )),
        _ => {}
    }
    let out = match arguments.out.clone().or_else(|| config.run.out.clone()) {
        Some(out) => out,
        None if config.run.data.is_none() && config.policies.train => PathBuf::from("runs/demo-full"),
        None if config.run.data.is_none() => PathBuf::from("runs/demo"),
        None => bail!("--data needs --out FOLDER for the run"),
    };
    Ok((config, out))
}
