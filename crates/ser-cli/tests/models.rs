//! The loop, reward training, scoring and generation as commands: killed runs, bad input, results.

#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use support::{golden, report_without_timing, rows, stderr};

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

fn run(command: &str, arguments: &[&str]) -> Output {
    support::run(command, &owned(arguments))
}

/// Few pairs of the built-in corpus and a network of a few thousand weights.
const SMALL: [&str; 18] = [
    "--set",
    "corpus.pairs=320",
    "--set",
    "corpus.test_pairs=40",
    "--set",
    "base.vocab_size=1000",
    "--set",
    "base.shape.hidden_size=16",
    "--set",
    "base.shape.intermediate_size=32",
    "--set",
    "base.shape.layers=1",
    "--set",
    "base.training.epochs=1",
    "--set",
    "training.epochs=1",
    "--seed",
    "3",
];

#[test]
fn killed_at_any_instant_a_run_ends_in_the_same_report() {
    support::killed_at_any_instant("run", &SMALL.map(str::to_owned), report_without_timing);
}

/// The lines of JSON that a program wrote to stdout.
fn lines(output: &Output) -> Vec<serde_json::Value> {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8_lossy(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Trained by the settings, scored without flags for texts: `ser.json` has the template.
#[test]
fn trains_an_adapter_and_scores_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (data, adapter) = (rows(folder.path(), 60), folder.path().join("rm"));
    let (model, out) = (golden("llama"), adapter.to_str().unwrap());
    let model = model.to_str().unwrap();
    let common = ["--model", model, "--data", &data];
    let train: Vec<&str> =
        [&common[..], &["--out", out, "--set", "training.learning_rate=0.01", "--set", "training.epochs=3"]].concat();
    let trained = run("train reward", &train);
    assert!(trained.status.success(), "{}", stderr(&trained));
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(adapter.join("report.json")).unwrap()).unwrap();
    let held_out = report["rounds"][0]["evaluation"]["accuracy"]["pairs"].as_u64().unwrap();
    assert!((1..30).contains(&held_out) && adapter.join("report.html").exists());
    let record = fs::read_to_string(adapter.join("reward/model/ser.json")).unwrap();
    assert!(record.contains("authors_code"), "{record}");

    let scored = run("score", &[&common[..], &["--adapter", out]].concat());
    assert!(
        stderr(&scored).contains("texts: template authors_code, with end token, at most 512 tokens"),
        "{}",
        stderr(&scored)
    );
    let all = lines(&scored);
    assert_eq!(all.len(), 60);
    let right = all.iter().filter(|l| l["raw"][0].as_f64() > l["raw"][1].as_f64()).count();
    assert!(right > 55, "{right} of 60 right");
    for (i, line) in all.iter().enumerate() {
        let (r, p) = (line["raw"][0].as_f64().unwrap(), line["probability"][0].as_f64().unwrap());
        assert!((p - 1.0 / (1.0 + (-r).exp())).abs() < 1e-12);
        assert_eq!((line["id"].as_u64(), line["row"].as_u64()), (Some(i as u64), Some(i as u64 + 1)));
        assert_eq!((&line["score_j"], &line["score_k"]), (&line["probability"][0], &line["probability"][1]));
    }
    // `ser eval` counts the same pairs, and a row with several answers by its best one.
    let results = folder.path().join("results");
    let eval = ["--adapter", out, "--json", "--name", "org/nano", "--out", results.to_str().unwrap()];
    let measured = run("eval", &[&common[..], &eval].concat());
    let measured: serde_json::Value = serde_json::from_slice(&measured.stdout).unwrap();
    assert_eq!(measured["evaluation"]["accuracy"]["value"].as_f64().unwrap(), right as f64 / 60.0);
    let bench = folder.path().join("bench.jsonl");
    let row = r#"{"prompt": "Question 1? ", "chosen": ["good 1 "], "rejected": ["bad", "bad "], "subset": "Math", "id": "1"}"#;
    fs::write(&bench, row).unwrap();
    let table = run("eval", &["--model", model, "--data", bench.to_str().unwrap(), "--adapter", out]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("RewardBench 2, Math  100.0 %") && table.contains("1 prompts"), "{table}");
    let board: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(results.join("org_nano.json")).unwrap()).unwrap();
    assert_eq!(board["model"], "org/nano");

    let other = ["--adapter", out, "--template", "raw"];
    let refused = run("score", &[&common[..], &other].concat());
    assert!(
        stderr(&refused).contains("trained with template authors_code, but raw was requested"),
        "{}",
        stderr(&refused)
    );
    let forced = lines(&run("score", &[&common[..], &other, &["--force-text"]].concat()));
    assert_ne!(forced[0]["raw"], all[0]["raw"]);

    // Without --resume the run folder is refused; with it, nothing changes.
    let before = fs::read(adapter.join("reward/model/adapter_model.safetensors")).unwrap();
    let again = run("train reward", &train);
    assert!(!again.status.success() && stderr(&again).contains("resume"), "{}", stderr(&again));
    let resumed = run("train reward", &[&train[..], &["--resume"]].concat());
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(fs::read(adapter.join("reward/model/adapter_model.safetensors")).unwrap(), before);
    let changed = run("train reward", &[&train[..], &["--resume", "--set", "lora.rank=2"]].concat());
    assert!(stderr(&changed).contains("model.lora.rank"), "{}", stderr(&changed));
}

