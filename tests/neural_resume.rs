//! A run with a neural reward model that dies within a training, at named steps.

#![cfg(feature = "libtorch")]
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;

use ser::data::{TemplateKind, TextSettings, blind};
use ser::model::{Device, Precision, RewardModel, RewardModelSettings, TrainingSettings};
use ser::{Baselines, LoopSettings, SelfEvolution, SerData};
use ser::{Control, Event, LearningStatus, Pair, PairId, Preference, Side, observer_fn, rule_fn};
use support::report_without_timing;

const FOLDER: &str = "SER_TEST_RUN_FOLDER";
/// The crash point at which the process dies: `step:STAGE/STEP`.
const CRASH_AT: &str = "SER_TEST_CRASH_AT";
/// The file to which every step of every stage is written.
const LOG: &str = "SER_TEST_LOG";
const PRECISION: &str = "SER_TEST_PRECISION";

fn data() -> SerData {
    let preferences = |first: u64, n: u64| -> Vec<Preference> {
        (first..first + n)
            .map(|id| {
                let (good, bad) = (format!("good {id}"), format!("bad {}", "la ".repeat((id % 5) as usize)));
                Preference::human(Arc::new(Pair::from_text(PairId(id), format!("q{id} "), good, bad)), Side::A)
            })
            .collect()
    };
    let (pool, gold) = blind(&preferences(100, 14), 1).unwrap();
    SerData {
        seed: preferences(0, 9).into(),
        validation: preferences(50, 6).into(),
        pool: pool.into(),
        gold: Some(gold),
        test: preferences(200, 6).into(),
        ..SerData::default()
    }
}

/// The process that the test below starts.
#[test]
#[ignore = "started by another test"]
fn child_run() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let precision = if std::env::var(PRECISION).is_ok() { Precision::F16 } else { Precision::F32 };
    let log = std::env::var(LOG).ok();
    let mut log = log.map(|path| std::fs::File::options().create(true).append(true).open(path).unwrap());
    // 9 pairs in steps of 4: 3 steps an epoch, 9 in all, and a checkpoint every 2.
    let training = TrainingSettings {
        learning_rate: 5e-3,
        batch_size: 2,
        gradient_accumulation: 2,
        epochs: 3,
        save_steps: 2,
        ..TrainingSettings::default()
    };
    let text =
        TextSettings { template: TemplateKind::Raw, append_eos: false, max_length: None, ..TextSettings::default() };
    let settings = RewardModelSettings { training, text, precision, ..RewardModelSettings::default() };
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/ser-model/tests/golden/llama");
    ser::model::set_threads(1);
    let mut learner = RewardModel::from_folder(&model, &settings, Device::cpu()).unwrap();
    let baselines = Baselines { full: true, ..Baselines::none() };
    SelfEvolution::new(LoopSettings { baselines, ..LoopSettings::default() })
        .rule(rule_fn(|pool| Ok::<_, std::fmt::Error>(vec![LearningStatus::Status1; pool.len()])))
        .observer(observer_fn(move |event| {
            if let (Event::Advanced { stage, done }, Some(log)) = (event, &mut log) {
                writeln!(log, "{stage}:{done}").unwrap();
            }
            Control::Continue
        }))
        .resume(true)
        .run(&mut learner, data(), folder)
        .unwrap();
}

fn child(folder: &Path, variables: &[(&str, &str)]) -> ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_run", "--ignored"])
        .env(FOLDER, folder)
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
}

fn with<'a>(
    precision: Option<(&'static str, &'static str)>,
    more: &[(&'static str, &'a str)],
) -> Vec<(&'static str, &'a str)> {
    precision.into_iter().chain(more.iter().copied()).collect()
}

/// Report and weights are those of a run that was not killed, bit for bit, and no step before the newest checkpoint is
/// taken again.
#[test]
fn killed_within_a_training_a_run_ends_with_the_same_weights() {
    let root = tempfile::tempdir().unwrap();
    let weights =
        |folder: &Path, stage: &str| std::fs::read(folder.join(stage).join("adapter_model.safetensors")).unwrap();
    for precision in [None, Some((PRECISION, "f16"))] {
        let name = if precision.is_some() { "f16" } else { "f32" };
        let whole = root.path().join(name);
        assert!(child(&whole, &with(precision, &[])).success());
        let expected = report_without_timing(&whole);
        // Within the second epoch of Loop 0; in a loop's own training; in a baseline.
        for (i, (stage, step, first)) in
            [("train loop 0", 5, 5), ("train loop 1", 8, 7), ("train baseline full", 4, 3)].into_iter().enumerate()
        {
            let (folder, log) = (root.path().join(format!("{name}-{i}")), root.path().join(format!("{name}-{i}.log")));
            let point = format!("step:{stage}/{step}");
            assert!(!child(&folder, &with(precision, &[(CRASH_AT, &point)])).success(), "{point} was never reached");
            assert!(child(&folder, &with(precision, &[(LOG, log.to_str().unwrap())])).success());
            let log = std::fs::read_to_string(&log).unwrap();
            let taken = log.lines().find_map(|line| line.strip_prefix(&format!("{stage}:"))).unwrap();
            assert_eq!(taken, first.to_string(), "{point}");
            assert!(report_without_timing(&folder) == expected, "{point}: the resumed run's report differs");
            for model in ["rounds/00/model", "rounds/01/model", "baselines/full/model"] {
                assert!(weights(&folder, model) == weights(&whole, model), "{point}: {model} differs");
            }
        }
    }
}
