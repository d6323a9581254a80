//! The index on disk: its contents, its split, and interrupted builds.

#![cfg(feature = "index")]
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use ser_core::{Context, Control, Event, Preference, Screening, observer_fn};
use ser_data::{
    DataError, PairTokenizer, PreferenceFile, ReadSettings, SplitPart, SplitSettings, TextSettings, TokenIndex, split,
    train_tokenizer,
};

const ROWS: u64 = 9000;

/// A folder with data and a tokenizer.
fn world() -> (tempfile::TempDir, PathBuf, PairTokenizer) {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = String::new();
    for i in 0..ROWS {
        // 3,000 prompts; answers that are equal, blank or long now and then.
        let (a, b) = match i % 100 {
            7 => ("same".to_string(), "same".to_string()),
            8 => (" ".to_string(), "b".to_string()),
            9 => ("word ".repeat(200), "b".to_string()),
            _ => (format!("good {i}"), format!("bad {}", i * 7)),
        };
        let prompt = i % 3000;
        writeln!(lines, r#"{{"prompt": "question {prompt}", "chosen": "{a}", "rejected": "{b}", "margin": {i}}}"#)
            .unwrap();
    }
    let data = folder.path().join("data.jsonl");
    std::fs::write(&data, lines).unwrap();
    let model = folder.path().join("model");
    std::fs::create_dir(&model).unwrap();
    train_tokenizer(["question good bad word same 0123456789"].into_iter(), 300, &model).unwrap();
    let settings = TextSettings { max_length: Some(100), ..TextSettings::default() };
    let tokenizer = PairTokenizer::from_folder(&model, &settings).unwrap();
    (folder, data, tokenizer)
}

fn build(data: &Path, tokenizer: &PairTokenizer, into: &Path) -> TokenIndex {
    TokenIndex::open_or_build(data, tokenizer, &ReadSettings::default(), into, &mut Context::silent()).unwrap()
}

fn preferences(data: &Path) -> Vec<Preference> {
    PreferenceFile::open(data, &ReadSettings::default()).unwrap().read_all().unwrap().0
}

#[test]
fn an_index_has_every_pair_that_fits() {
    let (folder, data, tokenizer) = world();
    let index = build(&data, &tokenizer, &folder.path().join("cache"));
    let mut position = 0;
    for preference in preferences(&data) {
        let pairs = [std::sync::Arc::clone(&preference.pair)];
        if tokenizer.screen_pairs(&pairs).unwrap() != [Screening::Usable] {
            continue;
        }
        let found = index.get(position).unwrap().unwrap();
        assert_eq!(found.tokens, tokenizer.tokenize_pair(&preference.pair).unwrap());
        assert_eq!(
            (found.id, found.preferred, found.margin),
            (preference.pair.id, preference.preferred, preference.margin)
        );
        assert_eq!(index.lengths(position), Some(found.tokens.lengths()));
        position += 1;
    }
    let summary = index.summary();
    assert_eq!((index.len(), summary.identical, summary.empty, summary.too_long), (position, 90, 90, 90));
    assert_eq!((summary.read.rows, summary.lengths.total()), (ROWS, 2 * (ROWS - 90)));
    assert_eq!(index.get(position).unwrap(), None);
    assert!(build(&data, &tokenizer, &folder.path().join("cache")).folder() == index.folder(), "built once");

    // Other settings or other rows are another index.
    let other = ReadSettings { min_score_gap: 1.0, ..ReadSettings::default() };
    let other =
        TokenIndex::open_or_build(&data, &tokenizer, &other, &folder.path().join("cache"), &mut Context::silent())
            .unwrap();
    assert_ne!(other.folder(), index.folder());
}

#[test]
fn its_split_is_that_of_the_pairs_in_memory() {
    let (folder, data, tokenizer) = world();
    let index = build(&data, &tokenizer, &folder.path().join("cache"));
    let all: HashMap<_, _> = preferences(&data).into_iter().map(|p| (p.pair.id, p.pair)).collect();
    let kept: Vec<_> = (0..index.len()).map(|i| index.get(i).unwrap().unwrap().id).collect();
    let pairs: Vec<_> = kept.iter().map(|id| all[id].clone()).collect();
    for seed in 0..3 {
        let settings = SplitSettings { seed, ..SplitSettings::default() };
        let on_disk = index.split(&settings, None).unwrap();
        let in_memory = split(pairs.iter().map(|pair| pair.as_ref()), &settings).unwrap();
        let parts: Vec<_> = (0..index.len()).map(|position| on_disk.part(position).unwrap()).collect();
        assert_eq!(parts, in_memory.parts());
        let mut shuffled: Vec<u64> = on_disk.shuffled(SplitPart::Pool, seed).collect();
        assert_ne!(shuffled, on_disk.indices(SplitPart::Pool).collect::<Vec<_>>());
        shuffled.sort_unstable();
        assert_eq!(shuffled, on_disk.indices(SplitPart::Pool).collect::<Vec<_>>());
    }
    // Prompts of a held-out set are in no part.
    let held_out = folder.path().join("test.jsonl");
    std::fs::write(&held_out, "{\"prompt\": \"question 5\", \"chosen\": \"x\", \"rejected\": \"y\"}\n").unwrap();
    let test = build(&held_out, &tokenizer, &folder.path().join("cache"));
    let on_disk = index.split(&SplitSettings { test: 0.0, ..SplitSettings::default() }, Some(&test)).unwrap();
    assert_eq!(on_disk.held_out(), 3);
    let total: u64 = SplitPart::ALL.iter().map(|part| on_disk.size(*part)).sum();
    assert_eq!(total + 3, index.len());
}

#[test]
fn a_build_that_is_interrupted_ends_as_one_that_is_not() {
    let (folder, data, tokenizer) = world();
    let whole = build(&data, &tokenizer, &folder.path().join("whole"));
    let cache = folder.path().join("interrupted");
    let mut stops = 0;
    let index = loop {
        let mut chunks = 0;
        let mut observer = observer_fn(|event| {
            chunks += u32::from(matches!(event, Event::Advanced { .. }));
            if chunks == 1 { Control::Stop } else { Control::Continue }
        });
        let mut cx = Context::new("index", &mut observer);
        match TokenIndex::open_or_build(&data, &tokenizer, &ReadSettings::default(), &cache, &mut cx) {
            Ok(index) => break index,
            Err(DataError::Stopped { folder }) => {
                stops += 1;
                // A crash leaves more data than the checkpoint records.
                for name in ["tokens.bin", "pairs.bin"] {
                    let mut file = std::fs::OpenOptions::new().append(true).open(folder.join(name)).unwrap();
                    std::io::Write::write_all(&mut file, b"half a reco").unwrap();
                }
                assert!(TokenIndex::open(&folder).is_err(), "an incomplete index is refused");
            }
            Err(other) => panic!("{other}"),
        }
    };
    assert_eq!(stops, 3, "9,000 pairs are three chunks");
    assert_eq!(index.summary(), whole.summary());
    for name in ["tokens.bin", "pairs.bin", "index.json"] {
        let read = |index: &TokenIndex| std::fs::read(index.folder().join(name)).unwrap();
        assert!(read(&index) == read(&whole), "{name}");
    }
    assert_eq!(std::fs::read_dir(index.folder()).unwrap().count(), 3, "nothing else is left");

    let path = whole.folder().join("tokens.bin");
    let folder = whole.folder().to_path_buf();
    drop(whole);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(100).unwrap();
    let error = TokenIndex::open(folder).unwrap_err().to_string();
    assert!(error.contains("tokens.bin is damaged (it has 100 bytes"), "{error}");
}
