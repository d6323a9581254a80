//! Linear reward models in runs: killed, scored with, bad input.

#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use support::{golden, nano, refused, report_without_timing, rows, run, set, stderr, text, words};

/// The loop over a linear reward model on the nano checkpoint.
fn linear_run(data: &str) -> Vec<String> {
    let flags = format!("--few-labels --model {} --data {data} --template raw", nano());
    let settings = ["split.labelled=0.3", "linear.components=4", "linear.l2=1.0", "model.precision=float32"];
    [words(&flags), set(&settings)].concat()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn raw_scores(output: &Output) -> Vec<[f64; 2]> {
    assert!(output.status.success(), "{}", stderr(output));
    let line =
        |line: &str| serde_json::from_value(serde_json::from_str::<Value>(line).unwrap()["raw"].clone()).unwrap();
    String::from_utf8_lossy(&output.stdout).lines().map(line).collect()
}

#[test]
fn killed_at_any_instant_a_run_ends_in_the_same_report() {
    let folder = tempfile::tempdir().unwrap();
    support::killed_at_any_instant("run", &linear_run(&rows(folder.path(), 150)), report_without_timing);
}

#[test]
fn a_run_selects_the_share_and_its_model_scores_from_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (rows(folder.path(), 200), folder.path().join("run"));
    let arguments = [linear_run(&data), words(&format!("--set loop.top_share=0.6 --out {}", text(&out)))].concat();
    let output = run("run", &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let report = json(&out.join("report.json"));
    let loops = report["rounds"].as_array().unwrap();
    assert_eq!(loops.len(), 4, "the seed model and three loops");
    for later in &loops[1..] {
        let (kept, pool) = (later["selection"]["kept"].as_u64().unwrap(), later["selection"]["pool"].as_u64().unwrap());
        assert_eq!(kept, (0.6 * pool as f64).ceil() as u64);
        assert_eq!(later["rule"], "the most confident 60 % of the pool");
    }
    assert_eq!(report["settings"]["model"]["heads"]["components"], 4);
    assert_eq!(report["settings"]["loop"]["top_share"], 0.6);

    // The states were computed once: a resumed run and another one that shares them add none.
    let states = out.join("hidden_states.bin");
    let size = fs::metadata(&states).unwrap().len();
    let before = report_without_timing(&out);
    let resumed = run("run", &[arguments, words("--resume")].concat());
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    assert_eq!(report_without_timing(&out), before);
    let sharing = format!("--seed 7 --set split.seed=0 --out {}", text(&folder.path().join("sharing")));
    let shared = set(&[&format!("linear.states=\"{}\"", text(&states))]);
    let shared = run("run", &[linear_run(&data), words(&sharing), shared].concat());
    assert!(shared.status.success(), "{}", stderr(&shared));
    assert!(!folder.path().join("sharing/hidden_states.bin").exists());
    assert_eq!(fs::metadata(&states).unwrap().len(), size);

    // The result scores without a word on its base model, as with it.
    let model = text(&out.join("rounds/03/model"));
    let score = |flags: &str| raw_scores(&run("score", &words(&format!("--data {data} {flags}"))));
    let alone = score(&format!("--adapter {model}"));
    assert_eq!(alone.len(), 200);
    let right = alone.iter().filter(|[chosen, rejected]| chosen > rejected).count();
    assert!(right > 150, "{right} of 200 right");
    assert_eq!(score(&format!("--model {model}")), alone);
    let inspected = support::ser("inspect").args([data.as_str(), "--tokenizer", model.as_str()]).output().unwrap();
    assert!(inspected.status.success(), "{}", stderr(&inspected));
    assert_eq!(score(&format!("--adapter {model} --model {}", nano())), alone);
    for (n, line) in fs::read_to_string(out.join("rounds/03/test.jsonl")).unwrap().lines().enumerate() {
        let line: Value = serde_json::from_str(line).unwrap();
        let (id, raw) = (line["id"].as_u64().unwrap() as usize, line["raw"].as_array().unwrap());
        // A run's pairs have their answers in an order of their own.
        let raw = [0, 1].map(|side| raw[side].as_f64().unwrap());
        let differs = |raw: [f64; 2]| raw.iter().zip(&alone[id]).any(|(raw, alone)| (raw - alone).abs() > 1e-4);
        assert!(!differs(raw) || !differs([raw[1], raw[0]]), "pair {n}: {line} is not {:?}", alone[id]);
    }
}

#[test]
fn one_model_is_trained_and_rewards_ppo() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (rows(folder.path(), 60), folder.path().join("rm"));
    let flags = format!("--model {} --data {data} --template raw --out {}", nano(), text(&out));
    let settings = set(&["reward_model.kind=linear", "linear.components=4", "linear.committee=false", "lora.rank=4"]);
    let trained = run("train reward", &[words(&flags), settings.clone()].concat());
    assert!(trained.status.success(), "{}", stderr(&trained));
    assert!(stderr(&trained).contains("the settings lora are given but not used"), "{}", stderr(&trained));
    let resumed = run("train reward", &[words(&flags), settings, words("--resume")].concat());
    assert!(resumed.status.success(), "{}", stderr(&resumed));
    let scores = raw_scores(&run("score", &words(&format!("--data {data} --adapter {}", text(&out)))));
    assert!(scores.iter().filter(|[chosen, rejected]| chosen > rejected).count() > 50);

    let ppo = format!(
        "--model {} --template raw --reward-model {} --steps 1 --out {}",
        nano(),
        text(&out),
        text(&folder.path().join("ppo"))
    );
    let short = set(&["ppo.response_length={fixed=8}", "ppo.batch_size=8"]);
    let ppo = run("train ppo", &[words(&ppo), short].concat());
    assert!(ppo.status.success(), "{}", stderr(&ppo));
    assert!(stderr(&ppo).contains("reward model, texts: template raw"), "{}", stderr(&ppo));

    let merge = format!("--model {} --adapter {} --out {}", nano(), text(&out), text(&folder.path().join("merged")));
    let merged = support::ser("merge").args(words(&merge)).output().unwrap();
    let said = stderr(&merged);
    assert!(!merged.status.success() && !folder.path().join("merged").exists());
    assert!(said.contains("a linear reward model has no adapter to merge"), "{said}");
}

