//! The loop over an index of pairs on disk: the same files, bit for bit, as over pairs in memory.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ser::data::{PairIndex, ReadSettings, SplitSettings};
use ser::eval::BaselineKind;
use ser::{Context, Error, LoopSettings, Outcome, PoolReuse, PreparedData, SelfEvolution, Side, Silent};
use ser::{prepare_files, prepare_indexed};
use support::{Linear, chain, report_without_timing, settings};

const FOLDER: &str = "SER_TEST_RUN_FOLDER";
const DATA: &str = "SER_TEST_DATA";
/// The crash point at which the process dies.
const CRASH_AT: &str = "SER_TEST_CRASH_AT";

/// Pairs of the synthetic task: three to a prompt, with margins, some with two answers that are the same.
fn write_pairs(path: &Path, n: usize, first: u64) {
    let mut lines = String::new();
    for (i, (pair, side)) in support::pairs(n, first, 3).into_iter().enumerate() {
        let chosen = pair.response(side);
        let rejected = if i % 40 == 7 { chosen } else { pair.response(side.other()) };
        let (prompt, margin) = (first as usize + i / 3, i % 5);
        let row = serde_json::json!({
            "prompt": format!("question {prompt}"), "chosen": chosen, "rejected": rejected, "margin": margin,
        });
        writeln!(lines, "{row}").unwrap();
    }
    std::fs::write(path, lines).unwrap();
}

fn split() -> SplitSettings {
    SplitSettings { labelled: 0.05, validation: 0.7, ..SplitSettings::reward_model_only() }
}

fn in_memory(data: &Path, test: Option<&Path>) -> PreparedData {
    prepare_files(data, test, &ReadSettings::default(), &split()).unwrap()
}

fn indexed(data: &Path, test: Option<&Path>) -> PreparedData {
    let folder = data.with_file_name("index");
    prepare_indexed(data, test, &ReadSettings::default(), &split(), &folder, &mut Silent).unwrap()
}

fn run(prepared: PreparedData, settings: LoopSettings, folder: &Path) -> Result<Outcome, Error> {
    SelfEvolution::new(settings).resume(true).run(&mut Linear::default(), prepared.data, folder)
}

/// The files of a run by name, without those that contain times.
fn files(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn add(run: &Path, folder: &Path, all: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(run).unwrap().to_path_buf();
            if path.is_dir() {
                add(run, &path, all);
            } else if !["manifest.json", "report.json", "report.html"].contains(&name.to_str().unwrap()) {
                all.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut all = BTreeMap::new();
    add(run, run, &mut all);
    all
}

#[test]
fn a_run_over_an_index_is_the_run_over_pairs_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let (data, test) = (root.path().join("pairs.jsonl"), root.path().join("test.jsonl"));
    write_pairs(&data, 2400, 0);
    // Prompts 780 to 799 are those of training pairs, and ids are taken.
    write_pairs(&test, 450, 780);
    for (name, reuse, test) in [
        ("whole", PoolReuse::Whole, None),
        ("rest", PoolReuse::Rest, Some(test.as_path())),
        ("keeping", PoolReuse::RestKeepingLabels, None),
    ] {
        let settings = LoopSettings {
            pool_reuse: reuse,
            pseudo_label_temperature: Some(2.0),
            replay_seed: reuse == PoolReuse::Whole,
            ..settings()
        };
        let folders = ["memory", "index"].map(|kind| root.path().join(format!("{name}-{kind}")));
        let loaded = in_memory(&data, test);
        assert_eq!(loaded.data.counts, indexed(&data, test).data.counts);
        let outcome = run(loaded, settings.clone(), &folders[0]).unwrap();
        assert!(outcome.report.iterations.len() > 2, "{name}: several loops");
        assert!(outcome.report.data.left_out.iter().any(|count| count.name.starts_with("pool: ")), "{name}");
        assert!(outcome.report.baseline(BaselineKind::Oracle).is_some());
        run(indexed(&data, test), settings, &folders[1]).unwrap();
        let [memory, index] = folders.each_ref().map(|folder| files(folder));
        assert!(memory.keys().any(|name| name.ends_with("rounds/02/selection.jsonl")));
        for (file, bytes) in &memory {
            assert!(index.get(file) == Some(bytes), "{name}: {} differs", file.display());
        }
        assert_eq!(memory.len(), index.len());
        assert_eq!(report_without_timing(&folders[0]), report_without_timing(&folders[1]), "{name}");
    }
}

/// The process that the test below starts, to kill it.
#[test]
#[ignore = "started by another test"]
fn child_run() {
    let (Ok(folder), Ok(data)) = (std::env::var(FOLDER), std::env::var(DATA)) else {
        return;
    };
    run(indexed(data.as_ref(), None), settings(), folder.as_ref()).unwrap();
}

#[test]
fn a_run_over_an_index_that_is_killed_is_resumed_over_either() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("pairs.jsonl");
    write_pairs(&data, 1500, 0);
    let whole = root.path().join("whole");
    run(in_memory(&data, None), settings(), &whole).unwrap();
    let killed = root.path().join("killed");
    for point in [
        "step:train loop 0/9",
        "incomplete:rounds/01/scores.jsonl",
        "renamed:rounds/01/selection.jsonl",
        "step:train loop 2/6",
        "renamed:baselines/random/02/scores.jsonl",
        "step:train baseline oracle/8",
    ] {
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_run", "--ignored"])
            .envs([(CRASH_AT, point), (FOLDER, killed.to_str().unwrap()), (DATA, data.to_str().unwrap())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(!status.success(), "{point} was never reached");
    }
    // The rest over the index, and over pairs in memory.
    run(indexed(&data, None), settings(), &killed).unwrap();
    run(in_memory(&data, None), settings(), &killed).unwrap();
    assert_eq!(report_without_timing(&killed), report_without_timing(&whole));
    assert_eq!(files(&killed), files(&whole));
}

#[test]
fn a_damaged_index_ends_a_run_with_one_sentence() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("pairs.jsonl");
    write_pairs(&data, 600, 0);
    let prepared = indexed(&data, None);
    let read = ReadSettings::default();
    let index = PairIndex::open_or_build(&data, &read, &data.with_file_name("index"), &mut Context::silent()).unwrap();
    let records = index.folder().join("records.bin");
    let mut bytes = std::fs::read(&records).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&records, bytes).unwrap();
    let folder = root.path().join("run");
    let text = chain(&run(prepared, settings(), &folder).unwrap_err());
    assert!(
        text.starts_with("the index file ") && text.contains("remove the index's folder to build it again"),
        "{text}"
    );
    assert!(!folder.exists(), "nothing is written");
    let found = prepare_indexed(&data, None, &read, &split(), &data.with_file_name("index"), &mut Silent);
    assert_eq!(chain(&found.unwrap_err()), text);
}

#[test]
fn sides_are_drawn_as_in_memory() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("pairs.jsonl");
    write_pairs(&data, 300, 0);
    let (memory, index) = (in_memory(&data, None).data, indexed(&data, None).data);
    let seed = memory.seed.read_all().unwrap();
    assert_eq!(seed, index.seed.read_all().unwrap());
    assert!(seed.iter().any(|p| p.preferred == Side::A) && seed.iter().any(|p| p.preferred == Side::B));
    assert_eq!(memory.pool.read_all().unwrap(), index.pool.read_all().unwrap());
    assert_eq!(memory.test.read_all().unwrap(), index.test.read_all().unwrap());
}
