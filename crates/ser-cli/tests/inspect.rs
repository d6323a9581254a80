//! `ser inspect`.

#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::process::Output;

use support::ser;

fn inspect(data: &str, arguments: &[&str], home: &Path) -> Output {
    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_HUB_CACHE", "")];
    ser("inspect").arg(data).args(arguments).envs(offline).env("HF_HOME", home).output().unwrap()
}

fn said(output: &[u8]) -> &str {
    std::str::from_utf8(output).unwrap()
}

/// The words after a name at the beginning of a line.
fn value_of<'a>(output: &'a str, name: &str) -> &'a str {
    output.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
}

const ROWS: &str = r#"{"prompt": "q1", "chosen": "longer", "rejected": "b"}
{"prompt": "q1", "chosen": "longer", "rejected": "b"}
{"prompt": "q1", "chosen": "b", "rejected": "longer"}
{"prompt": "q2", "chosen": "a", "rejected": "bb", "margin": 2}
"#;

#[test]
fn a_file_is_described_in_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, ROWS).unwrap();
    let output = inspect(path.to_str().unwrap(), &["--samples", "2"], folder.path());
    assert!(output.status.success(), "{}", said(&output.stderr));
    let text = said(&output.stdout);
    for (name, value) in [
        ("layout", "columns"),
        ("rows ", "4"),
        ("pairs", "4"),
        ("prompts", "2"),
        ("ties", "0"),
        ("duplicates", "1 (25.0 %)"),
        ("contradictions", "1 (25.0 %)"),
        ("chosen is longer", "2 (50.0 %)"),
        ("with a margin", "1 (25.0 %)"),
        ("rows left out", "0 (0.0 %)"),
        ("chosen, chars", "3.5         1         6         6         6"),
    ] {
        assert_eq!(value_of(text, name), value, "{text}");
    }
    assert_eq!(text.matches("  rejected  ").count(), 2, "{text}");
}

#[test]
fn bad_rows_stop_or_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    std::fs::write(&path, format!("{ROWS}{{\"prompt\": \"q\"}}\n")).unwrap();
    let path = path.to_str().unwrap();
    let output = inspect(path, &[], folder.path());
    assert_eq!(output.status.code(), Some(1));
    let error = said(&output.stderr);
    assert!(error.contains("rows.jsonl, line 5: the row has no `chosen` (its columns: `prompt`)"), "{error}");
    let output = inspect(path, &["--on-bad-row", "skip"], folder.path());
    let text = said(&output.stdout);
    assert_eq!(value_of(text, "rows left out"), "1 (20.0 %)");
    assert!(text.contains("rows.jsonl, line 5: the row has no `chosen`"), "{text}");
    let error = inspect(path, &["--layout", "csv"], folder.path());
    assert!(said(&error.stderr).contains("there is no layout `csv`"));
}

#[test]
fn cached_repositories_are_read_offline() {
    let home = tempfile::tempdir().unwrap();
    let repository = home.path().join("hub/datasets--owner--pairs");
    let snapshot = repository.join("snapshots/abc/data");
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(repository.join("refs")).unwrap();
    std::fs::write(repository.join("refs/main"), "abc").unwrap();
    std::fs::write(snapshot.join("train.jsonl"), ROWS).unwrap();
    std::fs::write(snapshot.join("test.jsonl"), "").unwrap();
    let output = inspect("hf://owner/pairs", &["--split", "train"], home.path());
    assert_eq!(value_of(said(&output.stdout), "pairs"), "4", "{}", said(&output.stderr));
    let output = inspect("hf://owner/pairs", &[], home.path());
    assert!(said(&output.stderr).contains("has several splits (test, train)"), "{}", said(&output.stderr));
    let output = inspect("hf://owner/none", &[], home.path());
    assert!(said(&output.stderr).contains("owner/none is not in the cache"), "{}", said(&output.stderr));
}
