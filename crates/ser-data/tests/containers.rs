//! Files with rows in other formats than JSON lines, and files without rows.

#![allow(clippy::unwrap_used)]

use std::io::Write;

use ser_data::{DataError, Layout, OnBadRow, PreferenceFile, ReadSettings, ReadSummary, RowPosition};

/// Prompt, chosen and rejected of every pair, and the summary.
type Read = (Vec<[String; 3]>, ReadSummary);

fn read_with(name: &str, bytes: &[u8], settings: &ReadSettings) -> Result<Read, DataError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    let (pairs, summary) = PreferenceFile::open(&path, settings)?.read_all()?;
    let texts = pairs.iter().map(|p| {
        let prompt: String = p.pair.prompt.iter().map(|turn| turn.content.as_str()).collect();
        [prompt, p.chosen().to_string(), p.rejected().to_string()]
    });
    Ok((texts.collect(), summary))
}

fn read(name: &str, bytes: &[u8]) -> Result<Read, DataError> {
    read_with(name, bytes, &ReadSettings::default())
}

fn skip() -> ReadSettings {
    ReadSettings { on_bad_row: OnBadRow::Skip, ..ReadSettings::default() }
}

fn error(name: &str, bytes: &[u8]) -> String {
    let said = read(name, bytes).unwrap_err().to_string();
    assert_eq!(said.lines().count(), 1, "{said}");
    said
}

fn rows(texts: &[[&str; 3]]) -> Vec<[String; 3]> {
    texts.iter().map(|three| three.map(str::to_string)).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

#[test]
fn tables_give_the_rows_of_their_lines() {
    let expected = rows(&[["q, or not", "a \"quoted\"", "b\nnew line"], ["naïve 猫", "a", "b"]]);
    let comma = "prompt,chosen,rejected\r\n\"q, or not\",\"a \"\"quoted\"\"\",\"b\nnew line\"\r\n\r\nnaïve 猫,a,b\r\n";
    let semicolon =
        comma.replace("\",\"", "\";\"").replace("t,c", "t;c").replace("n,r", "n;r").replace("猫,a,b", "猫;a;b");
    let tab = semicolon.replace(';', "\t");
    for (name, text) in [("a.csv", comma), ("a.CSV", &semicolon), ("a.tsv", &tab), ("a.csv", &tab)] {
        assert_eq!(read(name, text.as_bytes()).unwrap().0, expected, "{name}: {text}");
        let marked = format!("\u{feff}{text}");
        assert_eq!(read(name, marked.as_bytes()).unwrap().0, expected, "with a byte order mark, {name}");
        let utf16: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read(name, &utf16).unwrap().0, expected, "UTF-16, {name}");
        assert_eq!(read(&format!("{name}.gz"), &gzip(text.as_bytes())).unwrap().0, expected, "{name}.gz");
    }
    // As pandas writes: row numbers without a name, numbers, gaps.
    let pandas = ",prompt,chosen,rejected,score_chosen,score_rejected,margin\n0,q,4,5,8.0,6.5,\n1,q,a,b,7.0,7.0,1.5\n";
    let (found, summary) = read("a.csv", pandas.as_bytes()).unwrap();
    assert_eq!((found, summary.ties, summary.values_as_text), (rows(&[["q", "4", "5"]]), 1, 0));
}

#[test]
fn cells_contain_lists_as_json() {
    let say = |text: &str| {
        format!(
            r#""[{{""role"": ""user"", ""content"": ""q""}}, {{""role"": ""assistant"", ""content"": ""{text}""}}]""#
        )
    };
    let table = format!("chosen,rejected\n{},{}\n", say("a"), say("b"));
    assert_eq!(read("a.csv", table.as_bytes()).unwrap().0, rows(&[["q", "a", "b"]]));
    // A list that is not a conversation is a text.
    assert_eq!(
        read("a.csv", b"prompt,chosen,rejected\nq,\"[1, 2]\",[3]\n").unwrap().0,
        rows(&[["q", "[1, 2]", "[3]"]])
    );
    let arena = "id,prompt,response_a,response_b,winner_model_a,winner_model_b,winner_tie\n\
                 1,\"[\"\"q\"\"]\",\"[\"\"a\"\"]\",\"[\"\"b\"\"]\",0,1,0\n";
    assert_eq!(read("train.csv", arena.as_bytes()).unwrap().0, rows(&[["q", "b", "a"]]));
    let scored = "instruction,completions\nq,\"[{\"\"response\"\": \"\"a\"\", \"\"overall_score\"\": 1}, \
                  {\"\"response\"\": \"\"b\"\", \"\"overall_score\"\": \"\"2\"\"}]\"\n";
    assert_eq!(read("a.csv", scored.as_bytes()).unwrap().0, rows(&[["q", "b", "a"]]));
    let python = "prompt,chosen,rejected\nq,\"[{'role': 'assistant', 'content': 'a'}]\",b\n";
    assert!(error("a.csv", python.as_bytes()).contains("a.csv, line 2: `chosen` has messages as Python prints them"));
}

