//! `cargo xtask demo`: the whole method on the built-in corpus, or with `--llm` over a real language model.

use std::path::{self, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::libtorch::Origin;
use crate::model::{self, Model};
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
    /// Runs the loop over a real language model, SmolLM2-135M-Instruct, which is fetched (93 MB): a linear reward model over its
    /// hidden states
    #[arg(long, conflicts_with = "full")]
    llm: bool,
    /// With --llm: preferences, a file or hf://owner/name, instead of the built-in corpus
    #[arg(long, requires = "llm")]
    data: Option<PathBuf>,
    /// Folder of the run [default: runs/demo, runs/demo-full or runs/demo-llm]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Continues the run in that folder
    #[arg(long)]
    resume: bool,
    /// Further options for `ser run`, after `--`
    #[arg(last = true)]
    further: Vec<String>,
}

/// The built-in corpus under `--llm`: so many pairs that the language model needs minutes, and so few labels that Loop 0 is not at the
/// ceiling yet (docs/results.md).
const LLM_CORPUS: [&str; 3] = ["corpus.pairs=600", "corpus.test_pairs=300", "split.labelled=0.08"];

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
    if options.llm {
        of_llm(workspace, options, &mut command)?;
    }
    if let Some(seed) = options.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if let Some(out) = &options.out {
        command.arg("--out").arg(absolute(out)?);
    } else if options.llm {
        command.args(["--out", "runs/demo-llm"]);
    }
    if options.resume {
        command.arg("--resume");
    }
    command.args(&options.further);
    Origin::find(workspace).apply(&mut command)?;
    run_command(command)
}

/// The model, the settings and the data of `--llm`.
fn of_llm(workspace: &Workspace, options: &Options, command: &mut Command) -> Result<()> {
    let model = model::fetch(workspace, Model::Smollm2)?;
    command.arg("--few-labels").arg("--model").arg(model);
    match &options.data {
        Some(data) if data.to_string_lossy().starts_with("hf://") => command.arg("--data").arg(data),
        Some(data) => command.arg("--data").arg(absolute(data)?),
        None => {
            eprintln!(
                "no --data: the loop runs on the built-in corpus; your own pairs: cargo xtask demo --llm --data FILE, or \
                 --data hf://owner/name"
            );
            command.args(LLM_CORPUS.iter().flat_map(|setting| ["--set", setting]))
        }
    };
    Ok(())
}

/// The program runs in the workspace's root; a path is relative to this folder.
fn absolute(path: &Path) -> Result<PathBuf> {
    path::absolute(path).with_context(|| format!("{} is not a path", path.display()))
}
