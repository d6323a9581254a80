use std::fs;
use std::io::Write;
use std::path::Path;

use super::RunFolder;
use super::atomic_write::entries;
use super::folder::{MANIFEST, VERSION};
use crate::Error;

fn write(text: &'static str) -> impl FnOnce(&mut dyn Write) -> Result<u32, Error> {
    move |out| out.write_all(text.as_bytes()).map(|()| 7).map_err(Error::io("write", Path::new("-")))
}

fn must_not_run(_: &mut dyn Write) -> Result<u32, Error> {
    panic!("done stages are not done again")
}

#[test]
fn a_stage_is_done_once_and_its_summary_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let mut run = RunFolder::open(&path, false).unwrap();
    assert_eq!(run.file_stage("rounds/01/a.txt", write("x")).unwrap(), 7);
    assert_eq!(run.file_stage("rounds/01/a.txt", must_not_run).unwrap(), 7);
    drop(run);
    let mut run = RunFolder::open(&path, true).unwrap();
    assert!(run.resumed());
    assert_eq!(run.file_stage("rounds/01/a.txt", must_not_run).unwrap(), 7);
    assert_eq!(fs::read_to_string(path.join("rounds/01/a.txt")).unwrap(), "x");
    fs::write(path.join("rounds/01/a.txt"), "y").unwrap();
    assert!(matches!(run.file_stage("rounds/01/a.txt", must_not_run), Err(Error::Damaged { .. })));
}

#[test]
fn a_pruned_stage_stays_done() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunFolder::open(root.path(), false).unwrap();
    run.file_stage("rounds/01/a.txt", write("x")).unwrap();
    run.prune("rounds/01/a.txt").unwrap();
    run.prune("rounds/02/never-done").unwrap();
    drop(run);
    let mut run = RunFolder::open(root.path(), true).unwrap();
    assert!(run.is_pruned("rounds/01/a.txt") && !root.path().join("rounds/01/a.txt").exists());
    assert_eq!(run.file_stage("rounds/01/a.txt", must_not_run).unwrap(), 7);
    // Died between the manifest and the removal.
    fs::write(root.path().join("rounds/01/a.txt"), "x").unwrap();
    run.prune("rounds/01/a.txt").unwrap();
    assert!(!root.path().join("rounds/01/a.txt").exists());
}

/// The time of a training is that of its steps, over all processes, and not that of saving its result.
#[test]
fn a_training_is_timed_whole() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunFolder::open(root.path(), false).unwrap();
    let train = |_: &RunFolder| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        Ok::<_, Error>((3, 100.0))
    };
    let save =
        |trained: i32, dir: &Path| fs::write(dir.join("w"), trained.to_string()).map_err(Error::io("write", dir));
    run.training_stage("sft/model", train, save).unwrap();
    let seconds = run.timing().next().unwrap().1;
    assert!(seconds > 100.02 && seconds < 130.0, "{seconds}");
}

#[test]
fn a_locked_used_or_foreign_folder_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let mut run = RunFolder::open(&path, false).unwrap();
    run.file_stage("a.txt", write("x")).unwrap();
    assert!(matches!(RunFolder::open(&path, true), Err(Error::Held { .. })));
    drop(run);
    assert!(matches!(RunFolder::open(&path, false), Err(Error::Exists { .. })));
    let other = root.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("thesis.tex"), "").unwrap();
    assert!(matches!(RunFolder::open(&other, true), Err(Error::NotARun { .. })));
    assert_eq!(entries(&other).unwrap().len(), 1, "nothing is written into a foreign folder");
}

#[test]
fn a_refused_start_does_not_prevent_the_next() {
    let root = tempfile::tempdir().unwrap();
    for resume in [false, true] {
        let mut run = RunFolder::open(root.path(), resume).unwrap();
        assert!(!run.resumed());
        run.record_or_verify_settings("loop", &serde_json::json!({"resume": resume})).unwrap();
        run.record_or_verify_data("pool", &resume).unwrap();
        fs::write(root.path().join("metrics.jsonl"), "{}\n").unwrap();
        fs::create_dir_all(root.path().join("rounds/00")).unwrap();
    }
    // A checkpoint is work, even of a stage that never ended.
    let run = RunFolder::open(root.path(), false).unwrap();
    assert!(!root.path().join("metrics.jsonl").exists());
    run.save_checkpoint("sft/checkpoints", 3, 1, 0.0, |dir| {
        fs::write(dir.join("w"), "1").map_err(Error::io("write", dir))
    })
    .unwrap();
    drop(run);
    assert!(matches!(RunFolder::open(root.path(), false), Err(Error::Exists { .. })));
    assert!(RunFolder::open(root.path(), true).unwrap().resumed());
}

