//! The settings files of examples/paper say what the code's defaults and presets do.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use ser::LoopSettings;
use ser::data::{ReadSettings, SplitSettings, TextSettings};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/paper")
}

fn file(name: &str) -> Table {
    fs::read_to_string(folder().join(name)).unwrap().parse().unwrap()
}

/// A table of a file as the settings it is for; unknown keys are errors.
fn part<T: DeserializeOwned>(table: &Table, name: &str) -> T {
    table.get(name).cloned().unwrap_or_else(|| Value::Table(Table::new())).try_into().unwrap()
}

#[test]
fn paper_spells_out_the_defaults() {
    let paper = file("paper.toml");
    assert_eq!(part::<LoopSettings>(&paper, "loop"), LoopSettings::default());
    assert_eq!(part::<SplitSettings>(&paper, "split"), SplitSettings::default());
    assert_eq!(part::<TextSettings>(&paper, "text"), TextSettings::default());
    #[cfg(feature = "libtorch")]
    {
        assert_eq!(part::<ser::model::LoraSettings>(&paper, "lora"), Default::default());
        assert_eq!(part::<ser::model::TrainingSettings>(&paper, "training"), Default::default());
    }
}

#[test]
fn script_is_the_script_preset() {
    let script = file("script.toml");
    assert_eq!(part::<LoopSettings>(&script, "loop"), LoopSettings::script());
    assert!(!part::<TextSettings>(&script, "text").append_eos);
}

#[test]
fn every_file_has_known_tables_and_usable_settings() {
    let known = ["data", "split", "text", "model", "lora", "training", "loop"];
    let mut files = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let table = file(&name);
        for key in table.keys() {
            assert!(known.contains(&key.as_str()), "{name}: [{key}]");
        }
        part::<LoopSettings>(&table, "loop").check().unwrap();
        part::<SplitSettings>(&table, "split").check().unwrap();
        part::<TextSettings>(&table, "text").check().unwrap();
        part::<ReadSettings>(&table, "data");
        #[cfg(feature = "libtorch")]
        {
            part::<ser::model::LoraSettings>(&table, "lora").check().unwrap();
            part::<ser::model::TrainingSettings>(&table, "training").check().unwrap();
        }
        files += 1;
    }
    assert_eq!(files, 10, "paper and script, four datasets, four models");
}
