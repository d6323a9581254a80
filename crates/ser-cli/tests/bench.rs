//! `ser bench` on tiny models.

#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::{nano, rows, run, set, stderr, words};

fn measured(arguments: &str, settings: &[&str]) -> Value {
    let model = nano();
    let arguments = [words(&format!("--model {model} --json --seconds 0 {arguments}")), set(settings)].concat();
    let output = run("bench", &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn rates_agree_with_counts_and_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let data = rows(folder.path(), 12);
    let settings = ["training.batch_size=3", "lora.target_modules=all-linear", "text.max_length=64"];
    let report = measured(&format!("--data {data} --pairs 8"), &settings);
    assert_eq!(report["matrix_rows"], 2048);
    let rate = report["matrix_flops_per_s"].as_f64().unwrap();
    let works = report["works"].as_array().unwrap();
    assert_eq!(works.len(), 2);
    // One pass over 8 of the 12 pairs, and one step of 3.
    assert_eq!((&works[0]["work"], &works[0]["pairs"]), (&"score".into(), &8.into()));
    assert_eq!((&works[1]["work"], &works[1]["pairs"]), (&"reward".into(), &3.into()));
    for work in works {
        let number = |name: &str| work[name].as_f64().unwrap();
        assert!((number("pairs_per_s") * number("seconds") / number("pairs") - 1.0).abs() < 1e-9, "{work}");
        assert!((number("rate_share") * rate / number("flops_per_s") - 1.0).abs() < 1e-9, "{work}");
        assert!(number("tokens_per_s") > number("pairs_per_s"), "{work}");
    }
    // Training runs backwards too.
    let per_pair = |work: &Value| work["flops_per_s"].as_f64().unwrap() / work["pairs_per_s"].as_f64().unwrap();
    let ratio = per_pair(&works[1]) / per_pair(&works[0]);
    assert!((1.5..2.5).contains(&ratio), "{ratio}");
}

/// Answers that fit 256 positions in bytes.
const SHORT: [&str; 2] = ["corpus.general_cues=1", "corpus.topical_cues=1"];

#[test]
fn the_built_in_corpus_serves_without_data() {
    let report = measured("--pairs 4 --work score", &SHORT);
    assert_eq!(report["works"][0]["pairs"], 4);
    let arguments = words(&format!("--model {} --seconds 0 --pairs 4 --work score", nano()));
    let output = run("bench", &[arguments, set(&SHORT)].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("matrix product of 2048 rows") && text.contains("score "), "{text}");
}

#[test]
fn bad_input_is_one_sentence() {
    let refused = |arguments: &str| stderr(&run("bench", &words(arguments)));
    assert!(refused("--pairs 4").contains("give --model FOLDER"));
    let model = nano();
    let negative = refused(&format!("--model {model} --seconds=-1"));
    assert!(negative.contains("--seconds is -1; it must be at least 0"), "{negative}");
    let short = refused(&format!("--model {model} --pairs 4 --max-length 2"));
    assert!(short.contains("no pair of the data can be measured; is max_length too small?"), "{short}");
}
