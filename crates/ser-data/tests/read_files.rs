//! Whole files: real ones where they are at hand, and every kind of bad input.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::{Path, PathBuf};

use ser_core::{PairSource, RawText, Side};
use ser_data::{DataError, Layout, OnBadRow, PreferenceFile, ReadSettings, SplitPart, SplitSettings, blind, split};

/// A file of real data beside the workspace, or a word on stderr that it is not there.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
    if !path.exists() {
        eprintln!("skipped: {} is not there", path.display());
        return None;
    }
    Some(path)
}

fn file(name: &str, bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

fn read(path: &Path, on_bad_row: OnBadRow) -> Result<(usize, ser_data::ReadSummary), DataError> {
    let settings = ReadSettings { on_bad_row, ..ReadSettings::default() };
    let (all, summary) = PreferenceFile::open(path, &settings)?.read_all()?;
    Ok((all.len(), summary))
}

#[test]
fn hh_harmless_test_is_read_whole() {
    let Some(path) = shared("data/hh-rlhf-harmless-base-test.jsonl.gz") else { return };
    let mut source = PreferenceFile::open(&path, &ReadSettings::default()).unwrap();
    let mut all = Vec::new();
    loop {
        let next = source.next_preferences(500).unwrap();
        if next.is_empty() {
            break;
        }
        all.extend(next);
    }
    assert_eq!((all.len(), source.layout()), (2312, Some(Layout::HhRlhf)));
    let summary = source.summary();
    assert_eq!((summary.prompts_differ, summary.blank_answers, summary.skipped), (5, 4, 0));

    let mut lines = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(std::fs::File::open(&path).unwrap()), &mut lines)
        .unwrap();
    let mut written_out = 0;
    for (number, (line, preference)) in lines.lines().zip(&all).enumerate() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let pair = &preference.pair;
        assert_eq!((pair.id.0, preference.preferred), (number as u64, Side::A));
        let [a, b] = pair.raw_texts().unwrap();
        assert_eq!((a.as_ref(), b.as_ref()), (row["chosen"].as_str().unwrap(), row["rejected"].as_str().unwrap()));
        written_out += u32::from(!a.trim_end().ends_with(pair.response(Side::A)));
        assert!(pair.prompt.windows(2).all(|turns| turns[0].role != turns[1].role), "row {number} alternates");
    }

    assert!(written_out <= 5, "only answers after differing prompts are written out anew: {written_out}");

    // The same prompts stay together, and the parts are what they should be.
    let parts = split(all.iter().map(|p| p.pair.as_ref()), &SplitSettings::default()).unwrap();
    let sizes = SplitPart::ALL.map(|part| parts.size(part));
    for (size, share) in sizes.into_iter().zip([0.27, 0.0702, 0.01755, 0.49725, 0.045, 0.1]) {
        assert!((size as f64 - share * 2312.0).abs() <= 3.0, "{sizes:?}");
    }
    let pool: Vec<_> = parts.select(&all, SplitPart::Pool).cloned().collect();
    let (pairs, gold) = blind(&pool, 0).unwrap();
    let first = pairs.iter().filter(|pair| gold.reveal_for_audit(pair.id) == Some(Side::A)).count();
    assert!((first as f64 / pairs.len() as f64 - 0.5).abs() < 0.06, "{first} of {}", pairs.len());
}

#[test]
fn lines_gzip_and_array_give_the_same_pairs() {
    let row = |i: usize| format!(r#"{{"prompt": "q{i}", "chosen": "good", "rejected": "bad", "margin": {i}}}"#);
    let rows: Vec<String> = (0..5).map(row).collect();
    let lines = rows.join("\n");
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(lines.as_bytes()).unwrap();
    let array = format!("[\n{}\n]\n", rows.join(",\n"));
    let all = [lines.clone().into_bytes(), gz.finish().unwrap(), array.into_bytes()].map(|bytes| {
        let (_folder, path) = file("pairs", &bytes);
        PreferenceFile::open(&path, &ReadSettings::default()).unwrap().read_all().unwrap()
    });
    assert_eq!(all[0].0.len(), 5);
    assert_eq!((all[0].0[3].margin, &all[0].0[3].pair.raw), (Some(3.0), &RawText::Joined));
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0], all[2]);
}

const GOOD: &str = r#"{"prompt": "q", "chosen": "good", "rejected": "bad"}"#;

#[test]
fn an_error_is_told_once() {
    let (_folder, path) = file("pairs.jsonl", b"{}\n");
    let mut source = PreferenceFile::open(&path, &ReadSettings::default()).unwrap();
    assert!(source.next_preference().is_err());
    assert_eq!(source.next_preference().unwrap(), None);
}

