//! A run that is stopped, killed or refused.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ser::testing::StopAfter;
use ser::{Baselines, Error, LoopSettings, Outcome, RunFolder, SelfEvolution, SerData};
use ser::{Control, Event, Observer, Stage, StageModel, observer_fn, rule_fn};
use support::{Linear, chain, data, data_with_pool, report_without_timing, settings};

const FOLDER: &str = "SER_TEST_RUN_FOLDER";
const POOL: &str = "SER_TEST_POOL";
/// The crash point at which the process dies: `incomplete:FILE`, `renamed:FILE`, `step:STAGE/STEP`.
const CRASH_AT: &str = "SER_TEST_CRASH_AT";
/// The file to which every step of every stage is written.
const LOG: &str = "SER_TEST_LOG";

fn run(folder: &Path, settings: LoopSettings, data: SerData) -> Result<Outcome, Error> {
    SelfEvolution::new(settings).resume(true).run(&mut Linear::default(), data, folder)
}

/// Writes every step to [`LOG`], if it is set.
fn log_steps() -> impl Observer {
    let log = std::env::var(LOG).ok();
    let mut log = log.map(|path| std::fs::File::options().create(true).append(true).open(path).unwrap());
    observer_fn(move |event| {
        if let (Event::Advanced { stage, done }, Some(log)) = (event, &mut log) {
            writeln!(log, "{stage}:{done}").unwrap();
        }
        Control::Continue
    })
}

/// The process that the tests below start, to kill it or to give it another number of threads.
#[test]
#[ignore = "started by other tests"]
fn child_run() {
    let (Ok(folder), Ok(pool)) = (std::env::var(FOLDER), std::env::var(POOL)) else {
        return;
    };
    let pool = pool.parse().unwrap();
    // Large pools test the selection, not the training.
    let (epochs, baselines) = if pool > 10_000 { (1, Baselines::none()) } else { (20, Baselines::default()) };
    let settings = LoopSettings { baselines, ..settings() };
    SelfEvolution::new(settings)
        .observer(log_steps())
        .resume(true)
        .run(&mut Linear { epochs, ..Linear::default() }, data_with_pool(1, pool), folder)
        .unwrap();
}

fn spawn(folder: &Path, pool: usize, threads: usize) -> Child {
    spawn_with(folder, pool, threads, &[])
}

fn spawn_with(folder: &Path, pool: usize, threads: usize, variables: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .envs(variables.iter().copied())
        .stderr(Stdio::null())
        .args(["--exact", "child_run", "--ignored"])
        .env(FOLDER, folder)
        .env(POOL, pool.to_string())
        .env("RAYON_NUM_THREADS", threads.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The process is killed in each stage, before or after its file has its name, before the manifest records it.
#[test]
fn killed_at_any_stage_a_run_ends_in_the_same_report() {
    const PAIRS: usize = 300;
    let root = tempfile::tempdir().unwrap();
    let (whole, folder) = (root.path().join("whole"), root.path().join("killed"));
    assert!(spawn(&whole, PAIRS, 1).wait().unwrap().success());
    let manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(whole.join("manifest.json")).unwrap()).unwrap();
    let stages: Vec<&str> =
        manifest["stages"].as_array().unwrap().iter().map(|stage| stage["stage"].as_str().unwrap()).collect();
    assert!(stages.len() > 15, "{stages:?}");
    let derived = ["rounds/02/metrics.json", "report.html", "report.json"];
    for (i, file) in stages.iter().chain(&derived).enumerate() {
        let point = format!("{}:{file}", ["incomplete", "renamed"][i % 2]);
        let died = spawn_with(&folder, PAIRS, 1, &[(CRASH_AT, &point)]).wait().unwrap();
        assert!(!died.success(), "{point} was never reached");
    }
    assert!(spawn(&folder, PAIRS, 1).wait().unwrap().success());
    assert_eq!(report_without_timing(&folder), report_without_timing(&whole));
}

/// Whether a folder contains a folder or file of that name, at any depth.
fn contains(folder: &Path, name: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let entry = entry.unwrap();
        entry.file_name() == name || (entry.path().is_dir() && contains(&entry.path(), name))
    })
}

