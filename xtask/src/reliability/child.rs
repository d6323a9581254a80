//! A run of a kind in a folder of its own, under the shim.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::kinds::{Kind, Programs};

/// No run of these takes longer, on a busy machine either.
const LONGEST: Duration = Duration::from_secs(120);

/// What the shim does at an operation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Act {
    KillBefore,
    KillAfter,
    /// Killed after half of a write.
    Tear,
    /// The disk is full from here on.
    Full,
    /// This sync fails.
    FailSync,
    /// Nothing can be written from here on.
    ReadOnly,
    /// The file system has no locks.
    NoLocks,
}

impl Act {
    fn name(self) -> &'static str {
        match self {
            Act::KillBefore => "kill-before",
            Act::KillAfter => "kill-after",
            Act::Tear => "tear",
            Act::Full => "full",
            Act::FailSync => "sync",
            Act::ReadOnly => "read-only",
            Act::NoLocks => "no-locks",
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub(super) enum End {
    Done,
    Killed,
    /// With exit code 1 and this sentence.
    Refused(String),
}

/// The folder that a run works in.
pub(super) struct WorkFolder {
    folder: PathBuf,
}

impl WorkFolder {
    /// Makes an empty folder.
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        fs::create_dir_all(folder.join("work"))?;
        Ok(WorkFolder { folder })
    }

    /// The run's current folder. Nothing but the run writes into it.
    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("work")
    }

    pub(super) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.folder).with_context(|| format!("cannot remove {}", self.folder.display()))
    }

    fn run(&self, programs: &Programs, kind: Kind, shim: Option<(&Path, &[(&str, String)])>) -> Result<End> {
        let mut command = programs.command(kind)?;
        let stderr = self.folder.join("stderr");
        command
            .current_dir(self.path())
            .stdout(File::create(self.folder.join("stdout"))?)
            .stderr(File::create(&stderr)?);
        if let Some((shim, variables)) = shim {
            command.env("LD_PRELOAD", shim).env("SER_FS_ROOT", self.path());
            command.envs(variables.iter().map(|(name, value)| (name, value)));
        }
        let mut child = command.spawn().context("cannot start a run")?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if started.elapsed() > LONGEST {
                child.kill()?;
                child.wait()?;
                bail!("the run did not end within {} s", LONGEST.as_secs());
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        end(status, &String::from_utf8_lossy(&fs::read(&stderr)?))
    }

    /// Runs without a fault.
    pub(super) fn run_without_fault(&self, programs: &Programs, kind: Kind) -> Result<End> {
        self.run(programs, kind, None)
    }

    /// Runs and writes the trace.
    pub(super) fn traced(&self, programs: &Programs, kind: Kind, shim: &Path) -> Result<Vec<u8>> {
        let trace = self.folder.join("trace");
        match self.run(programs, kind, Some((shim, &[("SER_FS_TRACE", trace.display().to_string())])))? {
            End::Done => Ok(fs::read(trace)?),
            other => bail!("the run without a fault ended otherwise: {other:?}"),
        }
    }

    /// Runs with a fault at an operation.
    pub(super) fn faulty(&self, programs: &Programs, kind: Kind, shim: &Path, act: Act, at: usize) -> Result<End> {
        let variables = [("SER_FS_AT", at.to_string()), ("SER_FS_DO", act.name().to_owned())];
        self.run(programs, kind, Some((shim, &variables)))
    }
}

fn end(status: ExitStatus, stderr: &str) -> Result<End> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(End::Done),
        (None, Some(9)) => Ok(End::Killed),
        (Some(1), _) => {
            let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
            // Notes may stand before the sentence and one behind it that says how to go on.
            let behind = stderr.lines().rev().take_while(|line| !line.starts_with("error: ")).count();
            match errors[..] {
                [sentence] if behind <= 1 => Ok(End::Refused(sentence.to_owned())),
                _ => bail!("exit code 1 without one last sentence: {stderr}"),
            }
        }
        _ => bail!("{status}: {stderr}"),
    }
}
