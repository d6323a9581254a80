//! Several processes: `ser launch`, scoring shared among ranks, and commands that refuse them.

#![cfg(all(feature = "libtorch", unix))]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::{command, nano, rows, ser, set, stderr, words};

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
fn ranks_with_different_settings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = rows(folder.path(), 20);
    let ranks = two_ranks(|rank| command("score", &[scoring(&data), words(["", "--max-length 50"][rank])].concat()));
    for (rank, output) in ranks.into_iter().map(|process| process.wait_with_output().unwrap()).enumerate() {
        let expected =
            format!("error: rank {rank} of 2: compare: this rank and rank {} have different settings", 1 - rank);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    }
}

/// Starts the commands of rank 0 and rank 1, which meet.
fn two_ranks(command: impl Fn(usize) -> Command) -> [Child; 2] {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    [0, 1].map(|rank| {
        let mut process = command(rank);
        process.env("RANK", rank.to_string()).env("WORLD_SIZE", "2").env("MASTER_ADDR", "127.0.0.1");
        process.env("MASTER_PORT", &port).env("SER_GROUP_TIMEOUT", "60");
        process.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    })
}

/// Arguments of a training of a reward model, with dropout, whose batches several processes share.
fn training(data: &str, out: &Path) -> Vec<String> {
    let flags = format!("--model {} --data {data} --template raw --seed 5 --out {}", nano(), support::text(out));
    let settings = ["training.epochs=4", "training.learning_rate=1e-3", "lora.dropout=0.2", "training.save_steps=3"];
    [words(&flags), set(&settings)].concat()
}

/// The losses of a training's steps.
fn losses(run: &Path) -> Vec<f64> {
    let log = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    log.lines().map(line).filter_map(|line| line["loss"].as_f64()).collect()
}

fn assert_close(one: &[f64], other: &[f64]) {
    assert_eq!(one.len(), other.len());
    for (one, other) in one.iter().zip(other) {
        approx::assert_relative_eq!(*one, *other, max_relative = 1e-3, epsilon = 1e-5);
    }
}

#[test]
fn several_processes_train_the_model_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = rows(folder.path(), 60);
    let one = folder.path().join("one");
    let trained = support::run("train reward", &training(&data, &one));
    assert!(trained.status.success(), "{}", stderr(&trained));
    let expected = losses(&one);
    assert!(expected.len() > 40 && expected.last().unwrap() < &0.4, "{expected:?}");
    for processes in [2, 4] {
        let shared = folder.path().join(processes.to_string());
        let name = format!("launch -n {processes} -- train reward");
        let output = command(&name, &training(&data, &shared)).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert_close(&expected, &losses(&shared));
        assert_eq!(stderr(&output).matches("The model is in").count(), 1, "{}", stderr(&output));
    }
}

/// A rank that is killed ends the other with one sentence; the run is resumed by another number of processes.
#[test]
fn a_killed_rank_ends_the_run_which_another_number_of_processes_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let data = rows(folder.path(), 60);
    let whole = folder.path().join("whole");
    assert!(support::run("train reward", &training(&data, &whole)).status.success());
    for killed in [0, 1] {
        let out = folder.path().join(format!("killed-{killed}"));
        let mut ranks = two_ranks(|_| command("train reward", &[training(&data, &out), words("--resume")].concat()));
        let started = Instant::now();
        while !out.join("reward/checkpoints").exists() {
            assert!(started.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(1));
        }
        ranks[killed].kill().unwrap();
        let outputs = ranks.map(|rank| rank.wait_with_output().unwrap());
        let other = &outputs[1 - killed];
        let errors = stderr(other);
        let errors: Vec<&str> = errors.lines().filter(|line| line.starts_with("error: ")).collect();
        assert!(!other.status.success() && errors.len() == 1, "{}", stderr(other));
        assert!(errors[0].contains(&format!("rank {} of 2", 1 - killed)), "{errors:?}");

        let name = ["train reward", "launch -n 3 -- train reward"][killed];
        let resumed = command(name, &[training(&data, &out), words("--resume")].concat()).output().unwrap();
        assert!(resumed.status.success(), "{}", stderr(&resumed));
        assert_close(&losses(&whole), &losses(&out));
    }
}

/// Arguments of a loop.
fn run_of_the_loop(data: &str, out: &Path) -> Vec<String> {
    let flags = format!("--model {} --data {data} --template raw --seed 3 --out {}", nano(), support::text(out));
    let settings = [
        "training.epochs=6",
        "training.batch_size=16",
        "training.learning_rate=1e-2",
        "training.save_steps=2",
        "split.test=0.2",
    ];
    [words(&flags), set(&settings)].concat()
}

