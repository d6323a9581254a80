//! The program as a whole: help, version, exit codes, settings, pipes, logs.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Output, Stdio};

use support::ser;

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn version_help_and_exit_codes() {
    let version = ser("--version").output().unwrap();
    assert_eq!(stdout(&version), format!("ser {}\n", env!("CARGO_PKG_VERSION")));
    let help = ser("--help").output().unwrap();
    for word in ["label", "judge", "inspect", "report", "config", "completions", "130"] {
        assert!(stdout(&help).contains(word), "{word}: {}", stdout(&help));
    }
    assert_eq!(ser("no-such-command").output().unwrap().status.code(), Some(2));
    assert_eq!(ser("label --tau-high").output().unwrap().status.code(), Some(2));
    let missing = ser("inspect nowhere.jsonl").output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).starts_with("error: ") && stderr(&missing).lines().count() == 1, "{}", stderr(&missing));
}

#[test]
fn settings_are_printed_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let print = |arguments: &[&str]| {
        let output = ser("config").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output).to_owned()
    };
    let paper = print(&["--paper"]);
    assert_eq!(paper, print(&[]), "the paper's settings are the defaults");
    assert!(paper.contains("[loop.thresholds]") && paper.contains("tau_high = 0.55"), "{paper}");
    assert!(print(&["--authors"]).contains("kind = \"authors_code\""));
    let changed = print(&["--seed", "7", "--set", "loop.thresholds.tau_delta=0.25"]);
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, &changed).unwrap();
    assert_eq!(print(&["--config", path.to_str().unwrap()]), changed);
    let json: serde_json::Value = serde_json::from_str(&print(&["--json", "--seed", "7"])).unwrap();
    assert_eq!(json["split"]["seed"], 7);
    let wrong = ser("config --set loop.thresholds.tau_delta=2").output().unwrap();
    assert!(stderr(&wrong).starts_with("error: loop.thresholds.tau_delta is 2: "), "{}", stderr(&wrong));
}

#[test]
fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish"] {
        let output = ser("completions").arg(shell).output().unwrap();
        assert!(output.status.success() && stdout(&output).contains("completions"), "{shell}");
    }
}

/// Commands that fill a pipe whose reader ends are successful and quiet.
#[cfg(unix)]
#[test]
fn a_broken_pipe_is_quiet() {
    let mut child = ser("label").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut stdin, out) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let rows = std::thread::spawn(move || {
        for id in 0..200_000 {
            if writeln!(stdin, "{{\"id\":{id},\"score_j\":0.1,\"score_k\":0.9}}").is_err() {
                break;
            }
        }
    });
    let mut out = BufReader::new(out);
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("status"), "{line}");
    drop(out);
    rows.join().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

#[test]
fn standard_input_is_a_file() {
    let mut child = ser("inspect - --samples 0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let row = "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n";
    child.stdin.take().unwrap().write_all(row.as_bytes()).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(text.lines().any(|line| line.split_whitespace().eq(["pairs", "1"])), "{text}");
}

#[test]
fn logs_are_text_or_json() {
    let bad = ser("config").env("RUST_LOG", "=,=").output().unwrap();
    assert!(!bad.status.success() && stderr(&bad).contains("RUST_LOG is =,="), "{}", stderr(&bad));
    for arguments in [&["-v"][..], &["-q"], &["-vv", "--log-format", "json"]] {
        let output = ser("config --paper").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert_eq!(ser("config -q -v").output().unwrap().status.code(), Some(2));
}
