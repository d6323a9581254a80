//! SmolLM2-135M-Instruct from its Q4_1 GGUF file, against transformers on the same file (tests/golden/make_smollm2.py).
//! Needs the file that `cargo xtask model smollm2` fetches; skipped without it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Instant;

use ser_core::testing::Requirement;
use ser_core::{Context, Message, Sampling};
use ser_data::{TemplateKind, TextSettings};
use ser_model::{CausalLm, CausalLmSettings, Device, GenerateOptions, HiddenStates, HiddenStatesSettings, Precision};

#[derive(serde::Deserialize)]
struct Expected {
    texts: Vec<String>,
    ids: Vec<Vec<u32>>,
    logprobs: Vec<Vec<f64>>,
    scores: Vec<[f64; 2]>,
    prompt: Vec<u32>,
    greedy: Vec<u32>,
}

/// A line of /proc/self/status in bytes.
fn memory(field: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// How far scores are from transformers' at most: the last token's states under a fixed head, as in a reward model, in the middle
/// of the network and at its end.
fn score_difference(path: &Path, expected: &Expected) -> f64 {
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    let settings = HiddenStatesSettings { last: vec![15, 30], mean: vec![1], text, ..HiddenStatesSettings::default() };
    let states = HiddenStates::from_folder(path, &settings, Device::cpu()).unwrap();
    let texts: Vec<&str> = expected.texts.iter().map(String::as_str).collect();
    let (states, cut) = states.features_of_texts(&texts, &mut Context::silent()).unwrap();
    assert_eq!(cut, 0);
    let hidden = states.shape()[2] / 3;
    let mut worst = 0f64;
    for (text, scores) in expected.scores.iter().enumerate() {
        for (view, expected) in scores.iter().enumerate() {
            let state = (0..hidden).map(|k| f64::from(states[[text, 0, view * hidden + k]]));
            let head = (0..hidden).map(|k| (k as f64).sin() / (hidden as f64).sqrt());
            let score: f64 = state.zip(head).map(|(x, h)| x * h).sum();
            worst = worst.max((score - expected).abs());
        }
    }
    worst
}

#[test]
fn smollm2_computes_what_transformers_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("../../.models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.exists() {
        return Requirement::Model.missing("cargo xtask model smollm2 was not run");
    }
    let expected: Expected =
        serde_json::from_str(&fs::read_to_string(root.join("tests/golden/smollm2.json")).unwrap()).unwrap();
    let settings = CausalLmSettings {
        text: TextSettings { template: TemplateKind::Chat, max_length: None, ..TextSettings::default() },
        precision: Precision::F32,
        ..CausalLmSettings::default()
    };
    let before = memory("VmHWM:");
    let start = Instant::now();
    let model = CausalLm::from_folder(&path, &settings, Device::cpu()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let network = 134_515_008 * 4;
    if let (Some(before), Some(after)) = (before, memory("VmHWM:")) {
        let used = after - before;
        println!("loaded in {seconds:.2} s, {} MB at most, of which the network has {}", used >> 20, network >> 20);
        // Beside the network: its largest tensor in the file, a piece of it in f32, and the tokenizer.
        assert!(used < network + 250_000_000, "loading took {used} bytes");
    }

    for (text, ids) in expected.texts.iter().zip(&expected.ids) {
        assert_eq!(&model.tokenizer().encode(text, true).unwrap(), ids, "{text:?}");
    }
    let texts: Vec<&[u32]> = expected.ids.iter().map(Vec::as_slice).collect();
    let mut worst = 0f64;
    for (found, expected) in model.log_probs(&texts).unwrap().iter().zip(&expected.logprobs) {
        assert_eq!(found.len(), expected.len());
        worst = found.iter().zip(expected).fold(worst, |worst, (x, y)| worst.max((x - y).abs()));
    }
    println!("log-probabilities differ by at most {worst:.1e}");
    assert!(worst < 1e-4, "{worst}");

    let worst = score_difference(&path, &expected);
    println!("scores differ by at most {worst:.1e}");
    assert!(worst < 1e-4, "{worst}");
    let question = Message::user("What is the capital of France? Answer briefly.");
    assert_eq!(model.tokenize_prompt(std::slice::from_ref(&question)).unwrap(), expected.prompt);
    let sampling = Sampling { max_new_tokens: 20, temperature: 0.0, ..Sampling::default() };
    let prompts = std::slice::from_ref(&expected.prompt);
    let answers = model.sample(prompts, &sampling, GenerateOptions::default(), &mut Context::silent()).unwrap();
    assert_eq!(answers[0][0].response.tokens, expected.greedy);
    assert!(model.stop_ids().contains(expected.greedy.last().unwrap()));
    let answer = model.tokenizer().decode(&expected.greedy).unwrap();
    assert_eq!(answer, "The capital of France is Paris.");
}
