//! SFT and PPO as commands: killed runs, bad input, results.

#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{command, killed_at_any_instant, nano, refused, report_without_timing, rows, run, set, text, words};

fn ppo_arguments() -> Vec<String> {
    let settings = set(&[
        "ppo.batch_size=4",
        "ppo.mini_batch_size=2",
        "ppo.response_length={fixed=6}",
        "policy_run.save_steps=3",
        "policy.lora.dropout=0.2",
        "ppo.score_normalization=scale",
        // The nano model generates no words: training changes only where answers end, and their entropy.
        "ppo.missing_eos_penalty=1.0",
        "ppo.entropy_coefficient=0.1",
    ]);
    [words(&format!("--model {} --steps 24 --word a,b --seed 4", nano())), settings].concat()
}

/// The result of a PPO run: its weights and its metrics.
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

/// The lines of `metrics.jsonl` without their times.
fn metrics(folder: &Path) -> String {
    let without_time = |line: &str| {
        let mut line: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        assert!(line.remove("time").unwrap().is_number());
        Value::Object(line).to_string() + "\n"
    };
    fs::read_to_string(folder.join("metrics.jsonl")).unwrap().lines().map(without_time).collect()
}

#[test]
fn ppo_killed_at_any_instant_ends_with_the_same_weights() {
    killed_at_any_instant("train ppo", &ppo_arguments(), ppo_result);
}

#[test]
fn sft_killed_at_any_instant_ends_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let data = rows(folder.path(), 64);
    for lora in ["sft.eval_every=5", "sft.lora={rank=2,dropout=0.2}"] {
        let settings = set(&["sft.training.batch_size=4", "sft.training.save_steps=4", lora]);
        let arguments =
            [words(&format!("--model {} --data {data} --validation-data {data} --template raw", nano())), settings]
                .concat();
        killed_at_any_instant("train sft", &arguments, |folder| {
            (files(&folder.join("sft/model")), metrics(folder), report_without_timing(folder))
        });
    }
}

#[test]
fn ppo_writes_a_line_a_step_and_its_policy_moves() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    let output = run("train ppo", &[ppo_arguments(), words(&format!("--out {}", text(&out)))].concat());
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

#[test]
fn bad_settings_are_one_sentence_and_leave_nothing() {
    let ppo =
        |settings: &[&str]| refused("train ppo", &[words(&format!("--model {}", nano())), set(settings)].concat());
    let said = ppo(&["ppo.batch_size=4", "ppo.mini_batch_size=9"]);
    assert!(said.contains("ppo.mini_batch_size is 9, more than ppo.batch_size, 4"), "{said}");
    let said = ppo(&["ppo.initial_kl_coefficient=-0.1"]);
    assert!(said.contains("initial_kl_coefficient is -0.1"), "{said}");
    let said = ppo(&["reward.words=[]"]);
    assert!(said.contains("reward.words is empty"), "{said}");
    let said = ppo(&["ppo.response_length={fixed=5000}"]);
    assert!(said.contains("no prompt leaves positions for an answer of 5000 tokens"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.txt");
    fs::write(&empty, "\n\n").unwrap();
    let with_prompts = words(&format!("--model {} --prompts {}", nano(), text(&empty)));
    let said = refused("train ppo", &with_prompts);
    assert!(said.contains("empty.txt"), "{said}");
    // The adapter of a language model cannot be a reward model, even if its base has no head, as the nano one.
    let data = rows(folder.path(), 8);
    let sft = |model: &str, name: &str, settings: &[&str]| {
        let out = folder.path().join(name);
        let train = words(&format!("--model {model} --data {data} --template raw --out {}", text(&out)));
        assert!(run("train sft", &[train, set(settings)].concat()).status.success());
        text(&out.join("sft/model"))
    };
    let base = sft(&nano(), "whole", &["sft.training.epochs=1"]);
    let adapter = sft(&base, "adapter", &["sft.lora={rank=2}", "sft.training.epochs=1"]);
    let said = refused("train ppo", &words(&format!("--model {base} --reward-model {adapter}")));
    assert!(said.contains("score head"), "{said}");
    let said = refused(
        "train sft",
        &[words(&format!("--model {} --data {data}", nano())), set(&["sft.training.save_steps=0"])].concat(),
    );
    assert!(said.contains("training.save_steps is 0"), "{said}");
}

#[test]
fn damaged_files_are_named_and_made_again_with_repair() {
    let folder = tempfile::tempdir().unwrap();
    let data = rows(folder.path(), 60);
    let settings = set(&[
        "sft.training.epochs=1",
        "training.epochs=1",
        "lora.dropout=0.1",
        "loop.schedule={kind=\"paper\",plan=[\"status2\"]}",
    ]);
    for (command, damaged) in [
        ("train sft", &["sft/model/model.safetensors", "settings.json"][..]),
        (
            "run",
            &[
                "rounds/00/model/adapter_model.safetensors",
                "rounds/00/test.jsonl",
                "rounds/01/scores.jsonl",
                "manifest.json",
            ],
        ),
    ] {
        let out = folder.path().join(command.replace(' ', "-"));
        let start = |flag: &str| {
            let line = format!("--model {} --data {data} --template raw --out {} {flag}", nano(), text(&out));
            run(command, &[words(&line), settings.clone()].concat())
        };
        assert!(start("").status.success());
        let expected = report_without_timing(&out);
        for name in damaged {
            let path = out.join(name);
            let sound = fs::read(&path).unwrap();
            let mut bytes = sound.clone();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(&path, &bytes).unwrap();
            let refused = start("--resume");
            let said = support::stderr(&refused);
            assert_eq!(refused.status.code(), Some(1), "{said}");
            assert!(said.contains(&text(&path)) && said.contains("--repair"), "{name}: {said}");
            assert_eq!(fs::read(&path).unwrap(), bytes, "a refusal changes nothing");
            let repaired = start("--repair");
            let said = support::stderr(&repaired);
            assert!(repaired.status.success(), "{name}: {said}");
            assert!(said.contains(&format!("{} is damaged: the run repairs it", path.display())), "{said}");
            if !name.ends_with("manifest.json") {
                assert!(fs::read(&path).unwrap() == sound, "{name} is another one");
            }
            assert_eq!(report_without_timing(&out), expected, "{name}");
        }
        assert!(start("--resume").status.success());
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_program_ends_with_130_and_names_the_command_that_continues() {
    let root = tempfile::tempdir().unwrap();
    let out = root.path().join("run");
    let mut arguments = [ppo_arguments(), words(&format!("--out {}", text(&out)))].concat();
    arguments.iter_mut().filter(|argument| *argument == "24").for_each(|steps| *steps = "100000".to_owned());
    let mut child = command("train ppo", &arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
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