/// The process is killed at named steps of trainings, of the loop and of baselines, and while it writes a checkpoint. The
/// resumed run continues from the step after the newest checkpoint (one every 4 steps) and ends in the same report.
#[test]
fn killed_within_a_training_a_run_continues_from_its_checkpoint() {
    const PAIRS: usize = 300;
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    assert!(spawn(&whole, PAIRS, 1).wait().unwrap().success());
    let expected = report_without_timing(&whole);
    // The stage, the crash point, and the first step that is taken after that.
    let points = [
        ("train loop 0", "step:train loop 0/3", 1),
        ("train loop 0", "step:train loop 0/9", 9),
        ("train loop 0", "incomplete:rounds/00/checkpoints/00000008", 5),
        ("train loop 1", "step:train loop 1/20", 17),
        ("train baseline full", "step:train baseline full/5", 5),
        ("train baseline random, loop 1", "step:train baseline random, loop 1/14", 13),
        ("train baseline oracle", "step:train baseline oracle/8", 5),
    ];
    for (i, (stage, point, first)) in points.into_iter().enumerate() {
        let (folder, log) = (root.path().join(format!("killed-{i}")), root.path().join(format!("log-{i}")));
        assert!(
            !spawn_with(&folder, PAIRS, 1, &[(CRASH_AT, point)]).wait().unwrap().success(),
            "{point} was never reached"
        );
        assert!(!folder.join("report.json").exists());
        let log_to = [(LOG, log.to_str().unwrap())];
        assert!(spawn_with(&folder, PAIRS, 1, &log_to).wait().unwrap().success());
        let log = std::fs::read_to_string(&log).unwrap();
        let steps = log.lines().filter_map(|line| line.strip_prefix(&format!("{stage}:")));
        assert_eq!(steps.collect::<Vec<_>>(), (first..=20).map(|n| n.to_string()).collect::<Vec<_>>(), "{point}");
        assert_eq!(report_without_timing(&folder), expected, "{point}");
        assert!(!contains(&folder, "checkpoints"), "{point}: checkpoints of finished trainings are left");
    }
}

/// The process is killed while it scores a pool of several chunks. The resumed run continues after the last complete one.
#[test]
fn killed_within_a_scoring_a_run_continues_after_the_last_chunk() {
    const PAIRS: usize = 40_000;
    let root = tempfile::tempdir().unwrap();
    let (whole, folder) = (root.path().join("whole"), root.path().join("killed"));
    assert!(spawn(&whole, PAIRS, 2).wait().unwrap().success());
    let parts = folder.join("rounds/01/scores.parts");
    let mut sizes = Vec::new();
    for number in [1, 2] {
        let point = format!("part:rounds/01/scores.parts/{number}");
        assert!(!spawn_with(&folder, PAIRS, 2, &[(CRASH_AT, &point)]).wait().unwrap().success());
        sizes.push(std::fs::metadata(&parts).unwrap().len());
    }
    // The second process has appended one part, and a part was torn since.
    assert!(sizes[1] > sizes[0] && sizes[1] < 3 * sizes[0], "{sizes:?}");
    let text = std::fs::read(&parts).unwrap();
    std::fs::write(&parts, &text[..text.len() - 9]).unwrap();
    assert!(spawn(&folder, PAIRS, 2).wait().unwrap().success());
    assert!(!parts.exists());
    for file in ["rounds/01/scores.jsonl", "rounds/02/selection.jsonl"] {
        assert!(std::fs::read(folder.join(file)).unwrap() == std::fs::read(whole.join(file)).unwrap(), "{file}");
    }
    assert_eq!(report_without_timing(&folder), report_without_timing(&whole));
}

