//! `ser bench`.

use anyhow::bail;
use clap::{Args, ValueEnum};
use ser::{BenchSettings, bench};

use crate::flags::Flags;
use crate::input::Input;
use crate::output;

/// Measures how fast a model scores pairs and trains on them, on this machine
///
/// Prints pairs, packed tokens and floating-point operations per second, the share of the rate that a plain matrix product of
/// the same precision reaches in the same run, and peak memory: of tensors on GPUs, of the whole process on the CPU. Operations
/// are those of linear maps and attention; the backward pass of a frozen model counts as many as the forward pass; adapters, and
/// what gradient checkpointing computes again, do not count.
///
/// Adapter and head are fresh. Sizes are settings: --set model.token_budget=16384 (scoring), --set training.batch_size=8,
/// --set training.gradient_checkpointing=true, --set lora.target_modules=all-linear.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Number of pairs, the first of --data that fit --max-length; without --data, of the built-in corpus
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// What is measured; may be given several times
    #[arg(long, value_enum, default_values = ["score", "reward"])]
    work: Vec<Work>,
    /// Seconds of each measurement at least, after a warm-up; scoring takes whole passes over the pairs
    #[arg(long, value_name = "S", default_value_t = 10.0)]
    seconds: f64,
    /// Prints the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// The works by their names.
#[derive(Clone, Copy, ValueEnum)]
enum Work {
    /// Scoring pairs
    Score,
    /// Training steps of the reward model
    Reward,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !(arguments.seconds.is_finite() && arguments.seconds >= 0.0) {
        bail!("--seconds is {}; it must be at least 0", arguments.seconds);
    }
    let (mut config, device) = arguments.flags.load_with_device(&[])?;
    let Some(base) = config.run.model.clone() else { bail!("give --model FOLDER") };
    let input = config.run.data.as_deref().map(Input::open).transpose()?;
    config.run.data = input.as_ref().map(|input| input.path().to_owned());
    let works = arguments.work.iter().map(|work| match work {
        Work::Score => ser::Work::Score,
        Work::Reward => ser::Work::Reward,
    });
    let settings =
        BenchSettings { works: works.collect(), pairs: arguments.pairs as usize, seconds: arguments.seconds };
    let report = bench(&config, &base, &settings, device, |part| output::note(part))?;
    output::result(arguments.json, &serde_json::to_value(&report)?, report.to_text().trim_end())
}
