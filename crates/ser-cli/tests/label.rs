//! `ser label` against the authors' filter.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Output, Stdio};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use support::ser;

fn start(arguments: &[&str]) -> Child {
    let piped = Stdio::piped;
    ser("label").args(arguments).stdin(piped()).stdout(piped()).stderr(piped()).spawn().unwrap()
}

/// Feeds `input` and waits for the end.
fn label(arguments: &[&str], input: impl AsRef<[u8]> + Send) -> Output {
    let mut child = start(arguments);
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        // The program may stop reading at an error; the write then fails.
        scope.spawn(move || {
            let _ = stdin.write_all(input.as_ref());
        });
        child.wait_with_output().unwrap()
    })
}

fn rows(output: &Output) -> Vec<Value> {
    std::str::from_utf8(&output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap().trim_end()
}

/// rm_loop_filter_by_self.py, a row: kept as it is, kept with the answers swapped, or left over.
fn authors_filter(score_j: f64, score_k: f64) -> &'static str {
    let right_threshold = 0.55;
    let left_threshold = 0.45;
    if ((score_j > right_threshold) && (score_k < left_threshold)) || (score_j - score_k > 0.3) {
        "keep"
    } else if ((score_k > right_threshold) && (score_j < left_threshold)) || (score_k - score_j > 0.3) {
        "swap"
    } else {
        "remaining"
    }
}

/// A million pairs of scores: all pairs of edge values, then random ones, near the edges as often as anywhere.
fn million() -> Vec<(f64, f64)> {
    let mut edges = vec![0.0, -0.0, 1.0, 5e-324, f64::MIN_POSITIVE, f64::EPSILON, 0.5];
    for edge in [0.55, 0.45, 0.3, 0.7, 0.8, 0.2, 0.1, 0.85, 0.25, 0.15, 0.75, 0.9, 0.6, 1.0, 0.5] {
        edges.extend([edge, f64::next_up(edge), f64::next_down(edge)]);
    }
    edges.retain(|edge| *edge <= 1.0);
    let mut pairs: Vec<_> = edges.iter().flat_map(|j| edges.iter().map(|k| (*j, *k))).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(2411);
    while pairs.len() < 1_000_000 {
        let any = rng.random::<f64>();
        let hundredth = |rng: &mut ChaCha8Rng| f64::from(rng.random_range(0..=100)) / 100.0;
        pairs.push(match rng.random_range(0..5) {
            0 => (any, rng.random()),
            1 => (hundredth(&mut rng), hundredth(&mut rng)),
            2 => (any, any),
            3 => (any, any + 0.3 * if any < 0.5 { 1.0 } else { -1.0 }),
            // Scores of a model in single precision, including 0.55 and 0.45.
            _ => (f64::from(any as f32), f64::from([0.55f32, 0.45, 0.5][rng.random_range(0..3)])),
        });
    }
    pairs
}

#[test]
fn agrees_with_the_authors_filter_on_a_million_rows() {
    let pairs = million();
    let mut input = String::new();
    for (i, (j, k)) in pairs.iter().enumerate() {
        // Every third row has its scores as text, as the authors' files do.
        let quote = if i % 3 == 0 { "\"" } else { "" };
        input += &format!("{{\"id\": {i}, \"score_j\": {quote}{j:?}{quote}, \"score_k\": {quote}{k:?}{quote}}}\n");
    }
    for rule in [&[][..], &["--rule", "paper"], &["--rule", "script"]] {
        let output = label(rule, &input);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
        let mut counts = std::collections::BTreeMap::new();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), pairs.len());
        for (i, (line, &(j, k))) in text.lines().zip(&pairs).enumerate() {
            let row: Value = serde_json::from_str(line).unwrap();
            let ours = match row["preferred"].as_str() {
                Some("j") => "keep",
                Some("k") => "swap",
                other => {
                    assert!(other.is_none() && row["preferred"].is_null(), "{line}");
                    "remaining"
                }
            };
            assert_eq!(ours, authors_filter(j, k), "{line}");
            let status = if ours == "remaining" {
                "stop"
            } else if j.max(k) > 0.55 && j.min(k) < 0.45 {
                "status1"
            } else {
                "status2"
            };
            assert_eq!(row["status"], status, "{line}");
            assert_eq!(row["delta"].as_f64().unwrap(), (j - k).abs(), "{line}");
            assert_eq!(row["id"], i, "rows keep their order");
            *counts.entry((ours, status)).or_insert(0) += 1;
        }
        assert!(counts.len() == 5 && counts.values().all(|count| *count > 20_000), "{counts:?}");
    }
}

