//! `cargo xtask pool`: time per pair and peak memory of the loop over pools of two sizes, one of which is ten times the other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::workspace::{Workspace, run as run_command};

/// Rows of StackExchange with about 300,000 pairs.
const ROWS: u64 = 108_000;

#[derive(Args)]
pub(crate) struct Options {
    /// Folder for the data, the indexes and the runs, which take about 4 GB and are removed at the end
    #[arg(long, default_value = "target/pool")]
    folder: PathBuf,
    /// Keeps the folder
    #[arg(long)]
    keep: bool,
    /// Rows of the smaller file; the larger one has ten times as many
    #[arg(long, default_value_t = ROWS)]
    rows: u64,
}

/// Makes both files, and runs the example `large_pool` on each in a process of its own.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    for rows in [options.rows, 10 * options.rows] {
        let folder = workspace.path(&options.folder).join(rows.to_string());
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let measured = measure(workspace, rows, &folder);
        if !options.keep {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
        }
        measured?;
    }
    Ok(())
}

fn measure(workspace: &Workspace, rows: u64, folder: &Path) -> Result<()> {
    let file = folder.join("rows.parquet");
    if !file.exists() {
        let package = ["--package", "ser-data", "--features", "parquet", "--example", "stack_exchange_rows", "--"];
        let mut generate = workspace.cargo(&["run", "--quiet", "--release"]);
        generate.args(package).arg(rows.to_string()).arg(&file);
        run_command(generate)?;
    }
    let mut example = workspace.cargo(&["run", "--quiet", "--release", "--example", "large_pool", "--"]);
    example.arg(&file).arg(folder);
    run_command(example)
}