/// The accuracies of a run's rounds, with their counts of pairs.
fn accuracies(run: &Path) -> Vec<serde_json::Value> {
    let report = fs::read_to_string(run.join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let rounds = report["rounds"].as_array().unwrap();
    rounds.iter().map(|round| round["evaluation"]["accuracy"].clone()).collect()
}

#[test]
fn several_processes_run_the_loop_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = rows(folder.path(), 120);
    let run = |name: &str, out: &Path| {
        let output = command(name, &run_of_the_loop(&data, out)).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        accuracies(out)
    };
    let one = run("run", &folder.path().join("one"));
    assert!(one.len() > 1, "{one:?}");
    assert_eq!(run("launch -n 2 -- run", &folder.path().join("two")), one);
}

/// SFT, loop, PPO with both reward models, DPO and comparison, on the built-in corpus, whose base model rank 0 makes.
#[test]
fn several_processes_run_the_whole_procedure() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let settings = [
        "corpus.pairs=320",
        "corpus.test_pairs=40",
        "base.vocab_size=600",
        "base.shape.hidden_size=16",
        "base.shape.intermediate_size=32",
        "base.shape.layers=1",
        "base.training.epochs=1",
        "sft.training.epochs=1",
        "training.epochs=1",
        "dpo.training.epochs=1",
        "policy_run.steps=2",
        "policy_run.min_new_tokens=0",
        "ppo.batch_size=4",
        "ppo.mini_batch_size=2",
        "ppo.response_length={fixed=8}",
        "policies.judged=5",
        "policies.sampling.max_new_tokens=8",
        "policies.sampling.min_new_tokens=0",
    ];
    let arguments = [words(&format!("--full --seed 3 --out {}", support::text(&out))), set(&settings)].concat();
    let output = command("launch -n 3 -- run", &arguments).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    for name in ["sft", "ppo-ser", "ppo-full", "dpo"] {
        let answers = fs::read_to_string(out.join(format!("policies/{name}.jsonl")));
        assert_eq!(answers.unwrap_or_default().lines().count(), 5, "{name}");
    }
}

/// PPO's first rollouts and their statistics are those of one process.
#[test]
fn several_processes_train_the_policy_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let settings = set(&["ppo.response_length={fixed=8}", "ppo.batch_size=8", "policy.lora.dropout=0.2"]);
    let run = |name: &str, out: &Path| {
        let flags = format!("--model {} --template raw --steps 2 --seed 4 --out {}", nano(), support::text(out));
        let output = command(name, &[words(&flags), settings.clone()].concat()).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let log = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let line: serde_json::Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
        let numbers = line.as_object().unwrap().iter().filter(|(name, _)| !name.contains("time"));
        numbers.filter_map(|(name, value)| Some((name.clone(), value.as_f64()?))).collect::<Vec<_>>()
    };
    let one = run("train ppo", &folder.path().join("one"));
    assert!(one.len() > 10, "{one:?}");
    let two = run("launch -n 2 -- train ppo", &folder.path().join("two"));
    for ((name, one), (other, two)) in one.iter().zip(&two) {
        assert_eq!(name, other);
        assert!(approx::relative_eq!(*one, *two, max_relative = 1e-3, epsilon = 1e-5), "{name}: {one} and {two}");
    }
}

/// Kills ranks of a loop at random instants (SER_KILLS of them, 3 unless set), resumes it each time by another number of processes,
/// and compares the result with that of a run that was never stopped.
#[test]
fn a_loop_whose_ranks_are_killed_at_any_instant_ends_as_one_that_was_not() {
    let kills: usize = std::env::var("SER_KILLS").map_or(3, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let data = rows(folder.path(), 120);
    let whole = folder.path().join("whole");
    let started = Instant::now();
    assert!(command("run", &run_of_the_loop(&data, &whole)).output().unwrap().status.success());
    let (expected, time) = (accuracies(&whole), started.elapsed());
    let seed = u64::from(std::process::id());
    eprintln!("kills drawn from seed {seed}, a run takes {time:?}");
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for kill in 0..kills {
        let out = folder.path().join(format!("killed-{kill}"));
        let arguments = [run_of_the_loop(&data, &out), words("--resume")].concat();
        let mut ranks = two_ranks(|_| command("run", &arguments));
        std::thread::sleep(rng.random_range(Duration::ZERO..time));
        let killed = kill % 2;
        ranks[killed].kill().unwrap();
        let outputs = ranks.map(|rank| rank.wait_with_output().unwrap());
        let other = &outputs[1 - killed];
        // It may have ended before.
        let errors = stderr(other).lines().filter(|line| line.starts_with("error: ")).count();
        assert!(other.status.success() || errors == 1, "kill {kill} of rank {killed}: {}", stderr(other));
        let name = ["run", "launch -n 2 -- run", "launch -n 4 -- run"][kill % 3];
        let resumed = command(name, &arguments).output().unwrap();
        assert!(resumed.status.success(), "kill {kill} of rank {killed}: {}", stderr(&resumed));
        assert_eq!(accuracies(&out), expected, "kill {kill} of rank {killed}");
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
    for name in ["report runs/none", "bench --model none"] {
        let output = ser(name)
            .envs([("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).starts_with("error: this command runs as one process, and WORLD_SIZE is 2"),
            "{}",
            stderr(&output)
        );
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
