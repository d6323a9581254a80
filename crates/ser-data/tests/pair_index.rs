//! The index of pairs on disk: its contents, interrupted builds, and damage.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ser_core::{Context, Control, Event, Preference, PreferenceStore, observer_fn};
use ser_data::{DataError, PairIndex, PreferenceFile, ReadSettings};

const ROWS: u64 = 9000;

/// A folder with data.
fn world() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for i in 0..ROWS {
        let answer = "wörd ".repeat((i % 7) as usize);
        writeln!(lines, r#"{{"prompt": "question {i}", "chosen": "{answer}{i}", "rejected": "no", "margin": {i}}}"#)
            .unwrap();
    }
    let data = folder.path().join("data.jsonl");
    std::fs::write(&data, lines).unwrap();
    (folder, data)
}

fn build(data: &Path, into: &Path) -> Result<PairIndex, DataError> {
    PairIndex::open_or_build(data, &ReadSettings::default(), into, &mut Context::silent())
}

fn preferences(data: &Path) -> Vec<Preference> {
    PreferenceFile::open(data, &ReadSettings::default()).unwrap().read_all().unwrap().0
}

#[test]
fn an_index_has_every_pair_in_any_order() {
    let (folder, data) = world();
    let cache = folder.path().join("cache");
    let index = build(&data, &cache).unwrap();
    let expected = preferences(&data);
    assert_eq!(index.read_range(0..index.len()).unwrap(), expected);
    // Backwards, twice the same, neighbours with gaps, alone.
    for positions in [vec![8999, 4, 3, 3, 0], vec![10, 12, 13, 17, 23, 24], vec![0], (0..9000).step_by(3).collect()] {
        let found = index.read(&positions).unwrap();
        assert!(found.iter().zip(&positions).all(|(found, position)| *found == expected[*position]), "{positions:?}");
        assert_eq!(found.len(), positions.len());
    }
    assert!(index.read(&[]).unwrap().is_empty());
    let error = index.read(&[9000]).unwrap_err().to_string();
    assert_eq!(error, "position 9000 is past the end of an index of 9000 pairs");
    assert_eq!((index.summary().pairs, index.summary().read.rows), (ROWS, ROWS));
}

#[test]
fn an_index_is_built_once_for_the_same_files_and_settings() {
    let (folder, data) = world();
    let cache = folder.path().join("cache");
    let index = build(&data, &cache).unwrap();
    let mut events = 0;
    let mut observer = observer_fn(|_| {
        events += 1;
        Control::Continue
    });
    // Through another name of the same file, too.
    let linked = folder.path().join("sub/../data.jsonl");
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    for name in [&data, &linked] {
        let mut cx = Context::new("index", &mut observer);
        let again = PairIndex::open_or_build(name, &ReadSettings::default(), &cache, &mut cx).unwrap();
        assert_eq!(again.folder(), index.folder());
    }
    assert_eq!(events, 0, "nothing is read again");
    let other = ReadSettings { min_score_gap: 1.0, ..ReadSettings::default() };
    let other = PairIndex::open_or_build(&data, &other, &cache, &mut Context::silent()).unwrap();
    assert_ne!(other.folder(), index.folder());
    let mut text = std::fs::read_to_string(&data).unwrap();
    text.push_str("{\"prompt\": \"more\", \"chosen\": \"a\", \"rejected\": \"b\"}\n");
    std::fs::write(&data, text).unwrap();
    let longer = build(&data, &cache).unwrap();
    assert_eq!(longer.len() as u64, ROWS + 1);
}

#[test]
fn a_build_that_is_interrupted_ends_as_one_that_is_not() {
    let (folder, data) = world();
    let whole = build(&data, &folder.path().join("whole")).unwrap();
    let cache = folder.path().join("interrupted");
    let mut stops = 0;
    let index = loop {
        let mut chunks = 0;
        let mut observer = observer_fn(|event| {
            chunks += u32::from(matches!(event, Event::Advanced { .. }));
            if chunks == 1 { Control::Stop } else { Control::Continue }
        });
        let mut cx = Context::new("index", &mut observer);
        match PairIndex::open_or_build(&data, &ReadSettings::default(), &cache, &mut cx) {
            Ok(index) => break index,
            Err(DataError::Stopped { folder }) => {
                stops += 1;
                // A crash leaves more data than the checkpoint records.
                for name in ["records.bin", "ends.bin"] {
                    let mut file = std::fs::OpenOptions::new().append(true).open(folder.join(name)).unwrap();
                    std::io::Write::write_all(&mut file, b"half a reco").unwrap();
                }
                assert!(PairIndex::open(&folder).is_err(), "an incomplete index is refused");
            }
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(stops, 3, "9,000 pairs are three chunks");
    for name in ["records.bin", "ends.bin", "index.json"] {
        let read = |index: &PairIndex| std::fs::read(index.folder().join(name)).unwrap();
        assert!(read(&index) == read(&whole), "{name}");
    }
    assert_eq!(std::fs::read_dir(index.folder()).unwrap().count(), 3, "nothing else is left");
}

#[test]
fn damage_is_one_sentence_with_file_and_remedy() {
    let (folder, data) = world();
    let index = build(&data, &folder.path().join("cache")).unwrap();
    let records = std::fs::read(index.folder().join("records.bin")).unwrap();
    let ends = std::fs::read(index.folder().join("ends.bin")).unwrap();
    let at = u64::from_le_bytes(ends[12 * 41..][..8].try_into().unwrap()) as usize;
    for (name, bytes, position) in [("records.bin", &records, at + 70), ("ends.bin", &ends, 12 * 42)] {
        let path = index.folder().join(name);
        let mut changed = bytes.clone();
        changed[position] ^= 4;
        std::fs::write(&path, &changed).unwrap();
        // An index that is open, and one that is opened again.
        for index in [&index, &PairIndex::open(index.folder()).unwrap()] {
            let error = index.read(&[42]).unwrap_err().to_string();
            let remedy = "(pair 42 is not as it was written); remove the index's folder to build it again";
            assert!(error.starts_with("the index file ") && error.ends_with(remedy), "{error}");
            assert!(index.read(&[40]).is_ok(), "other pairs are read");
        }
        std::fs::write(&path, bytes).unwrap();
        assert!(index.read(&[42]).is_ok());
    }
    let path = index.folder().join("records.bin");
    std::fs::write(&path, &records[..100]).unwrap();
    let error = PairIndex::open(index.folder()).unwrap_err().to_string();
    assert!(error.contains("records.bin is damaged (it has 100 bytes"), "{error}");
    let error = index.read(&[42]).unwrap_err().to_string();
    assert!(error.starts_with("cannot read ") && error.ends_with("records.bin"), "{error}");
}
