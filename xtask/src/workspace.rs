//! The folder of the workspace, and commands run in it.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// This checkout.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace that xtask belongs to.
    pub(crate) fn find() -> Result<Self> {
        // cargo sets the variable for `cargo xtask`; otherwise the folder that xtask was built in is used.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
        let root = Path::new(&manifest).parent().context("xtask's folder has no parent: run it as `cargo xtask`")?;
        Ok(Workspace { root: root.to_owned() })
    }

    /// A path inside the workspace.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// The folder that cargo builds in.
    pub(crate) fn target(&self) -> PathBuf {
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| self.path("target"), PathBuf::from)
    }

    /// A command of the program `ser`, built in release mode: `run`, `train reward`.
    pub(crate) fn ser(&self, command: &str) -> Command {
        let mut program = self.cargo(&["run", "--quiet", "--release", "--package", "ser-cli", "--"]);
        program.args(command.split(' '));
        program
    }

    /// A cargo command in the workspace's root.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
        command.args(arguments).current_dir(&self.root);
        // The variables that cargo sets for xtask do not concern its children.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
                command.env_remove(&name);
            }
        }
        command
    }
}

/// Prints and runs a command; a failure is an error with the command.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let line = shown(&command);
    eprintln!("\n==> {line}");
    let start = Instant::now();
    let status = command.status().with_context(|| format!("`{line}` could not be started"))?;
    if !status.success() {
        bail!("`{line}` failed ({status})");
    }
    eprintln!("==> done in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}

/// The command line as text.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let mut line = program.to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}