/// Rows that are left out are told with their reasons, and the others keep their numbers.
#[test]
fn score_lines_stay_in_step_with_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.jsonl");
    let row = |prompt: &str| format!(r#"{{"prompt": "{prompt}", "chosen": "good", "rejected": "bad"}}"#);
    let long = row(&"long ".repeat(20));
    fs::write(&path, [row("one "), "{\"prompt\": ".into(), long, row("four ")].join("\n")).unwrap();
    let model = golden("llama");
    let common = ["--model", model.to_str().unwrap(), "--data", path.to_str().unwrap()];
    let scored = run("score", &[&common[..], &["--on-bad-row", "skip", "--max-length", "60"]].concat());
    let told = stderr(&scored);
    let rows: Vec<_> = lines(&scored).iter().map(|l| (l["row"].as_u64(), l["id"].as_u64())).collect();
    assert_eq!(rows, [(Some(1), Some(0)), (Some(4), Some(3))]);
    assert!(told.contains("left out: 1 row that could not be read") && told.contains("line 2"), "{told}");
    assert!(told.contains("left out: 1 pair over the length limit (max_length): row 3"), "{told}");
}

#[test]
fn a_causal_model_is_refused_as_a_reward_model() {
    let folder = tempfile::tempdir().unwrap();
    let data = rows(folder.path(), 2);
    let model = golden("generation/llama");
    let common = ["--model", model.to_str().unwrap(), "--data", &data];
    let refused = run("score", &common);
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(stderr(&refused).contains("this model has no score head (score.weight)"), "{}", stderr(&refused));
    assert_eq!(lines(&run("score", &[&common[..], &["--fresh-head"]].concat())).len(), 2);
}

#[test]
fn generate_uses_the_chat_template_of_a_folder_that_has_one() {
    let folder = tempfile::tempdir().unwrap();
    let model = golden("generation/llama");
    for entry in fs::read_dir(&model).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
    fs::write(folder.path().join("chat_template.jinja"), template).unwrap();
    let said = |folder: &Path, more: &[&str]| {
        let arguments = ["--model", folder.to_str().unwrap(), "--prompt", "Hi", "--greedy", "--max-new-tokens", "1"];
        stderr(&run("generate", &[&arguments[..], more].concat()))
    };
    assert!(said(folder.path(), &[]).contains("texts: template chat"));
    assert!(said(folder.path(), &["--template", "raw"]).contains("texts: template raw"));
    assert!(said(&model, &[]).contains("texts: template raw"));
}

fn refused(arguments: &[&str]) -> String {
    support::refused("run", &owned(arguments))
}

#[test]
fn bad_input_is_one_sentence_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let good = rows(folder.path(), 60);
    let (good, model) = (good.as_str(), golden("llama"));
    let model = model.to_str().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let with_data = |data: &str| refused(&["--data", data, "--model", model]);
    let text = with_data("nowhere.jsonl");
    assert!(text.contains("nowhere.jsonl"), "{text}");
    // The first half of a gzip member.
    let text = with_data(&file("cut.jsonl.gz", &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0x56]));
    assert!(text.contains("cut.jsonl.gz"), "{text}");
    let row = br#"{"prompt": "q", "chosen": "a", "rejected": "b"}"#;
    let text = with_data(&file("bad.jsonl", &[&row[..], b"\n{\"prompt\": \n"].concat()));
    assert!(text.contains("bad.jsonl") && text.contains('2'), "{text}");
    let text = with_data(&file("lacking.jsonl", br#"{"prompt": "q", "chosen": "a"}"#));
    assert!(text.contains("rejected"), "{text}");
    let text = with_data(&file("empty.jsonl", br#"{"prompt": "q", "chosen": "", "rejected": "b"}"#));
    assert!(text.contains("empty"), "{text}");
    let text = refused(&["--data", good]);
    assert!(text.contains("--data needs --model"), "{text}");
    let text = refused(&["--data", good, "--model", "nowhere"]);
    assert!(text.contains("nowhere/config.json: no such file"), "{text}");
    let low = ["--data", good, "--model", model, "--set", "loop.thresholds.tau_low=0.7"];
    let text = refused(&low);
    assert!(text.contains("tau_low is 0.7"), "{text}");
    let text = refused(&["--set", "training.learning_rat=1"]);
    assert!(text.contains("learning_rat"), "{text}");
    let text = refused(&["--set", "lora.rank=0"]);
    assert!(text.contains("lora.rank is 0; it must be at least 1"), "{text}");
    let text = refused(&["--config", &file("odd.toml", b"[loop]\nanker = 1\n")]);
    assert!(text.contains("odd.toml") && text.contains("anker"), "{text}");
}
