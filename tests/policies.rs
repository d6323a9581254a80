//! SFT, PPO and the whole procedure as programs: killed runs, bad input, what is learnt.

#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used)]

#[path = "support/chat_server.rs"]
#[allow(dead_code, unreachable_pub)]
mod chat_server;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use chat_server::{ChatServer, Does};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use support::report_without_timing;
use tempfile::TempDir;

const EXAMPLES: [&str; 3] = ["ser_loop", "train_sft", "train_ppo"];

/// The folder with the examples that cargo built beside this test; built here if only this test was asked for.
fn examples() -> &'static Path {
    static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().unwrap().parent().unwrap();
        let folder = profile.join("examples");
        if EXAMPLES.iter().any(|name| !folder.join(name).exists()) {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--quiet", "--features", "libtorch"]).current_dir(env!("CARGO_MANIFEST_DIR"));
            build.args(EXAMPLES.iter().flat_map(|name| ["--example", name]));
            build.args(if profile.ends_with("release") { &["--release"][..] } else { &[] });
            assert!(build.status().unwrap().success());
        }
        folder
    });
    &FOLDER
}

fn command(example: &str, arguments: &[String]) -> Command {
    let mut command = Command::new(examples().join(example));
    // One thread: several tests run at once.
    command.args(arguments).args(["--device", "cpu", "--threads", "1"]).env("OMP_NUM_THREADS", "1");
    command
}