#[test]
fn a_learner_without_steps_and_one_with_them_end_in_the_same_report() {
    let root = tempfile::tempdir().unwrap();
    let reports = [None, Some(support::SAVING)].map(|saving| {
        let folder = root.path().join(format!("{}", saving.is_some()));
        let mut learner = Linear { saving, ..Linear::default() };
        SelfEvolution::new(settings()).run(&mut learner, data_with_pool(1, 300), &folder).unwrap();
        report_without_timing(&folder)
    });
    assert_eq!(reports[0], reports[1]);
}

#[test]
fn the_number_of_checkpoints_is_limited() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    let checkpoints = folder.join("rounds/00/checkpoints");
    let mut seen = Vec::new();
    let saving = Some(ser::Saving { save_steps: 3, save_total_limit: 2 });
    let mut learner = Linear { saving, ..Linear::default() };
    SelfEvolution::new(LoopSettings { baselines: Baselines::none(), ..settings() })
        .observer(observer_fn(|event| {
            if let Event::Advanced { stage: Stage::Train(StageModel::Iteration(0)), .. } = event {
                let entries = std::fs::read_dir(&checkpoints).into_iter().flatten();
                let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
                names.sort();
                seen.push(names);
            }
            Control::Continue
        }))
        .run(&mut learner, data_with_pool(1, 100), &folder)
        .unwrap();
    assert_eq!(seen.len(), 20);
    assert!(seen.iter().all(|names| names.len() <= 2));
    assert_eq!(seen[19], ["00000015", "00000018"]);
    assert!(!checkpoints.exists());
}

#[test]
fn models_of_finished_iterations_are_pruned_on_request() {
    let root = tempfile::tempdir().unwrap();
    let (whole, folder) = (root.path().join("whole"), root.path().join("pruned"));
    run(&whole, settings(), data_with_pool(1, 300)).unwrap();
    let settings = LoopSettings { prune_models: true, ..settings() };
    // The report contains the settings.
    let report =
        |folder: &Path| report_without_timing(folder).replace("\"prune_models\": true", "\"prune_models\": false");
    let outcome = run(&folder, settings.clone(), data_with_pool(1, 300)).unwrap();
    assert!(report(&folder) == report(&whole), "the reports differ");
    assert!(outcome.iteration > 0 && outcome.model.join("weights.json").exists());
    let chosen = format!("{:02}", outcome.iteration);
    let mut pruned = 0;
    for entry in std::fs::read_dir(whole.join("rounds")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name != "base" {
            assert_eq!(folder.join("rounds").join(&name).join("model").exists(), name == chosen, "{name}");
            assert!(folder.join("rounds").join(&name).join("metrics.json").exists());
            pruned += usize::from(name != chosen);
        }
    }
    assert!(pruned > 0);
    assert!(folder.join("rounds/base").exists() && folder.join("baselines/full/model").exists());
    // A resumed run does not need the removed models.
    let again = run(&folder, settings, data_with_pool(1, 300)).unwrap();
    assert_eq!(again.iteration, outcome.iteration);
    assert!(report(&folder) == report(&whole), "the resumed run's report differs");
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    // Large enough for rules and anchors to use more than one thread.
    let reports = [1, 4].map(|threads| {
        let folder = root.path().join(threads.to_string());
        assert!(spawn(&folder, 40_000, threads).wait().unwrap().success());
        report_without_timing(&folder)
    });
    assert_eq!(reports[0], reports[1]);
}

#[test]
fn stopped_by_an_observer_a_run_can_be_resumed() {
    let root = tempfile::tempdir().unwrap();
    run(&root.path().join("whole"), settings(), data_with_pool(1, 300)).unwrap();
    let expected = report_without_timing(&root.path().join("whole"));
    let folder = root.path().join("stopped");
    let mut stops = 0;
    // Each run stops a little later than the one before, so every kind of stage is stopped.
    for events in 0.. {
        let evolution = SelfEvolution::new(settings()).observer(StopAfter(events * 9)).resume(true);
        match evolution.run(&mut Linear::default(), data_with_pool(1, 300), &folder) {
            Ok(_) => break,
            Err(error @ Error::Interrupted { .. }) => {
                stops += 1;
                let text = error.to_string();
                assert!(text.contains("resume the run in") && text.contains("stopped"), "{text}");
            }
            Err(error) => panic!("{}", chain(&error)),
        }
    }
    assert!(stops > 5, "{stops}");
    assert_eq!(report_without_timing(&folder), expected);
}

