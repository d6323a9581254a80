//! Any bytes as a file, and as a table: they give pairs or an error of one sentence, in bounded memory.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use ser_data::{OnBadRow, PreferenceFile, ReadSettings};

fuzz_target!(|bytes: &[u8]| {
    for (suffix, on_bad_row) in [("", OnBadRow::Stop), ("", OnBadRow::Skip), (".csv", OnBadRow::Stop), (".csv", OnBadRow::Skip)] {
        let mut file = tempfile::Builder::new().suffix(suffix).tempfile().unwrap();
        file.write_all(bytes).unwrap();
        let settings = ReadSettings { on_bad_row, max_row_bytes: 200, ..ReadSettings::default() };
        let read = PreferenceFile::open(file.path(), &settings).and_then(PreferenceFile::read_all);
        match read {
            Ok((pairs, summary)) => assert_eq!(pairs.len() as u64, summary.pairs),
            Err(error) => assert_eq!(error.to_string().lines().count(), 1, "{error}"),
        }
    }
});
