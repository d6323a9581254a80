//! Runs pip and explains its failures.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

/// Checks that Python 3 with pip is installed; `purpose` ends the sentence of the error.
pub(crate) fn check(purpose: &str) -> Result<()> {
    let version = Command::new("python3").args(["-m", "pip", "--version"]).output().map_err(|error| {
        if error.kind() == ErrorKind::NotFound {
            anyhow!("python3 was not found: install Python 3 with pip, it is needed to {purpose}")
        } else {
            anyhow!(error).context("python3 could not be started")
        }
    })?;
    if !version.status.success() {
        bail!("python3 has no pip: install it (Debian: apt install python3-pip), it is needed to {purpose}");
    }
    Ok(())
}

/// Runs pip under `python`. Its progress goes to the terminal; an error explains a failure.
///
/// pip's temporary files go to `scratch`: they can be too large for /tmp.
pub(crate) fn run<S: AsRef<OsStr>>(python: &Path, arguments: &[S], scratch: &Path) -> Result<()> {
    let mut child = Command::new(python)
        .args(["-m", "pip"])
        .args(arguments)
        .env("TMPDIR", scratch)
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} could not be started", python.display()))?;
    let mut said = String::new();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).lines() {
            let line = line.context("reading the output of pip")?;
            eprintln!("{line}");
            said.push_str(&line);
            said.push('\n');
        }
    }
    let status = child.wait().context("waiting for pip")?;
    if !status.success() {
        bail!("{}", explain(&said));
    }
    Ok(())
}

/// The cause of a failure, from pip's output.
fn explain(said: &str) -> &'static str {
    const CAUSES: [(&[&str], &str); 4] = [
        (&["No space left", "Errno 28"], "pip failed because the disk is full: free some space and run it again"),
        (
            &["DO NOT MATCH THE HASHES"],
            "pip got a file other than the one this workspace pins: a mirror or proxy altered it, or a download broke",
        ),
        (
            &[
                "NewConnectionError",
                "Temporary failure in name resolution",
                "ConnectionError",
                "timed out",
                "ProxyError",
            ],
            "pip could not reach its package index: check the network and pip's settings (`python3 -m pip config list`)",
        ),
        (
            &["No matching distribution"],
            "pip's package index does not have the pinned version, or it could not be reached (see pip's lines above)",
        ),
    ];
    CAUSES
        .iter()
        .find(|(signs, _)| signs.iter().any(|sign| said.contains(sign)))
        .map_or("pip failed (see its lines above)", |(_, cause)| cause)
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn causes_are_told_apart() {
        assert!(explain("OSError: [Errno 28] No space left on device").contains("disk is full"));
        let offline = "WARNING: Retrying: NewConnectionError\nERROR: No matching distribution found for torch";
        assert!(explain(offline).contains("network"));
        assert!(explain("ERROR: No matching distribution found for torch").contains("pinned version"));
        assert!(explain("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES").contains("pins"));
        assert!(explain("something else").contains("see its lines"));
    }
}