fn run(example: &str, arguments: &[String]) -> Output {
    command(example, arguments).output().unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A nano checkpoint with tied embeddings.
fn nano() -> String {
    text(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/ser-model/tests/golden/llama3"))
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Settings as `--set` flags.
fn set(settings: &[&str]) -> Vec<String> {
    settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]).collect()
}

/// A preference file of so many rows.
fn rows(folder: &TempDir, n: usize) -> String {
    let path = folder.path().join("pairs.jsonl");
    let row = |i: usize| format!(r#"{{"prompt": "Question {i}? ", "chosen": "good {i} ", "rejected": "bad"}}"#) + "\n";
    fs::write(&path, (0..n).map(row).collect::<String>()).unwrap();
    text(&path)
}

fn ppo_arguments() -> Vec<String> {
    let settings = set(&[
        "ppo.batch_size=4",
        "ppo.mini_batch_size=2",
        "ppo.response_length={fixed=6}",
        "policy_run.save_steps=3",
        "policy.lora.dropout=0.2",
        "ppo.score_normalization=scale",
        // The nano model says no word: what there is to learn are ends and entropy.
        "ppo.missing_eos_penalty=1.0",
        "ppo.entropy_coefficient=0.1",
    ]);
    [words(&format!("--model {} --steps 24 --word a,b --seed 4", nano())), settings].concat()
}

/// What is left of a run of PPO: its weights and its figures.
fn ppo_result(folder: &Path) -> (Vec<(String, Vec<u8>)>, String, String) {
    (files(&folder.join("ppo/model")), metrics(folder), report_without_timing(folder))
}

/// A folder's files with their names, in order.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (text(Path::new(path.file_name().unwrap())), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

fn metrics(folder: &Path) -> String {
    fs::read_to_string(folder.join("metrics.jsonl")).unwrap()
}

/// Kills a run ten times at random instants, resuming it each time and beginning anew when it comes to its end, and
/// holds every result against that of a run that was never stopped.
fn killed_at_any_instant<T: PartialEq + std::fmt::Debug>(
    example: &str,
    arguments: &[String],
    result: impl Fn(&Path) -> T,
) {
    let root = tempfile::tempdir().unwrap();
    let start = |folder: &Path| -> Child {
        let mut command = command(example, arguments);
        command.arg("--resume").arg("--out").arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let whole = root.path().join("whole");
    let started = Instant::now();
    assert!(start(&whole).wait().unwrap().success());
    let time = started.elapsed();
    let expected = result(&whole);
    let seed = std::process::id().into();
    eprintln!("{example}: kills drawn from seed {seed}, a run takes {time:?}");
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
    eprintln!("{example}: {kills} kills in {runs} runs");
}

#[test]
fn ppo_killed_at_any_instant_ends_with_the_same_weights() {
    killed_at_any_instant("train_ppo", &ppo_arguments(), ppo_result);
}

#[test]
fn sft_killed_at_any_instant_ends_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let data = rows(&folder, 64);
    for lora in ["sft.eval_every=5", "sft.lora={rank=2,dropout=0.2}"] {
        let settings = set(&["sft.training.batch_size=4", "sft.training.save_steps=4", lora]);
        let arguments =
            [words(&format!("--model {} --data {data} --validation-data {data} --template raw", nano())), settings]
                .concat();
        killed_at_any_instant("train_sft", &arguments, |folder| {
            (files(&folder.join("sft/model")), metrics(folder), report_without_timing(folder))
        });
    }
}

#[test]
fn ppo_writes_a_line_a_step_and_its_policy_moves() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    let output = run("train_ppo", &[ppo_arguments(), words(&format!("--out {}", text(&out)))].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> = metrics(&out).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 24);
    for (step, line) in (1..).zip(&lines) {
        assert_eq!(line["step"], step);
        for name in ["objective/kl", "objective/scores", "loss/policy_avg", "val/ratio", "env/reward_mean", "episode"] {
            assert!(line[name].is_number(), "{name}");
        }
    }
    assert!(lines[0]["objective/kl"].as_f64().unwrap().abs() < 1e-4);
    assert!(lines.iter().all(|line| line["grad_norm"].as_f64().unwrap() > 0.0));
    assert_ne!(lines[23]["objective/kl"], lines[0]["objective/kl"]);
    let names: Vec<String> = files(&out.join("ppo/model")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        [
            "adapter_config.json",
            "adapter_model.safetensors",
            "optimizer.safetensors",
            "ser.json",
            "trainer_state.json",
            "value_head.safetensors"
        ]
    );
    let report: Value = serde_json::from_str(&fs::read_to_string(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(report["policy"]["stages"][0]["name"], "PPO");
    assert!(out.join("report.html").exists() && out.join("ppo/answers.jsonl").exists());
}

/// What a program says of bad input; it must not have made its folder.
fn refused(example: &str, arguments: &[String]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let output = run(example, &[arguments, &["--out".to_owned(), text(&out)]].concat());
    assert!(!output.status.success());
    assert!(!out.exists(), "nothing may be left behind");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // What was taken by default is told before.
    let (last, before) = said.trim_end().rsplit_once('\n').map_or((said.as_str(), ""), |(before, last)| (last, before));
    assert!(last.starts_with("error: ") && !before.contains("error"), "{said}");
    last.to_owned()
}

#[test]
fn bad_settings_are_one_sentence_and_leave_nothing() {
    let ppo =
        |settings: &[&str]| refused("train_ppo", &[words(&format!("--model {}", nano())), set(settings)].concat());
    let said = ppo(&["ppo.batch_size=4", "ppo.mini_batch_size=9"]);
    assert!(said.contains("ppo.mini_batch_size is 9, more than ppo.batch_size, 4"), "{said}");
    let said = ppo(&["ppo.initial_kl_coefficient=-0.1"]);
    assert!(said.contains("initial_kl_coefficient is -0.1"), "{said}");
    let said = ppo(&["reward.words=[]"]);
    assert!(said.contains("reward.words is empty"), "{said}");
    let said = ppo(&["ppo.response_length={fixed=5000}"]);
    assert!(said.contains("no prompt leaves room for an answer of 5000 tokens"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.txt");
    fs::write(&empty, "\n\n").unwrap();
    let with_prompts = words(&format!("--model {} --prompts {}", nano(), text(&empty)));
    let said = refused("train_ppo", &with_prompts);
    assert!(said.contains("empty.txt"), "{said}");
    // An adapter of a language model is no reward model, where its base has no head either, as the nano one does.
    let data = rows(&folder, 8);
    let sft = |model: &str, name: &str, settings: &[&str]| {
        let out = folder.path().join(name);
        let train = words(&format!("--model {model} --data {data} --template raw --out {}", text(&out)));
        assert!(run("train_sft", &[train, set(settings)].concat()).status.success());
        text(&out.join("sft/model"))
    };
    let base = sft(&nano(), "whole", &["sft.training.epochs=1"]);
    let adapter = sft(&base, "adapter", &["sft.lora={rank=2}", "sft.training.epochs=1"]);
    let said = refused("train_ppo", &words(&format!("--model {base} --reward-model {adapter}")));
    assert!(said.contains("score head"), "{said}");
    let said = refused(
        "train_sft",
        &[words(&format!("--model {} --data {data}", nano())), set(&["sft.training.save_steps=0"])].concat(),
    );
    assert!(said.contains("training.save_steps is 0"), "{said}");
}

/// Settings under which the whole procedure takes seconds on the nano checkpoint.
fn quick_procedure() -> Vec<String> {
    set(&[
        "text.max_length=120",
        "split.sft=0.4",
        "split.rm=0.4",
        "split.ppo=0.2",
        "split.labelled=0.5",
        "sft.training.epochs=1",
        "training.epochs=1",
        "loop.schedule={kind=\"paper\",plan=[\"status2\"]}",
        "dpo.training.epochs=1",
        "policy_run.steps=2",
        "ppo.batch_size=4",
        "ppo.response_length={fixed=8}",
        "policies.judged=5",
        "policies.sampling.max_new_tokens=8",
    ])
}

/// Pairs of several rounds, as JSON lines; the question of those in `long` has far more tokens than the model's positions.
fn conversations(path: &Path, first: usize, n: usize, long: &[usize]) -> String {
    let turn = |role: &str, content: String| serde_json::json!({"role": role, "content": content});
    let row = |i: usize| {
        let question = format!("Question {i}? ") + &"again ".repeat(if long.contains(&i) { 400 } else { 0 });
        let prompt =
            [turn("user", question), turn("assistant", format!("One {i}. ")), turn("user", "And? ".to_owned())];
        let answer = |text: &str| [turn("assistant", format!("{text} {i}"))];
        serde_json::json!({"prompt": prompt, "chosen": answer("good"), "rejected": answer("bad")}).to_string() + "\n"
    };
    fs::write(path, (first..first + n).map(row).collect::<String>()).unwrap();
    text(path)
}

#[test]
fn over_long_prompts_and_texts_are_left_out_before_anything_is_trained() {
    let root = tempfile::tempdir().unwrap();
    let data = conversations(&root.path().join("train.jsonl"), 0, 100, &[3, 17, 40, 41, 60, 88]);
    let test = conversations(&root.path().join("test.jsonl"), 1000, 12, &[1000, 1001, 1007]);
    let out = root.path().join("run");
    let procedure = |turns: &str, out: &Path| {
        let flags = format!("--full --model {} --data {data} --test-data {test} --out {}", nano(), text(out));
        let output =
            run("ser_loop", &[words(&flags), quick_procedure(), set(&[&format!("sft.turns={turns}")])].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    procedure("all", &out);
    let report: Value = serde_json::from_str(&report_without_timing(&out)).unwrap();
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("3 of 12 test prompts for the policies are left out"), "{warnings}");
    assert!(warnings.contains("SFT leaves out"), "{warnings}");
    for name in ["sft", "ppo-ser", "ppo-full"] {
        let answers = fs::read_to_string(out.join(format!("policies/{name}.jsonl")));
        assert_eq!(answers.unwrap_or_default().lines().count(), 5, "{name}");
    }
    // The answers before the last one carry loss, too.
    let last = root.path().join("last");
    procedure("last", &last);
    let first_loss = |folder: &Path| -> Value {
        let lines = metrics(folder);
        let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|line| line["stage"] == "sft").unwrap()["loss"].clone()
    };
    assert_ne!(first_loss(&out), first_loss(&last));
}

#[test]
fn a_start_that_cannot_work_is_refused_before_the_run_folder_is_made() {
    let root = tempfile::tempdir().unwrap();
    let data = rows(&root, 100);
    let procedure = |settings: &[&str]| {
        let flags = words(&format!("--full --model {} --data {data}", nano()));
        refused("ser_loop", &[flags, quick_procedure(), set(settings)].concat())
    };
    for (settings, said) in [
        (&["sft.training.learning_rate=-1.0"][..], "sft.training.learning_rate is -1"),
        (&["policy.lora.rank=0"], "policy.lora.rank is 0"),
        (&["dpo.beta=0.0"], "dpo.beta is 0"),
        (&["loop.precision_target.delta=0.0"], "loop.precision_target.delta is 0"),
        (&["policies.judged=0"], "policies.judged is 0"),
        (&["text.max_length=2"], "no text is left for SFT"),
        (&["ppo.response_length={fixed=250}"], "lower ppo.response_length"),
        (&["policies.sampling.max_new_tokens=250"], "lower policies.sampling.max_new_tokens"),
        (&["policy.lora.target_modules=nothing_.*"], "policy.lora"),
        (&["dpo.lora.target_modules=nothing_.*"], "dpo.lora"),
        (&["sft.lora.target_modules=nothing_.*"], "sft: "),
        (&["lora.target_modules=nothing_.*"], "lora: "),
        (&["judge={endpoint=\"http://localhost:1\",model=\"m\",api_key_env=\"NO_SUCH_KEY\"}"], "NO_SUCH_KEY"),
        (&["prompts.file=missing.jsonl"], "missing.jsonl"),
    ] {
        let error = procedure(settings);
        assert!(error.contains(said), "{settings:?}: {error}");
    }
    // The built-in corpus's model is not there yet, and is checked all the same.
    let corpus =
        set(&["corpus.pairs=320", "corpus.test_pairs=40", "base.vocab_size=1000", "base.shape.hidden_size=16"]);
    let error = refused("ser_loop", &[words("--full"), corpus.clone(), set(&["base.shape.max_positions=60"])].concat());
    assert!(error.contains("no text is left for SFT"), "{error}");
    let error = refused("ser_loop", &[corpus, set(&["lora.target_modules=nothing_.*"])].concat());
    assert!(error.contains("target_modules"), "{error}");
}

#[test]
fn what_is_taken_by_default_is_said() {
    let said = |example: &str, arguments: &[String]| {
        let root = tempfile::tempdir().unwrap();
        // No text fits: it is refused after it was said, and nothing is trained.
        let out = words(&format!("--out {}", text(&root.path().join("run"))));
        let output = run(example, &[arguments, &out, &set(&["text.max_length=1"])].concat());
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = said("ser_loop", &words(&format!("--model {}", nano())));
    assert!(text.contains("no --data: the run works on the built-in corpus") && text.contains("llama3"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let text = said("ser_loop", &words(&format!("--model {} --data {}", nano(), rows(&folder, 40))));
    assert!(text.contains("the paper starts them from a model after SFT"), "{text}");
    let long = set(&["ppo.response_length={fixed=5000}"]);
    let text = said("train_ppo", &[words(&format!("--model {}", nano())), long].concat());
    for default in ["no --config", "no --reward-model", "no --prompts and no --data"] {
        assert!(text.contains(default), "{default}: {text}");
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_program_ends_with_130_and_says_how_to_go_on() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    let mut arguments = [ppo_arguments(), words(&format!("--out {}", text(&out)))].concat();
    arguments.iter_mut().filter(|argument| *argument == "24").for_each(|steps| *steps = "100000".to_owned());
    let mut child = command("train_ppo", &arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let log = out.join("metrics.jsonl");
    let waited = Instant::now();
    while fs::read_to_string(&log).unwrap_or_default().lines().count() < 2 {
        assert!(child.try_wait().unwrap().is_none() && waited.elapsed() < Duration::from_secs(300));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("error: stopped during `ppo`") && said.contains("--resume"), "{said}");
}

#[test]
fn the_whole_procedure_runs_and_resumes() {
    let root = tempfile::tempdir().unwrap();
    let settings = set(&[
        "corpus.pairs=320",
        "corpus.test_pairs=40",
        "base.vocab_size=1000",
        "base.shape.hidden_size=16",
        "base.shape.intermediate_size=32",
        "base.shape.layers=1",
        "base.training.epochs=1",
        "training.epochs=1",
        "policy_run.steps=3",
        "policies.judged=10",
        "policies.sampling.max_new_tokens=12",
        "policies.sampling.min_new_tokens=4",
        "policy_run.min_new_tokens=4",
        "ppo.response_length={fixed=12}",
        "dpo.training.epochs=1",
    ]);
    let out = root.path().join("run");
    let arguments = [words(&format!("--full --seed 3 --out {}", text(&out))), settings].concat();
    let output = run("ser_loop", &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = report_without_timing(&out);
    let report: Value = serde_json::from_str(&expected).unwrap();
    let names = |list: &Value, key: &str| -> Vec<String> {
        list.as_array().unwrap().iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&report["policy"]["stages"], "name"), ["SFT", "PPO-SER", "PPO-Full", "DPO"]);
    assert_eq!(names(&report["policy"]["comparisons"], "against"), ["SFT", "SFT", "SFT", "PPO-Full", "DPO"]);
    assert_eq!(report["policy"]["samples"][0]["answers"].as_array().unwrap().len(), 4);
    let resumed = [arguments, vec!["--resume".to_owned()]].concat();
    let again = run("ser_loop", &resumed);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(report_without_timing(&out) == expected, "the resumed run's report differs");

    // A judge behind an endpoint compares the answers that are there, and is asked once.
    let server = ChatServer::start(|_| Does::Says("Verdict: A".to_owned()));
    let judge = set(&[&format!("judge.endpoint={}", server.endpoint), "judge.model=judge"]);
    for _ in 0..2 {
        let judged = run("ser_loop", &[resumed.as_slice(), &judge].concat());
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
        let report: Value = serde_json::from_str(&report_without_timing(&out)).unwrap();
        let comparison = &report["policy"]["comparisons"][0];
        assert_eq!(comparison["judge"], "judge");
        // Whoever stands first is preferred: orders disagree, and answers that are the same tie unasked.
        let count = |name: &str| comparison["counts"][name].as_u64().unwrap();
        assert_eq!(count("ties"), 10, "{comparison}");
        assert!(count("contradictions") > 0, "{comparison}");
    }
    assert!(server.asked().values().all(|&times| times == 1));
}
