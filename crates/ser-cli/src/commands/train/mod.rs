//! `ser train`.

mod dpo;
mod ppo;
mod reward;
mod sft;

use clap::Subcommand;
use ser::data::PreferenceFile;
use ser::eval::DataCounts;
use ser::{MetricsLog, Observers, Preference, RunFolder, count_rows};

use crate::flags::RunFlags;
use crate::output;

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
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Train::Reward(arguments) => reward::run(&arguments),
            Train::Sft(arguments) => sft::run(&arguments),
            Train::Ppo(arguments) => ppo::run(*arguments),
            Train::Dpo(arguments) => dpo::run(&arguments),
        }
    }
}

/// Opens the run folder. Its log of metrics becomes an observer beside the progress.
fn open<'a>(flags: &RunFlags, progress: ser::Progress) -> anyhow::Result<(RunFolder, Observers<'a>)> {
    let run = RunFolder::open(&flags.out, flags.resume)?;
    let mut observers = Observers::new();
    observers.push(progress);
    observers.push(MetricsLog::append(run.path().join("metrics.jsonl"))?);
    Ok((run, observers))
}

/// Reads a file of preferences and adds its rows to the counts of the report.
fn read(
    path: &std::path::Path,
    settings: &ser::data::ReadSettings,
    counts: &mut DataCounts,
) -> anyhow::Result<Vec<Preference>> {
    let (preferences, summary) = PreferenceFile::open(path, settings)?.read_all()?;
    output::note_read(&summary);
    count_rows(counts, &summary);
    Ok(preferences)
}