#[test]
fn a_folder_locked_by_another_process_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let locked = RunFolder::open(root.path().join("run"), false).unwrap();
    let error = run(&root.path().join("run"), settings(), data(1)).unwrap_err();
    assert!(error.to_string().contains("is locked by another process"), "{error}");
    drop(locked);
}

#[test]
fn a_run_is_not_overwritten_and_not_resumed_as_another() {
    let root = tempfile::tempdir().unwrap();
    let small = || data_with_pool(1, 100);
    run(root.path(), settings(), small()).unwrap();
    let report = std::fs::read(root.path().join("report.json")).unwrap();

    let again = SelfEvolution::new(settings()).run(&mut Linear::default(), small(), root.path());
    let text = chain(&again.unwrap_err());
    assert!(text.contains("already contains a run: resume it, or choose another folder"), "{text}");

    let other = LoopSettings { seed: 9, ..settings() };
    let text = chain(&run(root.path(), other, small()).unwrap_err());
    assert_eq!(text, "cannot resume with other settings: `loop.seed` was 0 and is now 9");

    let text = chain(&run(root.path(), settings(), data_with_pool(1, 101)).unwrap_err());
    assert_eq!(text, "cannot resume on other data: `pool.pairs` was 100 and is now 101");

    let mut changed = small();
    let mut seed = changed.seed.read_all().unwrap();
    seed[3].preferred = seed[3].preferred.other();
    changed.seed = seed.into();
    let text = chain(&run(root.path(), settings(), changed).unwrap_err());
    assert!(text.starts_with("cannot resume on other data: `labelled_seed.sha256` was "), "{text}");

    let ruled = SelfEvolution::new(settings()).rule(rule_fn(|_| Ok::<_, std::fmt::Error>(Vec::new()))).resume(true);
    let text = chain(&ruled.run(&mut Linear::default(), small(), root.path()).unwrap_err());
    assert!(text.contains("`custom.rule` was false and is now true"), "{text}");
    assert_eq!(std::fs::read(root.path().join("report.json")).unwrap(), report);
}

#[test]
fn bad_input_leaves_no_folder_behind() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    let mut bad = settings();
    bad.thresholds.tau_low = 0.9;
    let text = chain(&run(&folder, bad, data(1)).unwrap_err());
    assert!(text.contains("tau_low is 0.9"), "{text}");
    let mut twice = data(1);
    twice.test = twice.test.chain(twice.seed.subset(&[0]));
    let text = chain(&run(&folder, settings(), twice).unwrap_err());
    assert!(text.contains("two pairs have the id 0"), "{text}");
    assert!(!folder.exists());
    let text = chain(&run(&folder, settings(), SerData { validation: [].into(), ..data(1) }).unwrap_err());
    assert!(text.contains("validation set"), "{text}");
    let text = chain(&run(&root.path().join("b"), settings(), SerData { seed: [].into(), ..data(1) }).unwrap_err());
    assert!(text.contains("no pair is left in the labelled seed"), "{text}");
}

#[test]
fn a_damaged_stage_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    run(root.path(), settings(), data_with_pool(1, 100)).unwrap();
    let scores = root.path().join("rounds/01/scores.jsonl");
    let text = std::fs::read_to_string(&scores).unwrap();
    std::fs::write(&scores, text.replacen("0.", "0.9", 1)).unwrap();
    let text = chain(&run(root.path(), settings(), data_with_pool(1, 100)).unwrap_err());
    assert!(text.contains("scores.jsonl was changed, damaged or removed"), "{text}");
}
