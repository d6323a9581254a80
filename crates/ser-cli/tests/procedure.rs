//! The whole procedure: bad input, what is left out, what is resumed.

#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::chat_server::{ChatServer, Does};
use support::{nano, refused, report_without_timing, rows, run, set, text, words};

fn metrics(folder: &Path) -> String {
    fs::read_to_string(folder.join("metrics.jsonl")).unwrap()
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

/// Pairs of several turns, as JSON lines; the question of those in `long` has far more tokens than the model's positions.
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
        let output = run("run", &[words(&flags), quick_procedure(), set(&[&format!("sft.turns={turns}")])].concat());
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
fn data_over_a_size_is_read_from_an_index_on_disk_with_the_same_results() {
    let root = tempfile::tempdir().unwrap();
    let (data, index) = (rows(root.path(), 90), root.path().join("index"));
    let evolve = |out: &str, more: &[&str]| {
        let (out, index) = (root.path().join(out), format!("run.pair_index='{}'", index.display()));
        let flags = words(&format!("--model {} --data {data} --out {} --seed 3", nano(), text(&out)));
        let settings = ["text.max_length=120", "training.epochs=1", "split.labelled=0.4", &index];
        let output = run("run", &[flags, set(&settings), set(more)].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{errors}");
        (report_without_timing(&out), errors)
    };
    let (memory, said) = evolve("memory", &[]);
    assert!(!said.contains("run.in_memory_bytes") && !index.exists(), "{said}");
    let (on_disk, said) = evolve("disk", &["run.in_memory_bytes=1000"]);
    assert!(said.contains("more than run.in_memory_bytes") && said.contains(&text(&index)), "{said}");
    assert!(said.contains("index pairs"), "{said}");
    assert_eq!(memory, on_disk);
    let (again, said) = evolve("again", &["run.in_memory_bytes=0"]);
    assert!(!said.contains("index pairs"), "a second run finds the index: {said}");
    assert_eq!(memory, again);
    let scores = |run: &str| fs::read(root.path().join(run).join("rounds/01/scores.jsonl")).unwrap();
    assert!(scores("memory") == scores("disk"));
}

#[test]
fn a_start_that_cannot_work_is_refused_before_the_run_folder_is_made() {
    let root = tempfile::tempdir().unwrap();
    let data = rows(root.path(), 100);
    let procedure = |settings: &[&str]| {
        let flags = words(&format!("--full --model {} --data {data}", nano()));
        refused("run", &[flags, quick_procedure(), set(settings)].concat())
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
    // The base model of the built-in corpus is checked before it is made.
    let corpus =
        set(&["corpus.pairs=320", "corpus.test_pairs=40", "base.vocab_size=1000", "base.shape.hidden_size=16"]);
    let error = refused("run", &[words("--full"), corpus.clone(), set(&["base.shape.max_positions=60"])].concat());
    assert!(error.contains("no text is left for SFT"), "{error}");
    let error = refused("run", &[corpus, set(&["lora.target_modules=nothing_.*"])].concat());
    assert!(error.contains("target_modules"), "{error}");
}

#[test]
fn defaults_are_reported() {
    let said = |example: &str, arguments: &[String]| {
        let root = tempfile::tempdir().unwrap();
        // No text fits: the run is refused after the notes, and nothing is trained.
        let out = words(&format!("--out {}", text(&root.path().join("run"))));
        let output = run(example, &[arguments, &out, &set(&["text.max_length=1"])].concat());
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = said("run", &words(&format!("--model {}", nano())));
    assert!(text.contains("no --data: the run works on the built-in corpus") && text.contains("llama3"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let text = said("run", &words(&format!("--model {} --data {}", nano(), rows(folder.path(), 40))));
    assert!(text.contains("the paper starts them from a model after SFT"), "{text}");
    let long = set(&["ppo.response_length={fixed=5000}"]);
    let text = said("train ppo", &[words(&format!("--model {}", nano())), long].concat());
    for default in ["no --config", "no --reward-model", "no --prompts and no --data"] {
        assert!(text.contains(default), "{default}: {text}");
    }
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
    let output = run("run", &arguments);
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
    let again = run("run", &resumed);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    assert!(report_without_timing(&out) == expected, "the resumed run's report differs");

    // A judge behind an endpoint compares the answers that are there, and is asked once.
    let server = ChatServer::start(|_| Does::Says("Verdict: A".to_owned()));
    let judge = set(&[&format!("judge.endpoint={}", server.endpoint), "judge.model=judge"]);
    for _ in 0..2 {
        let judged = run("run", &[resumed.as_slice(), &judge].concat());
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stderr));
        let report: Value = serde_json::from_str(&report_without_timing(&out)).unwrap();
        let comparison = &report["policy"]["comparisons"][0];
        assert_eq!(comparison["judge"], "judge");
        // The judge prefers the first answer: the two orders disagree. Equal answers are a tie without a request.
        let count = |name: &str| comparison["counts"][name].as_u64().unwrap();
        assert_eq!(count("ties"), 10, "{comparison}");
        assert!(count("contradictions") > 0, "{comparison}");
    }
    assert!(server.asked().values().all(|&times| times == 1));
}
