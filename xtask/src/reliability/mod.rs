//! `cargo xtask reliability`: makes small runs of every kind fail at each of their operations on files, and requires that the
//! same command then ends with the same bits.

mod child;
mod compare;
mod disk;
mod faults;
mod judge;
mod kinds;
mod trace;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;
use faults::{Fault, Reference};
use kinds::{Kind, Programs};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Kinds of runs [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Faults [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    fault: Vec<Fault>,
    /// Tries every Nth operation only
    #[arg(long, value_name = "N", default_value_t = 1)]
    every: usize,
    /// Runs at once
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// The program `ser` [default: built by cargo]
    #[arg(long, value_name = "FILE")]
    ser: Option<PathBuf>,
    /// The program of tests/reliability.rs [default: built by cargo]
    #[arg(long, value_name = "FILE")]
    tests: Option<PathBuf>,
    /// Works in this folder, and keeps those of failures [default: a temporary one]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Options {
    /// What CI runs: every fault of the kinds that need no libtorch and little time.
    pub(crate) fn quick() -> Self {
        Options {
            only: vec![Kind::Linear, Kind::Index, Kind::Features],
            fault: Vec::new(),
            every: 1,
            jobs: 2,
            ser: None,
            tests: None,
            folder: None,
        }
    }
}

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("the faults are made by LD_PRELOAD, which needs Linux");
    }
    if options.every == 0 || options.jobs == 0 {
        bail!("--every and --jobs must be at least 1");
    }
    let kinds = if options.only.is_empty() { Kind::ALL.to_vec() } else { options.only.clone() };
    let faults = if options.fault.is_empty() { Fault::ALL.to_vec() } else { options.fault.clone() };
    let folder = match &options.folder {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("ser-reliability-{}", std::process::id())),
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    let shim = compile_shim(workspace, &folder)?;
    let programs = Programs::prepare(workspace, &kinds, options.ser.clone(), options.tests.clone(), &folder)?;
    let (mut failures, mut rows) = (Vec::new(), Vec::new());
    for kind in kinds {
        let started = Instant::now();
        let reference = Reference::of(kind, &programs, &shim, &folder)?;
        let mut row = format!("| {} | {} |", kind.name(), reference.operations());
        for fault in &faults {
            let outcome = reference.test(*fault, options.every, options.jobs)?;
            eprintln!(
                "{} {}: {} of {} went well, {:.0} s",
                kind.name(),
                fault.name(),
                outcome.tried - outcome.failures.len(),
                outcome.tried,
                started.elapsed().as_secs_f64()
            );
            outcome.sentences.iter().for_each(|sentence| eprintln!("  said: {sentence}"));
            outcome.failures.iter().for_each(|failure| eprintln!("  {failure}"));
            row.push_str(&format!(" {} |", outcome.tried));
            failures.extend(outcome.failures);
        }
        rows.push(row);
    }
    println!("| kind | operations |{}", faults.iter().map(|f| format!(" {} |", f.name())).collect::<String>());
    println!("|---|---:|{}", "---:|".repeat(faults.len()));
    rows.iter().for_each(|row| println!("{row}"));
    if !failures.is_empty() {
        bail!("{} of the runs did not go on as they should; their folders are in {}", failures.len(), folder.display());
    }
    if options.folder.is_none() {
        std::fs::remove_dir_all(&folder)?;
    }
    Ok(())
}

/// Compiles the shim with the system's compiler.
fn compile_shim(workspace: &Workspace, folder: &Path) -> Result<PathBuf> {
    let shim = folder.join("shim.so");
    let mut command = Command::new("cc");
    command.args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&shim);
    command.arg(workspace.path("xtask/src/reliability/shim.c")).arg("-ldl");
    if !command.status().context("cannot start cc, a C compiler")?.success() {
        bail!("the shim does not compile");
    }
    Ok(shim)
}
