//! Runs a program of a measurement: what it prints, its time and its memory.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Unit;
use crate::workspace::shown;

/// What a program printed and took.
pub(super) struct Output {
    pub(super) stdout: String,
    pub(super) stderr: String,
    /// The most memory it had, in MiB; 0 where the system does not tell.
    pub(super) memory: u64,
    time: Duration,
}

/// How often the memory of a running program is read. The system keeps its maximum, so only the growth in the last of these
/// intervals can be missed.
const INTERVAL: Duration = Duration::from_millis(20);

/// Runs a program to its end.
pub(super) fn output(mut command: Command) -> Result<Output> {
    let line = shown(&command);
    eprintln!("\n==> {line}");
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{line}` could not be started"))?;
    let read = |stream: Option<Box<dyn Read + Send>>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let result = stream.map_or(Ok(0), |mut stream| stream.read_to_end(&mut bytes));
            result.map(|_| String::from_utf8_lossy(&bytes).into_owned())
        })
    };
    let stdout = read(child.stdout.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let stderr = read(child.stderr.take().map(|stream| Box::new(stream) as Box<dyn Read + Send>));
    let mut memory = 0;
    let status = loop {
        memory = memory.max(peak_memory(child.id()));
        if let Some(status) = child.try_wait().with_context(|| format!("`{line}` cannot be waited for"))? {
            break status;
        }
        thread::sleep(INTERVAL);
    };
    let time = start.elapsed();
    let text = |reader: thread::JoinHandle<std::io::Result<String>>| match reader.join() {
        Ok(text) => text.with_context(|| format!("the output of `{line}` cannot be read")),
        Err(_) => bail!("the output of `{line}` cannot be read"),
    };
    let (stdout, stderr) = (text(stdout)?, text(stderr)?);
    if !status.success() {
        bail!("`{line}` failed ({status}); it said:\n{stderr}");
    }
    Ok(Output { stdout, stderr, memory, time })
}

impl Output {
    /// The results of this unit among the lines of a text: who, and how many.
    pub(super) fn results(&self, text: &str, unit: Unit) -> Vec<(String, f64)> {
        let mut results = results(text, unit);
        if unit == Unit::ProcessesPerMinute {
            // Every way of a peer is a pass of the same process: the first result names the process.
            results.truncate(1);
            results.iter_mut().for_each(|(_, result)| *result = 60.0 / self.time.as_secs_f64());
        }
        results
    }
}

/// The JSON lines with a result of this unit: who, and how many.
fn results(text: &str, unit: Unit) -> Vec<(String, f64)> {
    text.lines()
        .filter_map(|line| {
            let value: Value = serde_json::from_str(line).ok()?;
            let name = value.get("peer").and_then(Value::as_str).unwrap_or("ours").to_owned();
            Some((name, value.get(unit.field())?.as_f64()?))
        })
        .collect()
}

/// The peak resident memory of a running process, in MiB; 0 if it cannot be read.
fn peak_memory(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0) / 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_among_other_lines() {
        let text = "loading\n{\"peer\": \"a\", \"pairs_per_s\": 2.5}\n{\"other\": 1}\n{\"pairs_per_s\": 7}\n";
        assert_eq!(results(text, Unit::PairsPerSecond), [("a".to_owned(), 2.5), ("ours".to_owned(), 7.0)]);
        assert!(results(text, Unit::TokensPerSecond).is_empty());
        let output = Output { stdout: String::new(), stderr: String::new(), memory: 0, time: Duration::from_secs(2) };
        assert_eq!(output.results(text, Unit::ProcessesPerMinute), [("a".to_owned(), 30.0)]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_program_is_read_to_its_end() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; sleep 0.1"]);
        let found = output(command).unwrap();
        assert_eq!((found.stdout.as_str(), found.stderr.as_str()), ("out\n", "err\n"));
        assert!(found.time >= Duration::from_millis(100));
        let mut failing = Command::new("sh");
        failing.args(["-c", "echo why >&2; exit 3"]);
        assert!(output(failing).err().unwrap().to_string().contains("why"));
    }
}
