//! Whole files: real ones where they are available, and every kind of bad input.

#![allow(clippy::unwrap_used)]

mod support;

use approx::assert_abs_diff_eq;
use std::io::Write;
use std::path::{Path, PathBuf};

use ser_core::{PairSource, RawText, Side};
use ser_data::{
    DataError, Layout, OnBadRow, PreferenceFile, ReadSettings, RowPosition, SplitPart, SplitSettings, blind, split,
};
use support::shared;

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
    assert!(summary.turns_joined > 0 && summary.turns_joined <= 13, "{summary:?}");

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
        assert_abs_diff_eq!(size as f64, share * 2312.0, epsilon = 3.0);
    }
    let pool: Vec<_> = parts.select(&all, SplitPart::Pool).cloned().collect();
    let (pairs, gold) = blind(&pool, 0).unwrap();
    let first = pairs.iter().filter(|pair| gold.reveal_for_audit(pair.id) == Some(Side::A)).count();
    assert_abs_diff_eq!(first as f64 / pairs.len() as f64, 0.5, epsilon = 0.06);
}

#[test]
fn judged_sets_are_read_to_their_counts() {
    for (name, layout, rows, pairs, ties) in [
        ("pandalm-testset-v1.json.gz", Layout::PandaLm, 999, 894, 105),
        ("autoj-pairwise.jsonl.gz", Layout::AutoJ, 1392, 1019, 373),
        ("llamafactory-dpo-en-demo.json.gz", Layout::LlamaFactory, 300, 300, 0),
    ] {
        let Some(path) = shared(&format!("data/{name}")) else { return };
        let mut source = PreferenceFile::open(&path, &ReadSettings::default()).unwrap();
        while source.next_preference().unwrap().is_some() {}
        let summary = source.summary();
        assert_eq!((source.layout(), summary.rows, summary.pairs, summary.ties), (Some(layout), rows, pairs, ties));
    }
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
fn an_error_is_returned_once() {
    let (_folder, path) = file("pairs.jsonl", b"{}\n");
    let mut source = PreferenceFile::open(&path, &ReadSettings::default()).unwrap();
    assert!(source.next_preference().is_err());
    assert_eq!(source.next_preference().unwrap(), None);
}

#[test]
fn bad_rows_stop_with_file_and_line() {
    for (bad, words) in [
        (r#"{"prompt": "q", "chosen": "good""#, "invalid JSON: EOF while parsing an object at column 32"),
        (r#"{"prompt": "q", "chosen": "good"}"#, "the row has no `rejected` (its columns: `prompt`, `chosen`)"),
        // Names of columns may contain anything.
        (r#"{"prompt\n": "q", "chosen": "good"}"#, r"the row has no `rejected` (its columns: `prompt\n`, `chosen`)"),
        (r#"{"prompt": "q", "chosen": "", "rejected": "bad"}"#, "the answer in `chosen` is empty"),
        (r#"{"prompt": "q", "chosen": "a", "rejected": {}}"#, "`rejected` is an object, but text or a list of"),
        (r#""text""#, "an object with columns is expected, but the row is the text \"text\""),
        (r#"{"prompt": "q", "chosen": "\ud800", "rejected": "bad"}"#, "contains half of a character (a \\u escape of"),
        (r#"{"prompt": "q", "chosen": "\ud83d end", "rejected": "bad"}"#, "the text at column 34 contains half of a"),
        (r#"{"prompt": "q", "chosen": "\ude00", "rejected": "bad"}"#, "contains half of a character"),
        ("{\"prompt\": \"\u{0}\"}", "invalid JSON: control character"),
    ] {
        let (_folder, path) = file("pairs.jsonl", format!("{GOOD}\n\n{bad}\n{GOOD}\n").as_bytes());
        let error = read(&path, OnBadRow::Stop).unwrap_err();
        assert!(matches!(error, DataError::Row { position: RowPosition::Line(3), .. }), "{error:?}");
        let said = error.to_string();
        assert!(said.contains("pairs.jsonl, line 3: ") && said.contains(words), "{said}");
        assert!(said.ends_with("; correct the row, or leave such rows out with --on-bad-row skip"), "{said}");
        assert_eq!(said.lines().count(), 1);

        let (pairs, summary) = read(&path, OnBadRow::Skip).unwrap();
        assert_eq!((pairs, summary.rows, summary.skipped), (2, 3, 1));
        assert_eq!((summary.skipped_rows[0].position, &summary.skipped_rows[0].file), (RowPosition::Line(3), &path));
        assert!(summary.skipped_rows[0].problem.contains(words));
    }
}

#[test]
fn bad_bytes_and_bad_arrays_are_errors() {
    let (_folder, path) = file("pairs.jsonl", b"{\"prompt\": \"\xff\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
    assert!(read(&path, OnBadRow::Stop).unwrap_err().to_string().contains("line 1: invalid JSON: invalid unicode"));
    // In an array, the line is that of the fault and not of the element.
    let (_folder, path) = file("pairs.json", format!("[{GOOD},\n{{\"prompt\":\n}}]").as_bytes());
    let error = read(&path, OnBadRow::Stop).unwrap_err().to_string();
    assert!(error.contains("line 3: invalid JSON: expected value"), "{error}");
    let (_folder, path) = file("pairs.json", format!("[{GOOD},\n{GOOD}").as_bytes());
    let error = read(&path, OnBadRow::Skip).unwrap_err().to_string();
    assert!(error.contains("line 2: the file ends before the closing bracket"), "{error}");
}

#[test]
fn empty_and_missing_files() {
    let missing = PreferenceFile::open("/no/such.jsonl", &ReadSettings::default()).unwrap_err();
    assert_eq!(missing.to_string(), "there is no /no/such.jsonl; check the path");
    let (folder, path) = file("pairs.jsonl", b"\n \n");
    assert!(matches!(read(&path, OnBadRow::Stop), Err(DataError::NoRows { .. })));
    let error = read(folder.path(), OnBadRow::Stop).unwrap_err().to_string();
    assert!(
        error.ends_with("pairs.jsonl has no rows; give a file with one pair per line") || error.contains("has no rows"),
        "{error}"
    );
    assert!(matches!(read(tempfile::tempdir().unwrap().path(), OnBadRow::Stop), Err(DataError::NoDataFiles { .. })));
    let (_folder, path) = file("pairs.jsonl", b"{}\n{}\n");
    let error = read(&path, OnBadRow::Skip).unwrap_err().to_string();
    assert!(
        error.contains("none of its 2 rows gives one")
            && error.contains("(line 1) because the row has no `chosen` (its"),
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
        assert!(
            error.to_string().contains("pairs.jsonl.gz is cut short: its compressed stream ends in line"),
            "{error}"
        );
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

#[test]
fn shards_are_one_file_in_the_order_of_their_names() {
    let row = |i: usize| format!("{{\"prompt\": \"q{i}\", \"chosen\": \"good\", \"rejected\": \"bad\"}}\n");
    let folder = tempfile::tempdir().unwrap();
    let shard = |name: &str, rows: std::ops::Range<usize>| {
        std::fs::write(folder.path().join(name), rows.map(row).collect::<String>()).unwrap();
    };
    shard("part-2.jsonl", 60..100);
    shard("part-1.jsonl", 0..60);
    shard("empty.jsonl", 0..0);
    let (_whole, path) = file("all.jsonl", (0..100).map(row).collect::<String>().as_bytes());
    let all = |path: &Path| PreferenceFile::open(path, &ReadSettings::default()).unwrap().read_all().unwrap();
    let (whole, _) = all(&path);
    let (shards, summary) = all(folder.path());
    assert_eq!((&shards, summary.files, summary.rows), (&whole, 3, 100));
    assert_eq!(all(&folder.path().join("part-*.jsonl")).0, whole);

    // The split depends on nothing but prompts and seed: not on containers, nor on which shard comes first.
    let parts = |all: &[ser_core::Preference]| {
        let split = split(all.iter().map(|p| p.pair.as_ref()), &SplitSettings::default()).unwrap();
        let mut parts: Vec<_> =
            all.iter().zip(split.parts()).map(|(p, part)| (p.pair.prompt[0].content.clone(), *part)).collect();
        parts.sort();
        parts
    };
    std::fs::rename(folder.path().join("part-1.jsonl"), folder.path().join("part-3.jsonl")).unwrap();
    let (turned, _) = all(folder.path());
    assert_ne!(turned, whole);
    assert_eq!(parts(&turned), parts(&whole));
}

#[test]
fn a_row_without_end_costs_no_more_than_the_limit() {
    // 100 MB in one field, and a gzip bomb: 300 MB of zeros in 300 kB.
    let long = format!("{GOOD}\n{{\"prompt\": \"{}\"}}\n{GOOD}\n", "x".repeat(100 << 20));
    let (_folder, path) = file("long.jsonl", long.as_bytes());
    let error = read(&path, OnBadRow::Stop).unwrap_err().to_string();
    assert!(error.contains("line 2: the row is longer than 67108864 bytes (setting max_row_bytes)"), "{error}");
    assert_eq!(read(&path, OnBadRow::Skip).unwrap().0, 2);

    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..300 {
        bomb.write_all(&[b'\n'; 1 << 20]).unwrap();
    }
    let (_folder, path) = file("bomb.jsonl.gz", &bomb.finish().unwrap());
    for on_bad_row in [OnBadRow::Stop, OnBadRow::Skip] {
        let error = read(&path, on_bad_row).unwrap_err().to_string();
        assert!(error.contains("bomb.jsonl.gz unpacks to more than 500 times its size (line"), "{error}");
    }
}

#[test]
fn nulls_types_and_mixed_layouts_are_rows_that_cannot_be_used() {
    let scored = r#"{"question": "q", "answers": [{"text": "a", "pm_score": 1}, {"text": "b", "pm_score": 2}]}"#;
    for bad in [
        r#"{"question": null, "answers": []}"#,
        r#"{"question": "q", "answers": [{"text": null, "pm_score": 1}]}"#,
        r#"{"question": "q", "answers": [{"text": "a", "pm_score": "high"}]}"#,
        r#"{"question": "\udc00", "answers": []}"#,
        GOOD,
    ] {
        let (_folder, path) = file("mixed.jsonl", format!("{scored}\n{bad}\n").as_bytes());
        let error = read(&path, OnBadRow::Stop).unwrap_err().to_string();
        assert!(error.contains("mixed.jsonl, line 2: "), "{error}");
        let (pairs, summary) = read(&path, OnBadRow::Skip).unwrap();
        assert_eq!((pairs, summary.skipped), (1, 1));
    }
}

#[cfg(feature = "zstd")]
#[test]
fn a_zstd_bomb_meets_the_same_limit() {
    let mut bomb = zstd::Encoder::new(Vec::new(), 19).unwrap();
    bomb.write_all(format!("{GOOD}\n").as_bytes()).unwrap();
    for _ in 0..300 {
        bomb.write_all(&[b'x'; 1 << 20]).unwrap();
    }
    let (_folder, path) = file("bomb.jsonl.zst", &bomb.finish().unwrap());
    let error = read(&path, OnBadRow::Skip).unwrap_err().to_string();
    assert!(error.contains("bomb.jsonl.zst unpacks to more than 500 times its size (line 3)"), "{error}");
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_gives_the_same_rows() {
    let lines: String =
        (0..300).map(|i| format!("{}\n", GOOD.replace("\"q\"", &format!("\"q{}\"", i * 7919 % 1000)))).collect();
    let packed = zstd::encode_all(lines.as_bytes(), 3).unwrap();
    let (_folder, path) = file("pairs.jsonl.zst", &packed);
    assert_eq!(read(&path, OnBadRow::Stop).unwrap().0, 300);
    let (_folder, path) = file("pairs.jsonl.zst", &packed[..packed.len() / 2]);
    let error = read(&path, OnBadRow::Skip).unwrap_err().to_string();
    assert!(error.contains("pairs.jsonl.zst is cut short"), "{error}");
    let mut damaged = packed.clone();
    damaged[10] ^= 0xff;
    let (_folder, path) = file("pairs.jsonl.zst", &damaged);
    let error = read(&path, OnBadRow::Skip).unwrap_err().to_string();
    assert!(error.contains("pairs.jsonl.zst is damaged"), "{error}");
}

#[cfg(feature = "parquet")]
#[test]
fn a_parquet_file_that_is_cut_or_damaged_is_named() {
    let whole =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/layouts/hh_rlhf.parquet")).unwrap();
    for cut in [4, 5, 12, whole.len() / 2, whole.len() - 1] {
        let (_folder, path) = file("pairs.parquet", &whole[..cut]);
        let error = read(&path, OnBadRow::Skip).unwrap_err().to_string();
        assert!(error.contains("pairs.parquet is not a readable parquet file ("), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
    // A byte that flips somewhere gives an error or other rows, and never more.
    for at in (4..whole.len()).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1 << (at % 8);
        let (_folder, path) = file("pairs.parquet", &damaged);
        drop(read(&path, OnBadRow::Skip));
    }
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_files_that_cannot_be_read_are_errors_with_the_row() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/parquet");
    for (name, words) in [
        ("bad-brotli", "bad-brotli.parquet is a brotli-compressed parquet file, which cannot be read; write it again"),
        ("bad-utf8", "bad-utf8.parquet is damaged at row 2 (a text is not UTF-8); fetch"),
        ("bad-bomb", "bad-bomb.parquet unpacks to more than 500 times its size (row 1); raise max_expansion"),
    ] {
        let error = read(&golden.join(format!("{name}.parquet")), OnBadRow::Skip).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.lines().count() == 1 && error.len() < 400, "{error}");
    }
    // Bytes that are not text are an error of the row, and decimals are numbers.
    let path = golden.join("bad-bytes.parquet");
    let error = read(&path, OnBadRow::Stop).unwrap_err().to_string();
    assert!(error.contains("bad-bytes.parquet, row 2: `chosen` is bytes that are not UTF-8, but text"), "{error}");
    let skip = ReadSettings { on_bad_row: OnBadRow::Skip, ..ReadSettings::default() };
    let (pairs, summary) = PreferenceFile::open(&path, &skip).unwrap().read_all().unwrap();
    assert_eq!(pairs.iter().map(|pair| pair.margin).collect::<Vec<_>>(), [None, Some(-1.25)]);
    assert_eq!((summary.rows, summary.skipped_rows[0].position), (3, RowPosition::Row(2)));

    // Forty bytes are overwritten, one position after another: what comes before is read, and the row is named.
    let whole = std::fs::read(golden.join("none.parquet")).unwrap();
    let mut positions = std::collections::BTreeSet::new();
    for at in (4..whole.len() - 1500).step_by(40) {
        let mut damaged = whole.clone();
        damaged[at..at + 40].fill(0xff);
        let (_folder, path) = file("pairs.parquet", &damaged);
        if let Err(error) = read(&path, OnBadRow::Stop) {
            assert_eq!(error.to_string().lines().count(), 1, "{error}");
            if let DataError::Damaged { position, .. } = error {
                positions.insert(position);
            }
        }
    }
    // The row groups begin at rows 1, 3 and 5.
    assert!([1, 3, 5].iter().all(|row| positions.contains(&RowPosition::Row(*row))), "{positions:?}");
}