#[test]
fn bad_input_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (rows(folder.path(), 60), folder.path().join("rm"));
    let said = refused("run", &words(&format!("--few-labels --data {data}")));
    assert!(said.contains("--model"), "{said}");
    let deep = [linear_run(&data), set(&["linear.last=[99]"])].concat();
    let said = refused("run", &deep);
    assert!(said.contains("last is 99 among [99]"), "{said}");
    let said = refused("run", &[linear_run(&data), set(&["linear.components=0"])].concat());
    assert!(said.contains("linear.components is 0; it must be at least 1"), "{said}");
    let said = refused("run", &[linear_run(&data), set(&["loop.top_share=1.5"])].concat());
    assert!(said.contains("top_share is 1.5"), "{said}");
    let said = refused("run", &[linear_run(&data), set(&["reward_model.kind=forest"])].concat());
    assert!(said.contains("reward_model.kind") && said.contains("forest"), "{said}");

    // A copy of the base model, so that it can go.
    let base = folder.path().join("base");
    fs::create_dir(&base).unwrap();
    let entries = fs::read_dir(golden("llama3")).unwrap().map(|entry| entry.unwrap().path());
    for entry in entries.filter(|entry| entry.is_file()) {
        fs::copy(&entry, base.join(entry.file_name().unwrap())).unwrap();
    }
    let flags = format!("--model {} --data {data} --template raw --out {}", text(&base), text(&out));
    let settings = set(&["reward_model.kind=linear", "linear.components=4"]);
    let trained = run("train reward", &[words(&flags), settings.clone()].concat());
    assert!(trained.status.success(), "{}", stderr(&trained));
    let score = |flags: &str| {
        let output = run("score", &words(&format!("--data {data} --adapter {} {flags}", text(&out))));
        assert!(!output.status.success() && output.stdout.is_empty());
        stderr(&output)
    };
    let said = score(&format!("--model {}", text(&golden("qwen2"))));
    assert!(said.contains("error: "), "{said}");
    let said = score("--precision bfloat16");
    assert!(said.contains("was fitted on hidden states in float32"), "{said}");
    let said = score("--template authors_code");
    assert!(said.contains("trained with template raw, but authors_code was requested"), "{said}");
    let said = score("--template authors_code --force-text");
    assert!(said.contains("leave --force-text out"), "{said}");
    fs::rename(&base, folder.path().join("moved")).unwrap();
    let said = score("");
    assert!(said.contains("base_model.json names the base model") && said.contains("does not exist"), "{said}");
    let moved = format!("--data {data} --adapter {} --model {}", text(&out), text(&folder.path().join("moved")));
    assert_eq!(raw_scores(&run("score", &words(&moved))).len(), 60);

    // States of another model, and a file that is not one.
    let other = folder.path().join("other");
    fs::write(&other, "not states, but long enough to have a header of that size").unwrap();
    let flags = format!("--model {} --data {data} --template raw --out {}", nano(), text(&folder.path().join("rm2")));
    let states = set(&[&format!("linear.states=\"{}\"", text(&other))]);
    let said = stderr(&run("train reward", &[words(&flags), settings, states].concat()));
    assert!(said.contains("is not a feature cache"), "{said}");
}
