//! The program under test, and helpers of several tests.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod chat_server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A command of the program that cargo built for this test: `ser("train ppo")`.
pub fn ser(command: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ser"));
    program.args(command.split(' ')).env_remove("RUST_LOG");
    program
}

/// A command that computes with a model, on the CPU with one thread, as several tests run at once.
pub fn command(command: &str, arguments: &[String]) -> Command {
    let mut command = ser(command);
    command.args(arguments).args(["--device", "cpu", "--threads", "1"]).env("OMP_NUM_THREADS", "1");
    command
}

pub fn run(name: &str, arguments: &[String]) -> Output {
    command(name, arguments).output().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A folder of the golden checkpoints.
pub fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ser-model/tests/golden").join(name)
}

/// A nano checkpoint with tied embeddings.
pub fn nano() -> String {
    text(&golden("llama3"))
}

pub fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Settings as `--set` flags.
pub fn set(settings: &[&str]) -> Vec<String> {
    settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]).collect()
}

/// A preference file with this many rows.
pub fn rows(folder: &Path, n: usize) -> String {
    let path = folder.join("pairs.jsonl");
    let row = |i: usize| format!(r#"{{"prompt": "Question {i}? ", "chosen": "good {i} ", "rejected": "bad"}}"#) + "\n";
    fs::write(&path, (0..n).map(row).collect::<String>()).unwrap();
    text(&path)
}

/// The error of a command for bad input; it must not have made its folder.
pub fn refused(name: &str, arguments: &[String]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = run(name, &[arguments, &["--out".to_owned(), text(&out)]].concat());
    assert!(!output.status.success());
    assert!(!out.exists(), "nothing may be left behind");
    let errors = stderr(&output);
    // Notes may come before the error, nothing after it.
    let (last, before) =
        errors.trim_end().rsplit_once('\n').map_or((errors.as_str(), ""), |(before, last)| (last, before));
    assert!(last.starts_with("error: ") && !before.contains("error"), "{errors}");
    last.to_owned()
}

/// Kills a run ten times at random instants, resuming it each time and starting another when it ends, and compares every
/// result with that of a run that was never stopped.
pub fn killed_at_any_instant<T: PartialEq + std::fmt::Debug>(
    name: &str,
    arguments: &[String],
    result: impl Fn(&Path) -> T,
) {
    let root = tempfile::tempdir().unwrap();
    let start = |folder: &Path| -> Child {
        let mut command = command(name, arguments);
        command.arg("--resume").arg("--out").arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let whole = root.path().join("whole");
    let started = Instant::now();
    assert!(start(&whole).wait().unwrap().success());
    let time = started.elapsed();
    let expected = result(&whole);
    let seed = std::process::id().into();
    eprintln!("{name}: kills drawn from seed {seed}, a run takes {time:?}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut kills, mut runs) = (0, 0);
    while kills < 10 {
        runs += 1;
        let folder = root.path().join(format!("killed-{runs}"));
        loop {
            let mut child = start(&folder);
            std::thread::sleep(rng.random_range(Duration::ZERO..time));
            if kills == 10 || child.try_wait().unwrap().is_some() {
                assert!(child.wait().unwrap().success());
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        assert!(result(&folder) == expected, "run {runs} differs");
    }
    eprintln!("{name}: {kills} kills in {runs} runs");
}

/// A run's `report.json` without what depends on the clock.
pub fn report_without_timing(run: &Path) -> String {
    let text = fs::read_to_string(run.join("report.json")).unwrap();
    let mut report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(report.as_object_mut().unwrap().remove("timing").is_some());
    serde_json::to_string_pretty(&report).unwrap()
}