#[test]
fn another_version_is_refused() {
    let root = tempfile::tempdir().unwrap();
    RunFolder::open(root.path(), false).unwrap().file_stage("a.txt", write("x")).unwrap();
    let path = root.path().join(MANIFEST);
    let mut manifest: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(manifest["version"], VERSION);
    manifest["version"] = "99.0.0".into();
    manifest.as_object_mut().unwrap().remove("checksum").unwrap();
    fs::write(&path, manifest.to_string()).unwrap();
    assert!(matches!(RunFolder::open(root.path(), true), Err(Error::Version { theirs, .. }) if theirs == "99.0.0"));
}

#[test]
fn a_stage_that_died_is_done_again() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunFolder::open(root.path(), false).unwrap();
    // Died before the rename, and died between the rename and the manifest.
    fs::create_dir_all(root.path().join("rounds/00/.tmp-model/deep")).unwrap();
    fs::create_dir_all(root.path().join("rounds/00/model/old")).unwrap();
    drop(run);
    run = RunFolder::open(root.path(), true).unwrap();
    run.folder_stage("rounds/00/model", |dir| fs::write(dir.join("w"), "1").map_err(Error::io("write", dir))).unwrap();
    assert_eq!(entries(&root.path().join("rounds/00")).unwrap(), [root.path().join("rounds/00/model")]);
    assert!(!root.path().join("rounds/00/model/old").exists());
}

#[test]
fn settings_and_data_must_agree() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunFolder::open(root.path(), false).unwrap();
    run.record_or_verify_settings("loop", &serde_json::json!({"tau": 0.1, "seed": 3})).unwrap();
    run.record_or_verify_data("pool", &5).unwrap();
    run.file_stage("a.txt", write("x")).unwrap();
    drop(run);
    let mut run = RunFolder::open(root.path(), true).unwrap();
    run.record_or_verify_settings("loop", &serde_json::json!({"tau": 0.1, "seed": 3})).unwrap();
    run.record_or_verify_settings("training", &serde_json::json!({"a": {"save_steps": 5, "epochs": 1}})).unwrap();
    run.record_or_verify_settings("training", &serde_json::json!({"a": {"save_steps": 9, "epochs": 1}})).unwrap();
    assert!(
        run.record_or_verify_settings("training", &serde_json::json!({"a": {"save_steps": 5, "epochs": 2}})).is_err()
    );
    let error = run.record_or_verify_settings("loop", &serde_json::json!({"tau": 0.2, "seed": 3})).unwrap_err();
    assert_eq!(error.to_string(), "cannot resume with other settings: `loop.tau` was 0.1 and is now 0.2");
    let error = run.record_or_verify_data("pool", &6).unwrap_err();
    assert_eq!(error.to_string(), "cannot resume on other data: `pool` was 5 and is now 6");
}