#[test]
fn edges_by_hand() {
    let cases = [
        ("0.55", "0.44", "stop"),
        ("0.56", "0.45", "stop"),
        ("0.56", "0.44", "status1"),
        ("0.3", "0", "stop"),
        ("0.8", "0.5", "status2"), // 0.8 - 0.5 is 0.30000000000000004
        ("0.7", "0.4", "status1"),
        ("1.0", "0.7", "status2"), // 0.30000000000000004
        ("0.4", "0.1", "status2"), // 0.30000000000000004
        ("0.5", "0.2", "stop"),    // 0.3
        ("0.5", "0.5", "stop"),
        ("1", "0", "status1"),
        ("5e-324", "0", "stop"),
    ];
    for (j, k, status) in cases {
        let row = |j, k| rows(&label(&[], format!("{{\"score_j\":{j},\"score_k\":{k}}}"))).remove(0);
        let (straight, mirrored) = (row(j, k), row(k, j));
        assert_eq!((&straight["status"], &mirrored["status"]), (&status.into(), &status.into()), "{j} {k}");
        if status != "stop" {
            assert_eq!((&straight["preferred"], &mirrored["preferred"]), (&"j".into(), &"k".into()), "{j} {k}");
        }
    }
}

#[test]
fn thresholds_are_options() {
    let input = "{\"score_j\":0.52,\"score_k\":0.48}\n{\"score_j\":0.9,\"score_k\":0.7}";
    let statuses = |arguments: &[&str]| -> Vec<String> {
        rows(&label(arguments, input)).iter().map(|row| row["status"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(statuses(&[]), ["stop", "stop"]);
    assert_eq!(statuses(&["--tau-high", "0.51", "--tau-low", "0.49"]), ["status1", "stop"]);
    assert_eq!(statuses(&["--tau-delta", "0.1"]), ["stop", "status2"]);
}

#[test]
fn other_fields_are_copied_unchanged() {
    let input = r#"{ "id": 123456789012345678901234567890, "text": "a \"NaN\" é \u00e9", "n": {"x": [1, 2.50]},
 "#
    .replace('\n', "")
        + "\"score_j\": 0.9, \"delta\": \"old\", \"score_k\": \"0.1\", \"status\": \"old\"}\n";
    let output = label(&[], input);
    let expected = r#"{"id":123456789012345678901234567890,"text":"a \"NaN\" é \u00e9","n":{"x": [1, 2.50]},"score_j":0.9,"score_k":"0.1","status":"status1","preferred":"j","delta":0.8}"#;
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), expected);
}

#[test]
fn numbers_as_python_reads_them() {
    for text in ["0.9", " +0.9\\t", "9e-1", ".9", "0.9_0", "0_0.9", "9.0E-1"] {
        let output = label(&[], format!("{{\"score_j\": \"{text}\", \"score_k\": 0.1}}"));
        assert_eq!(rows(&output)[0]["delta"], 0.8, "{text}: {}", stderr(&output));
    }
    for text in ["", "_0.9", "0.9_", "0_.9", "0x1", "0,9", "1e", "nine"] {
        let output = label(&[], format!("{{\"score_j\": \"{text}\", \"score_k\": 0.1}}"));
        assert_eq!(stderr(&output), format!("error: line 1: score_j is \"{text}\", not a number"));
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn the_rows_of_score_pairs_are_labelled_and_keep_their_ids() {
    let input = concat!(
        r#"{"id":"a-7","row":3,"raw":[2.5,-1],"probability":[0.92,0.27]}"#,
        "\n",
        r#"{"id":"a-8","raw":[0.1,0.0],"probability":[0.525,0.5]}"#,
        "\n",
        r#"{"id":"a-9","raw":[null,0.0],"probability":[null,0.5]}"#,
        "\n",
        r#"{"probability":[0.2,0.9],"score_j":0.9,"score_k":0.2}"#,
        "\n",
    );
    let output = label(&[], input);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = rows(&output);
    let told = |row: usize| (rows[row]["status"].as_str().unwrap(), rows[row]["preferred"].as_str());
    assert_eq!(told(0), ("status1", Some("j")));
    assert_eq!((&rows[0]["id"], &rows[0]["row"], &rows[0]["raw"][1]), (&"a-7".into(), &3.into(), &(-1).into()));
    assert_eq!((told(1), told(2)), (("stop", None), ("stop", None)));
    assert_eq!(told(3), ("status1", Some("j")), "the scores that are named by themselves count");
    for (row, said) in [
        (r#"{"raw": [1, 2]}"#, "line 1: the row has neither score_j and score_k nor probability"),
        (r#"{"probability": 0.5}"#, "line 1: probability is 0.5, not a list of two numbers"),
        (r#"{"probability": [0.5]}"#, "line 1: probability is [0.5], not a list of two numbers"),
        (r#"{"probability": [0.5, true]}"#, "line 1: probability is true, not a number"),
    ] {
        let output = label(&[], row);
        assert!(!output.status.success() && stderr(&output).contains(said), "{}", stderr(&output));
    }
}

#[test]
fn nan_and_infinities_never_select() {
    for odd in ["NaN", "Infinity", "-Infinity", "\"nan\"", "\"-inf\"", "\"Infinity\"", "\"1e999\""] {
        for (j, k) in [(odd, "0.1"), ("0.9", odd), (odd, odd)] {
            for rule in ["paper", "script"] {
                let input = format!("{{\"note\": \"is NaN, \\\"Infinity\\\"\", \"score_j\": {j}, \"score_k\": {k}}}");
                let output = label(&["--rule", rule], input);
                let row = rows(&output).remove(0);
                assert_eq!((&row["status"], &row["preferred"]), (&"stop".into(), &Value::Null), "{j} {k}");
                assert_eq!(row["note"], "is NaN, \"Infinity\"");
            }
        }
    }
    for (written, comes_out) in [("NaN", "\"NaN\""), ("1e999", "1e999")] {
        let output = label(&[], format!("{{\"score_j\": {written}, \"score_k\": 0.1}}"));
        let end = r#""score_k":0.1,"status":"stop","preferred":null,"delta":null}"#;
        let expected = format!("{{\"score_j\":{comes_out},{end}\n");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}

#[test]
fn scores_outside_0_to_1_give_a_warning() {
    let input = "{\"score_j\": 0.9, \"score_k\": 0.1}\n{\"score_j\": 3.5, \"score_k\": -1}\n".repeat(2);
    let of = |rule| {
        let output = label(&["--rule", rule], &input);
        assert!(output.status.success());
        let said = "warning: line 2 has a score outside [0, 1]: thresholds are for sigmoid scores";
        assert_eq!(stderr(&output), said, "once");
        rows(&output)[1]["status"].clone()
    };
    assert_eq!(of("script"), "status1", "as the authors' filter has it");
    assert_eq!(of("paper"), "stop");
}

#[test]
fn bad_input_is_one_sentence_with_its_line() {
    let good = "{\"score_j\": 0.9, \"score_k\": 0.1}\n";
    let cases: [(&[u8], &str); 8] = [
        (b"{\"score_j\": 0.9, \"score_k\": 0.1", "line 4, column 31 is not a JSON object: EOF while parsing an object"),
        (b"{\"score_j\": 0.9 \"score_k\"}", "line 4, column 17 is not a JSON object: expected `,` or `}`"),
        (b"[0.9, 0.1]", "line 4, column 0 is not a JSON object: "),
        (b"{\"score_j\": 0.9}", "line 4: the row has no field score_k"),
        (b"{\"score_j\": null, \"score_k\": 0.1}", "line 4: score_j is null, not a number"),
        (b"{\"score_j\": 0.2, \"score_k\": [1]}", "line 4: score_k is [1], not a number"),
        (b"{\"score_j\": 0.2, \"score_k\": \"\xff\"}", "line 4 is not UTF-8"),
        (b"{\"score_j\": NaN, \"score_k\"}", "line 4, column 13 is not a JSON object: expected value"),
    ];
    for (bad, message) in cases {
        let mut input = format!("{good}\n{good}").into_bytes();
        input.extend_from_slice(bad);
        input.extend_from_slice(format!("\n{good}").as_bytes());
        let output = label(&[], &input);
        assert_eq!(output.status.code(), Some(1), "{message}");
        let said = stderr(&output);
        assert!(said.starts_with(&format!("error: {message}")) && said.lines().count() == 1, "{said}\n{message}");
        assert_eq!(rows(&output).len(), 2, "the rows before it are written: {message}");
    }
}

#[test]
fn bad_thresholds_are_named() {
    let said = |arguments: &[&str]| {
        let output = label(arguments, "{\"score_j\": 0.9, \"score_k\": 0.1}\n");
        assert!(!output.status.success() && output.stdout.is_empty());
        stderr(&output).to_owned()
    };
    let crossed = "error: tau_low is 0.6, over tau_high, which is 0.55: lower tau_low or raise tau_high";
    assert_eq!(said(&["--tau-low", "0.6"]), crossed);
    assert!(said(&["--tau-delta", "NaN"]).starts_with("error: tau_delta is NaN: "));
    assert!(said(&["--tau-low", "-0.5"]).starts_with("error: tau_low is -0.5: "));
}

#[test]
fn a_row_comes_out_before_the_next_goes_in() {
    let mut child = start(&[]);
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for id in 0..3 {
        writeln!(stdin, "{{\"id\": {id}, \"score_j\": 0.9, \"score_k\": 0.1}}").unwrap();
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("{{\"id\":{id},")), "{line}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_pipe_is_not_an_error() {
    let mut child = start(&[]);
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        // More than the buffers of pipes; ends when the program has ended.
        let row = "{\"score_j\": 0.9, \"score_k\": 0.1}\n".repeat(1000);
        while stdin.write_all(row.as_bytes()).is_ok() {}
    });
    let mut first = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut first).unwrap();
    drop(stdout);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "");
    feeder.join().unwrap();
}
