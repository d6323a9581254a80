//! Several processes: `ser launch`, scoring shared among ranks, and commands that refuse them.

#![cfg(all(feature = "libtorch", unix))]
#![allow(clippy::unwrap_used)]

mod support;

use std::net::TcpListener;
use std::process::{Output, Stdio};

use support::{command, nano, rows, ser, stderr, words};

/// Arguments of a scoring with several batches.
fn scoring(data: &str) -> Vec<String> {
    let model = nano();
    let mut arguments = words("--fresh-head --seed 5 --template raw --set model.token_budget=64 --timing");
    arguments.extend(["--model", &model, "--data", data].map(str::to_owned));
    arguments
}

fn launched(processes: usize, arguments: &[String]) -> Output {
    let name = format!("launch -n {processes} -- score");
    command(&name, arguments).env("SER_GROUP_TIMEOUT", "60").output().unwrap()
}

fn metrics(output: &Output) -> usize {
    stderr(output).matches("pairs_per_s").count()
}

#[test]
fn scores_of_several_processes_are_those_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = scoring(&rows(folder.path(), 60));
    let one = support::run("score", &arguments);
    assert!(one.status.success() && one.stdout.len() > 60 * 50, "{}", stderr(&one));
    for processes in [1, 2, 4] {
        let shared = launched(processes, &arguments);
        assert!(shared.status.success(), "{}", stderr(&shared));
        assert!(shared.stdout == one.stdout, "{processes} processes");
        assert_eq!((metrics(&shared), stderr(&shared).matches("texts:").count()), (1, 1), "{}", stderr(&shared));
    }
}

#[test]
fn more_processes_than_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = scoring(&rows(folder.path(), 1));
    let shared = launched(3, &arguments);
    assert!(shared.status.success(), "{}", stderr(&shared));
    assert_eq!(shared.stdout, support::run("score", &arguments).stdout);
}

/// Two ranks with variables of their own, as an orchestrator starts them.
#[test]
fn ranks_with_different_pairs_are_refused() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let ranks = [(0, 20), (1, 21)].map(|(rank, n)| {
        let mut process = command("score", &scoring(&rows(folders[rank].path(), n)));
        process.env("RANK", rank.to_string()).env("WORLD_SIZE", "2").env("MASTER_ADDR", "127.0.0.1");
        process.env("MASTER_PORT", &port).env("SER_GROUP_TIMEOUT", "60");
        process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    for (rank, process) in ranks.into_iter().enumerate() {
        let output = process.wait_with_output().unwrap();
        let expected =
            format!("error: rank {rank} of 2: compare: this rank and rank {} have different pairs", 1 - rank);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
}

#[test]
fn one_failing_rank_ends_all() {
    let missing = launched(2, &words("--model nowhere --data nowhere.jsonl"));
    assert_eq!(missing.status.code(), Some(1), "{}", stderr(&missing));
    let errors = stderr(&missing);
    assert!(errors.contains("nowhere"), "{errors}");
    let last = errors.lines().last().unwrap();
    assert!(last.starts_with("error: rank ") && last.contains("of 2 ended with exit status: 1"), "{errors}");
}

#[test]
fn other_commands_refuse_several_processes() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    for name in ["run", "train reward", "train sft"] {
        let output = ser(name)
            .arg("--out")
            .arg(&out)
            .envs([("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).starts_with("error: this command runs as one process, and WORLD_SIZE is 2"),
            "{}",
            stderr(&output)
        );
        assert!(!out.exists());
    }
    let launched = ser("launch -n 2 -- config").output().unwrap();
    assert!(launched.stdout.is_empty() && launched.status.code() == Some(1));
    let single = ser("launch -n 1 -- config --seed 7").output().unwrap();
    assert!(single.status.success() && single.stdout == ser("config --seed 7").output().unwrap().stdout);
}

#[test]
fn half_set_variables_are_refused() {
    let output = ser("config").env("WORLD_SIZE", "2").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = stderr(&output);
    assert!(errors.starts_with("error: the environment variable WORLD_SIZE is set and RANK is not"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}