#[test]
fn faults_of_tables_are_named() {
    for (text, said) in [
        ("", "has no rows"),
        ("\n\n", "has no rows"),
        ("prompt,chosen,rejected\n", "has no rows"),
        ("prompt,chosen,chosen\nq,a,b\n", "line 1: the header names the column `chosen` twice; write the table again"),
        ("prompt,chosen,rejected\nq,a\n", "line 2: the row has 2 fields, but the header names 3; correct the row"),
        ("prompt,chosen,rejected\nq,\"a\nb\",c\nq,a,b,c\n", "line 4: the row has 4 fields, but the header names 3"),
        ("prompt,chosen\nq,a\n", "line 2: the row has no `rejected` (its columns: `prompt`, `chosen`)"),
        ("prompt,chosen,rejected\nq,\"a,b\nq,c,d\n", "line 2: its quotes do not pair up by the file's end"),
        ("prompt,chosen,rejected\nq,a,b\nq,a,\"cut", "line 3: its quotes do not pair up by the file's end"),
        ("prompt,chosen,rejected\nq,,b\n", "line 2: the answer in `chosen` is empty"),
    ] {
        let found = error("a.csv", text.as_bytes());
        assert!(found.contains(said), "{text:?}: {found}");
    }
    let latin1 = b"prompt,chosen,rejected\nq,caf\xe9,b\nq,a,b\n";
    assert!(error("a.csv", latin1).contains("line 2: `chosen` is not UTF-8"));
    let (found, summary) = read_with("a.csv", latin1, &skip()).unwrap();
    assert_eq!((found, summary.rows, summary.skipped), (rows(&[["q", "a", "b"]]), 2, 1));
    let (found, summary) = read_with("a.csv", b"prompt,chosen,rejected\nq\nq,a,b\n", &skip()).unwrap();
    assert_eq!((found.len(), summary.skipped_rows[0].position), (1, RowPosition::Line(2)));
}

#[test]
fn a_table_row_without_end_costs_no_more_than_the_limit() {
    let settings = ReadSettings { max_row_bytes: 1000, ..skip() };
    let header = "prompt,chosen,rejected\n";
    let long = format!("{header}q,\"{}\",b\nq,a,b\n", "x".repeat(2000));
    let (found, summary) = read_with("a.csv", long.as_bytes(), &settings).unwrap();
    assert_eq!((found.len(), summary.skipped), (1, 1));
    assert!(summary.skipped_rows[0].problem.contains("the row is longer than 1000 bytes"));
    let open = format!("{header}q,a,b\nq,\"{}", "x\n".repeat(1 << 20));
    let error = read_with("a.csv", open.as_bytes(), &settings).unwrap_err().to_string();
    assert!(
        error.contains("line 3: a row is longer than 1000 bytes (setting max_row_bytes), possibly because a quote"),
        "{error}"
    );
}

#[test]
fn objects_over_several_lines_and_wrapped_arrays_are_read() {
    let expected = rows(&[["q}", "a{\"", "b"], ["q2", "a", "b"]]);
    let first = "{\n  \"prompt\": \"q}\",\n  \"chosen\": \"a{\\\"\",\n  \"rejected\": \"b\"\n}\n";
    let second = "{\"prompt\": \"q2\",\n \"chosen\": \"a\", \"rejected\": \"b\"}";
    for text in [
        format!("{first}{second}"),
        format!("\n{first}\n\n{second}\n"),
        format!("{{\"version\": 1, \"about\": {{\"data\": [1]}}, \"data\": [{first}, {second}]}}"),
        format!("{{\n \"data\": [\n{first}, {second}\n ],\n \"license\": \"]}}\"\n}}\n"),
    ] {
        let (found, summary) = read("a.json", text.as_bytes()).unwrap();
        assert_eq!((found, summary.rows), (expected.clone(), 2), "{text}");
    }
    let bad = format!("{first}{{\n \"prompt\": \"q\",\n \"chosen\": oops\n}}\n{second}");
    assert!(error("a.json", bad.as_bytes()).contains("a.json, line 8: invalid JSON: expected value"));
    assert_eq!(read_with("a.json", bad.as_bytes(), &skip()).unwrap().0, expected);
    for (text, said) in [
        (
            format!("{first}{{\n \"prompt\": \"q\""),
            "line 7: the file ends before the closing brace; it may be cut short",
        ),
        (format!("{{\"data\": [{first}"), "the file ends before the closing bracket; it may be cut short"),
        (format!("{{\"data\": [{first}]"), "the file ends before the closing bracket; it may be cut short"),
        (format!("{{\"data\": [{first}]}} {{}}"), "something follows the closing brace"),
        (format!("{first}]{second}"), "an object is missing"),
    ] {
        let found = error("a.json", text.as_bytes());
        assert!(found.contains(said), "{text}: {found}");
    }
}

