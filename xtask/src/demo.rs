//! `cargo xtask demo`: the whole method on the built-in corpus.

use std::path::{self, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::libtorch::Origin;
use crate::setup;
use crate::workspace::{Workspace, run as run_command};

#[derive(Args)]
pub(crate) struct Options {
    /// Seed of every random choice
    #[arg(long)]
    seed: Option<u64>,
    /// Trains policies, too: SFT, PPO with the evolved reward model, and the policy that it is compared with
    #[arg(long)]
    full: bool,
    /// Folder of the run [default: runs/demo, or runs/demo-full]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Continues the run in that folder
    #[arg(long)]
    resume: bool,
    /// Further options for `ser run`, after `--`
    #[arg(last = true)]
    further: Vec<String>,
}

/// Fetches libtorch, builds, and runs `ser run`, which prints its table and where its report is.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    setup::run(workspace, &setup::Options::default())?;
    let mut build = workspace.cargo(&["build", "--release", "--package", "ser-cli"]);
    Origin::find(workspace).apply(&mut build)?;
    run_command(build)?;
    let mut command = workspace.ser("run");
    if options.full {
        command.arg("--full");
    }
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if let Some(out) = &options.out {
        // The program runs in the workspace's root; the path is relative to this folder.
        command.arg("--out").arg(path::absolute(out).with_context(|| format!("{} is not a path", out.display()))?);
    }
    if options.resume {
        command.arg("--resume");
    }
    command.args(&options.further);
    Origin::find(workspace).apply(&mut command)?;
    run_command(command)
}
