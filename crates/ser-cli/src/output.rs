//! Output of commands: notes and progress on standard error, results on standard output.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use ser::Progress;
#[cfg(feature = "libtorch")]
use ser::data::ReadSummary;
use serde_json::Value;

static QUIET: AtomicBool = AtomicBool::new(false);

/// Hides notes and progress.
pub(crate) fn set_quiet(quiet: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
}

fn quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Writes a sentence to standard error, unless the program is quiet.
pub(crate) fn note(text: impl std::fmt::Display) {
    if !quiet() {
        let _ = writeln!(io::stderr(), "{text}");
    }
}

/// Notes what was left out of files, and what is inconsistent in them.
#[cfg(feature = "libtorch")]
pub(crate) fn note_read(read: &ReadSummary) {
    read.notes().iter().for_each(|text| note(format_args!("note: {text}")));
}

/// Writes a measurement to standard error, as a line of JSON.
#[cfg(feature = "libtorch")]
pub(crate) fn timing(metrics: &Value) {
    let _ = writeln!(io::stderr(), "{metrics}");
}

/// Writes a result to standard output: JSON, or else the text.
pub(crate) fn result(json: bool, value: &Value, text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{value:#}")?
    } else {
        writeln!(out, "{text}")?
    }
    Ok(())
}

/// Progress on standard error; Ctrl-C requests a stop.
pub(crate) fn progress() -> anyhow::Result<Progress> {
    let progress = Progress::with_ctrl_c().context("cannot listen for Ctrl-C")?;
    Ok(progress.hidden(quiet()))
}