#[test]
fn utf16_is_read_in_every_container() {
    let json = "{\"prompt\": \"q é 😀\", \"chosen\": \"a\", \"rejected\": \"b\"}\r\n";
    let expected = rows(&[["q é 😀", "a", "b"]]);
    for text in [format!("\u{feff}{json}"), format!("\u{feff}[{json}]"), json.to_string()] {
        let of = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for bytes in [of(u16::to_le_bytes), of(u16::to_be_bytes)] {
            assert_eq!(read("a.jsonl", &bytes).unwrap().0, expected, "{text}");
            assert_eq!(read("a.jsonl.gz", &gzip(&bytes)).unwrap().0, expected, "{text}");
        }
    }
    let mut cut: Vec<u8> = json.encode_utf16().flat_map(u16::to_le_bytes).collect();
    cut.pop();
    let said = error("a.jsonl", &cut);
    assert!(
        said.contains("a.jsonl is damaged at line") && said.contains("its UTF-16 ends within a character"),
        "{said}"
    );
}

#[test]
fn files_of_other_formats_are_named() {
    let arrow: &[u8] = b"\xff\xff\xff\xff\x78\x01\0\0\x10\0\0\0";
    for (name, bytes, said) in [
        (
            "data-00000-of-00001.arrow",
            arrow,
            "is an Arrow stream (what save_to_disk of Hugging Face datasets writes), which cannot be read; convert it in Python",
        ),
        (
            "a.arrow",
            b"ARROW1\0\0",
            "a.arrow is an Arrow file, which cannot be read; convert it in Python: datasets.load_from",
        ),
        ("a.jsonl", b"PK\x03\x04...", "is a zip file, which cannot be read; unpack it"),
        ("a.bz2", b"BZh91AY", "is a bzip2 file"),
        (
            "a.jsonl",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "is a Git LFS pointer, which cannot be read; fetch",
        ),
        ("a.json", b"<!doctype html>\n<html>", "is an HTML page, perhaps of a failed download, which cannot be read"),
        ("a.npy", b"\x93NUMPY\x01\0", "is a NumPy file"),
    ] {
        let found = error(name, bytes);
        assert!(found.contains(said), "{found}");
    }
    assert!(error("a.gz", &gzip(arrow)).contains("Arrow stream"));
}

#[test]
fn layouts_without_pairs_are_refused_by_name() {
    for (row, said) in [
        (r#"{"prompt": [{"role": "user", "content": "q"}], "completion": [], "label": true}"#, "its rows are KTO's"),
        (
            r#"{"message_id": "1", "parent_id": null, "text": "q", "role": "prompter", "rank": null}"#,
            "messages of OpenAssistant",
        ),
        (r#"{"prompt": "q", "response": "a", "helpfulness": 3, "correctness": 4}"#, "its rows are HelpSteer's"),
    ] {
        for settings in [ReadSettings::default(), skip()] {
            let found = read_with("a.jsonl", format!("{row}\n").as_bytes(), &settings).unwrap_err();
            assert!(matches!(found, DataError::NotPairs { .. }), "{found:?}");
            assert!(found.to_string().contains(said), "{found}");
        }
    }
    // A layout that is named is read as that.
    let named = ReadSettings { layout: Some(Layout::Columns), ..ReadSettings::default() };
    let row = r#"{"prompt": "q", "completion": "x", "label": true}"#;
    assert!(matches!(read_with("a.jsonl", row.as_bytes(), &named), Err(DataError::Row { .. })));
}

#[test]
fn labels_that_their_scores_contradict_are_counted() {
    let text = [
        r#"{"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": "8.0", "score_rejected": "2.0"}"#,
        r#"{"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 2.0, "score_rejected": 8.0}"#,
        r#"{"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": "N/A", "score_rejected": 8.0}"#,
        r#"{"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": "5", "score_rejected": 5.0}"#,
        r#"{"prompt": "q", "chosen": "a", "rejected": "b", "margin": -3.0}"#,
        r#"{"prompt": "q", "chosen": 4, "rejected": true, "margin": "1.5"}"#,
    ]
    .join("\n");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pairs.jsonl");
    std::fs::write(&path, text).unwrap();
    let scaled = ReadSettings { score_margin: Some(0.1), ..ReadSettings::default() };
    let (pairs, summary) = PreferenceFile::open(&path, &scaled).unwrap().read_all().unwrap();
    let margins: Vec<Option<f64>> = pairs.iter().map(|pair| pair.margin).collect();
    let expected = [Some(0.1 * 6.0), None, None, Some(-3.0), Some(1.5)];
    assert_eq!(margins, expected, "a contradicted score makes no margin; a margin of the data stays");
    assert_eq!((pairs[4].chosen(), pairs[4].rejected()), ("4", "True"));
    assert_eq!(
        (summary.ties, summary.contradicting_scores, summary.negative_margins, summary.values_as_text),
        (1, 1, 1, 1)
    );
    let said = summary.notes().join("\n");
    for words in ["(the label counts): 1", "which contradicts their label: 1", "read as text: 1"] {
        assert!(said.contains(words), "{said}");
    }
}
