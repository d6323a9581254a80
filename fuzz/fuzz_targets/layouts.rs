//! Any JSON as a row, under every layout.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use ser_data::{Layout, OnBadRow, PreferenceFile, ReadSettings};

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    for layout in Layout::ALL {
        let settings = ReadSettings { layout: Some(layout), on_bad_row: OnBadRow::Skip, ..ReadSettings::default() };
        if let Ok((pairs, _)) = PreferenceFile::open(file.path(), &settings).and_then(PreferenceFile::read_all) {
            for preference in pairs {
                assert!(preference.margin.is_none_or(|margin| !margin.is_nan()));
            }
        }
    }
});