#[test]
fn bad_rows_stop_with_file_and_line() {
    for (bad, words) in [
        (r#"{"prompt": "q", "chosen": "good""#, "no valid JSON: EOF while parsing an object at column 32"),
        (r#"{"prompt": "q", "chosen": "good"}"#, "the row has no `rejected` (its columns: `chosen`, `prompt`)"),
        (r#"{"prompt": "q", "chosen": "", "rejected": "bad"}"#, "the answer in `chosen` is empty"),
        (r#"{"prompt": "q", "chosen": "a", "rejected": 3}"#, "`rejected` is the number 3, but text or a list of"),
        (r#""text""#, "an object with columns is expected, but the row is the text \"text\""),
        (r#"{"prompt": "q", "chosen": "\ud800", "rejected": "bad"}"#, "no valid JSON"),
        ("{\"prompt\": \"\u{0}\"}", "no valid JSON: control character"),
    ] {
        let (_folder, path) = file("pairs.jsonl", format!("{GOOD}\n\n{bad}\n{GOOD}\n").as_bytes());
        let error = read(&path, OnBadRow::Stop).unwrap_err();
        assert!(matches!(error, DataError::Row { line: 3, .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("pairs.jsonl, line 3: ") && said.contains(words), "{said}");
        assert!(said.ends_with("; mend the row, or leave such rows out with --on-bad-row skip"), "{said}");
        assert_eq!(said.lines().count(), 1);

        let (pairs, summary) = read(&path, OnBadRow::Skip).unwrap();
        assert_eq!((pairs, summary.rows, summary.skipped), (2, 3, 1));
        assert_eq!(summary.skipped_rows[0].line, 3);
        assert!(summary.skipped_rows[0].problem.contains(words));
    }
}

#[test]
fn bad_bytes_and_bad_arrays_are_told() {
    let (_folder, path) = file("pairs.jsonl", b"{\"prompt\": \"\xff\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
    assert!(read(&path, OnBadRow::Stop).unwrap_err().to_string().contains("line 1: no valid JSON: invalid unicode"));
    // In an array, the line is that of the fault and not of the element.
    let (_folder, path) = file("pairs.json", format!("[{GOOD},\n{{\"prompt\":\n}}]").as_bytes());
    let error = read(&path, OnBadRow::Stop).unwrap_err().to_string();
    assert!(error.contains("line 3: no valid JSON: expected value"), "{error}");
    let (_folder, path) = file("pairs.json", format!("[{GOOD},\n{GOOD}").as_bytes());
    let error = read(&path, OnBadRow::Skip).unwrap_err().to_string();
    assert!(error.contains("line 2: the file ends before the closing bracket"), "{error}");
}

#[test]
fn files_that_hold_nothing_or_are_not_there() {
    let missing = PreferenceFile::open("/no/such.jsonl", &ReadSettings::default()).unwrap_err();
    assert_eq!(missing.to_string(), "there is no /no/such.jsonl; check the path");
    let (folder, path) = file("pairs.jsonl", b"\n \n");
    assert!(matches!(read(&path, OnBadRow::Stop), Err(DataError::NoRows { .. })));
    assert!(matches!(read(folder.path(), OnBadRow::Stop), Err(DataError::Io { .. })), "a folder is no file");
    let (_folder, path) = file("pairs.jsonl", b"{}\n{}\n");
    let error = read(&path, OnBadRow::Skip).unwrap_err().to_string();
    assert!(
        error.contains("all its 2 rows were left out") && error.contains("no `chosen` (its columns: none)"),
        "{error}"
    );
}

#[test]
fn a_cut_gzip_names_the_file_and_the_line() {
    let rows: Vec<String> = (0..500).map(|i| GOOD.replace("\"q\"", &format!("\"q{}\"", i * 7919 % 1000))).collect();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(rows.join("\n").as_bytes()).unwrap();
    let gz = gz.finish().unwrap();
    let (_folder, path) = file("pairs.jsonl.gz", &gz[..gz.len() / 2]);
    for on_bad_row in [OnBadRow::Stop, OnBadRow::Skip] {
        let error = read(&path, on_bad_row).unwrap_err();
        assert!(matches!(error, DataError::CutShort { line: 2.., .. }), "{error:?}");
        assert!(error.to_string().contains("pairs.jsonl.gz is cut short: its gzip stream ends in line"), "{error}");
    }
}

#[test]
fn later_rows_must_be_dialogues_as_the_first_was() {
    let dialogue = r#"{"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"}"#;
    let (_folder, path) =
        file("hh.jsonl", format!("{dialogue}\n{}\n", r#"{"chosen": "a", "rejected": "b"}"#).as_bytes());
    let error = read(&path, OnBadRow::Stop).unwrap_err().to_string();
    assert!(error.contains("line 2: `chosen` begins with \"a\" and not with \"\\n\\nHuman:\""), "{error}");
}
