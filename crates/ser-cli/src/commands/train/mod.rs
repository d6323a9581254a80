//! `ser train`.

mod dpo;
mod ppo;
mod reward;
mod sft;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Subcommand;
use ser::config::Config;
use ser::data::PreferenceFile;
use ser::distributed::Environment;
use ser::eval::{DataCounts, PolicyReport, PolicyTraining};
use ser::model::{Device, Workers};
use ser::{MetricsLog, Observers, Preference, RunFolder, count_rows, write_policy_report};

use crate::flags::{Flags, RunFlags};
use crate::output;
use crate::processes::{self, Part};

/// Trains one model: a reward model, or a language model by SFT, PPO or DPO
///
/// Ctrl-C stops the training without losing work; --resume continues it, also after a crash.
#[derive(Subcommand)]
pub(crate) enum Train {
    Reward(reward::Arguments),
    Sft(sft::Arguments),
    Ppo(Box<ppo::Arguments>),
    Dpo(dpo::Arguments),
}

impl Train {
    pub(crate) fn run(self, environment: &Environment) -> anyhow::Result<()> {
        match self {
            Train::Reward(arguments) => reward::run(&arguments, environment),
            Train::Sft(arguments) => sft::run(&arguments, environment),
            Train::Ppo(arguments) => ppo::run(*arguments, environment),
            Train::Dpo(arguments) => dpo::run(&arguments, environment),
        }
    }
}

/// A training on preferences before its model is loaded.
struct Start {
    config: Config,
    device: Device,
    model: PathBuf,
    data: PathBuf,
    /// Counts of the rows read, for the report.
    counts: DataCounts,
    /// The processes that train with this one.
    workers: Option<Workers>,
}

impl Start {
    /// `None` in a process that has computed for rank 0 and is done.
    fn new(flags: &Flags, environment: &Environment) -> anyhow::Result<Option<Self>> {
        let (config, device) = flags.load_with_device(&[])?;
        let (Some(model), Some(data)) = (config.run.model.clone(), config.run.data.clone()) else {
            bail!("give --model FOLDER and --data FILE");
        };
        let counts = DataCounts { source: data.display().to_string(), ..DataCounts::default() };
        Ok(match processes::join(environment, &config, device)? {
            Part::Command(workers) => Some(Start { config, device, model, data, counts, workers }),
            Part::Done => None,
        })
    }

    /// Reads a file of preferences and adds its rows to the counts.
    fn read(&mut self, path: &Path) -> anyhow::Result<Vec<Preference>> {
        let (preferences, summary) = PreferenceFile::open(path, &self.config.data)?.read_all()?;
        output::note_read(&summary);
        count_rows(&mut self.counts, &summary);
        Ok(preferences)
    }
}

/// Opens the run folder. Its log of metrics becomes an observer beside the progress.
fn open<'a>(flags: &RunFlags, progress: ser::Progress) -> anyhow::Result<(RunFolder, Observers<'a>)> {
    let (run, damaged) = match flags.repair {
        true => RunFolder::repair(&flags.out)?,
        false => (RunFolder::open(&flags.out, flags.resume)?, Vec::new()),
    };
    damaged.iter().for_each(|path| output::note(format_args!("{} is damaged: the run repairs it", path.display())));
    let mut observers = Observers::new();
    observers.push(progress);
    observers.push(MetricsLog::append(run.path().join("metrics.jsonl"))?);
    Ok((run, observers))
}

/// Writes the report of a run that trained a language model in one stage. Returns the path of `report.html`.
fn report(
    run: &RunFolder,
    stage: &str,
    training: PolicyTraining,
    config: &Config,
    counts: DataCounts,
) -> anyhow::Result<PathBuf> {
    let title = stage.to_uppercase();
    let curves = MetricsLog::stage(run.path().join("metrics.jsonl"), stage, &title, training)?;
    let policy = PolicyReport { stages: vec![curves], ..PolicyReport::default() };
    Ok(write_policy_report(run, &title, config.run.seed, policy, counts, Vec::new())?)
}
