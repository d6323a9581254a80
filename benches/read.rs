//! Reading labelled pairs from files written in a temporary folder. Items are rows, bytes those of the file.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use divan::{
    Bencher,
    counter::{BytesCount, ItemsCount},
};
use ser_data::corpus::{CorpusSettings, generate};
use ser_data::{PreferenceFile, PreferenceWriter, ReadSettings};

const ROWS: usize = 20_000;

fn main() {
    divan::main();
}

fn write(path: &Path) {
    let settings = CorpusSettings { pairs: ROWS, test_pairs: 0, ..CorpusSettings::default() };
    let mut writer = PreferenceWriter::create(path).unwrap();
    for preference in &generate(&settings).unwrap().train.preferences {
        writer.write(preference).unwrap();
    }
    writer.finish().unwrap();
}

#[divan::bench(args = ["pairs.jsonl", "pairs.jsonl.gz", "pairs.parquet"], sample_count = 10)]
fn read(bencher: Bencher<'_, '_>, name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    write(&path);
    let bytes = std::fs::metadata(&path).unwrap().len();
    bencher
        .counter(ItemsCount::new(ROWS))
        .counter(BytesCount::new(bytes))
        .bench(|| PreferenceFile::open(&path, &ReadSettings::default()).unwrap().read_all().unwrap());
}
