//! Any two texts as HH-RLHF's dialogues.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use ser_data::{Layout, OnBadRow, PreferenceFile, ReadSettings};

fuzz_target!(|texts: (&str, &str)| {
    let dialogue = |text: &str| format!("\n\nHuman:{}", text.replace('|', "\n\nAssistant:").replace('^', "\n\nHuman:"));
    let (chosen, rejected) = (dialogue(texts.0), dialogue(texts.1));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&mut file, &serde_json::json!({"chosen": chosen, "rejected": rejected})).unwrap();
    file.flush().unwrap();
    let settings =
        ReadSettings { layout: Some(Layout::HhRlhf), on_bad_row: OnBadRow::Skip, ..ReadSettings::default() };
    if let Ok((pairs, _)) = PreferenceFile::open(file.path(), &settings).and_then(PreferenceFile::read_all) {
        let raw = pairs[0].pair.raw_texts().unwrap();
        assert_eq!((raw[0].as_ref(), raw[1].as_ref()), (chosen.as_str(), rejected.as_str()), "byte by byte");
        assert!(!pairs[0].pair.prompt.is_empty());
    }
});