/// A run with a stage of one file, one of a folder, a log and a checkpoint.
fn whole_run(root: &Path) {
    let mut run = RunFolder::open(root, true).unwrap();
    run.record_or_verify_settings("loop", &serde_json::json!({"tau": 0.1})).unwrap();
    let log = root.join("metrics.jsonl");
    if !log.exists() {
        fs::write(log, "{\"stage\":\"a\",\"step\":1}\n").unwrap();
    }
    let file = |name: &str, text: &str, dir: &Path| {
        fs::create_dir_all(dir.join("deep")).unwrap();
        fs::write(dir.join(name), text).map_err(Error::io("write", dir))
    };
    run.folder_stage("rounds/00/model", |dir| file("deep/w", "1", dir)).unwrap();
    run.file_stage("rounds/00/scores.jsonl", write("scores")).unwrap();
    run.file_stage("rounds/01/scores.jsonl", write("more")).unwrap();
    if run.checkpoint("rounds/01/checkpoints").unwrap().is_none() {
        run.save_checkpoint("rounds/01/checkpoints", 3, 1, 1.5, |dir| file("w", "2", dir)).unwrap();
    }
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let inside = entries(folder).unwrap();
    inside.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Every bit of every file is flipped: the run is refused with the file's name, and repaired on request.
#[test]
fn a_flipped_bit_is_refused_with_the_files_name_and_repaired() {
    let root = tempfile::tempdir().unwrap();
    whole_run(root.path());
    let use_all = |run: &mut RunFolder| -> Result<(), Error> {
        run.record_or_verify_settings("loop", &serde_json::json!({"tau": 0.1}))?;
        run.folder_stage("rounds/00/model", |_| Err::<(), _>(Error::NoPrompts))?;
        run.file_stage("rounds/00/scores.jsonl", must_not_run)?;
        run.file_stage("rounds/01/scores.jsonl", must_not_run)?;
        run.checkpoint("rounds/01/checkpoints").map(|_| ())
    };
    let files: Vec<_> = files_below(root.path()).into_iter().filter(|path| !path.ends_with(".lock")).collect();
    assert_eq!(files.len(), 8, "{files:?}");
    let sound: Vec<Vec<u8>> = files.iter().map(|path| fs::read(path).unwrap()).collect();
    for (path, bytes) in files.iter().zip(&sound) {
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(path, flipped).unwrap();
            let error = RunFolder::open(root.path(), true).and_then(|mut run| use_all(&mut run)).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(&path.display().to_string()), "bit {bit} of {}: {text}", path.display());
        }
        let (run, damaged) = RunFolder::repair(root.path()).unwrap();
        drop(run);
        assert_eq!(damaged, std::slice::from_ref(path), "{}", path.display());
        whole_run(root.path());
        use_all(&mut RunFolder::open(root.path(), true).unwrap()).unwrap();
        if !path.ends_with("metrics.jsonl") && !path.ends_with("checkpoint.json") && !path.ends_with("manifest.json") {
            assert_eq!(&fs::read(path).unwrap(), bytes, "{} is made again", path.display());
        }
        // The next file is damaged in the run as it was.
        files.iter().zip(&sound).for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    }
}

#[test]
fn a_stage_that_is_made_again_otherwise_makes_the_later_ones_undone() {
    let root = tempfile::tempdir().unwrap();
    whole_run(root.path());
    fs::remove_file(root.path().join("rounds/00/scores.jsonl")).unwrap();
    let (mut run, damaged) = RunFolder::repair(root.path()).unwrap();
    assert_eq!(damaged, [root.path().join("rounds/00/scores.jsonl")]);
    assert!(!run.is_done("rounds/00/scores.jsonl") && run.is_done("rounds/01/scores.jsonl"));
    run.file_stage("rounds/00/scores.jsonl", write("other")).unwrap();
    assert!(run.is_done("rounds/00/model") && run.is_done("rounds/00/scores.jsonl"));
    assert!(!run.is_done("rounds/01/scores.jsonl"));
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_removed_while_it_is_written_is_not_made_again() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("run");
    let mut run = RunFolder::open(&path, false).unwrap();
    run.file_stage("a.txt", write("x")).unwrap();
    fs::remove_dir_all(&path).unwrap();
    assert!(matches!(run.file_stage("b.txt", write("y")), Err(Error::Gone { .. })));
    assert!(matches!(run.record_or_verify_data("pool", &1), Err(Error::Gone { .. })));
    assert!(!path.exists());
}

/// What a power loss may leave of a run that has just begun.
#[test]
fn a_folder_with_incomplete_files_alone_begins_a_run() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(".tmp-manifest.json"), "{\"ver").unwrap();
    let run = RunFolder::open(root.path(), false).unwrap();
    assert!(!run.resumed());
    drop(run);
    fs::remove_file(root.path().join(".lock")).unwrap();
    RunFolder::open(root.path(), false).unwrap();
}
