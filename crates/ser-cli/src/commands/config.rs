//! `ser config`.

use std::io::{self, Write};

use clap::Args;
use ser::config::Config;

use crate::flags::Flags;

/// Prints the effective settings of files and flags as TOML
#[derive(Args)]
pub(crate) struct Arguments {
    /// The paper's settings, which are the defaults
    #[arg(long, conflicts_with_all = ["authors", "config", "set"])]
    paper: bool,
    /// The settings of the authors' published code
    #[arg(long, conflicts_with_all = ["config", "set"])]
    authors: bool,
    /// Settings for few labels and a real language model (a linear reward model), under those of files and flags
    #[cfg(feature = "libtorch")]
    #[arg(long, conflicts_with_all = ["paper", "authors"])]
    few_labels: bool,
    /// Prints JSON instead of TOML
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let config = match (arguments.paper, arguments.authors) {
        (true, _) => Config::paper(),
        (_, true) => Config::authors(),
        #[cfg(feature = "libtorch")]
        _ if arguments.few_labels => arguments.flags.load(&[ser::config::FEW_LABELS])?,
        _ => arguments.flags.load(&[])?,
    };
    let mut out = io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&config)?)?;
    } else {
        write!(out, "{}", config.to_toml()?)?;
    }
    Ok(())
}
