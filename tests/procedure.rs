//! The whole procedure over models of the caller: at once, stage by stage, resumed, and with a judge of the caller.

#![cfg(feature = "config")]
#![allow(clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;

use ser::config::Config;
use ser::testing::{MockLearner, StopAfter, TablePolicy};
use ser::{Context, Error, Models, Pair, Procedure, Side, Verdict, judge_fn, models_fn};
use support::report_without_timing;

fn config() -> Config {
    let mut config = Config::paper().with_seed(7);
    for key in [
        "corpus.pairs=400",
        "corpus.test_pairs=40",
        "ppo.response_length={fixed=8}",
        "policy_run.steps=2",
        "policies={train=true,judged=12}",
    ] {
        config.set(key).unwrap();
    }
    config
}

fn models() -> impl Models {
    let learner = || Ok::<_, Error>(MockLearner::new(|pair, side| pair.response(side).len() as f64 / 100.0 - 1.0));
    models_fn(learner, || Ok(TablePolicy::new(8)))
}

fn report(folder: &Path) -> serde_json::Value {
    serde_json::from_str(&report_without_timing(folder)).unwrap()
}

#[test]
fn stages_one_by_one_end_as_the_whole() {
    let root = tempfile::tempdir().unwrap();
    let (whole, stages) = (root.path().join("whole"), root.path().join("stages"));
    let outcome = Procedure::new(config(), models()).run(&whole).unwrap();
    let policy = outcome.report.policy.as_ref().unwrap();
    let names: Vec<_> = policy.stages.iter().map(|stage| stage.name.as_str()).collect();
    assert_eq!(names, ["PPO-SER", "PPO-Full"]);
    assert_eq!(policy.comparisons.len(), 3, "no DPO, as these models have none");

    // Each stage as in a process of its own.
    let open = || Procedure::new(config(), models()).resume(true).open(&stages).unwrap();
    let mut run = open();
    assert!(run.stages_left() > 10);
    run.sft().unwrap();
    assert_eq!(run.evolve().unwrap().iteration, outcome.iteration);
    drop(run);
    open().train_policies().unwrap();
    let mut run = open();
    // The remaining stages: screening and the comparisons.
    assert!(run.stages_left() < 12, "{}", run.stages_left());
    run.compare().unwrap();
    run.finish().unwrap();
    assert_eq!(report(&stages), report(&whole));
}

#[test]
fn a_stopped_run_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let (whole, stopped) = (root.path().join("whole"), root.path().join("stopped"));
    Procedure::new(config(), models()).run(&whole).unwrap();
    let mut stops = 0;
    loop {
        let procedure = Procedure::new(config(), models()).observer(StopAfter(8 + 5 * stops)).resume(true);
        match procedure.run(&stopped) {
            Ok(_) => break,
            Err(error) => assert!(error.is_interrupted(), "{error}"),
        }
        stops += 1;
    }
    assert!(stops > 2, "{stops}");
    assert_eq!(report(&stopped), report(&whole));
}

#[test]
fn a_judge_of_the_caller_compares() {
    let root = tempfile::tempdir().unwrap();
    let longer =
        judge_fn(|pairs: &[Arc<Pair>], _: &mut Context<'_>| -> Result<Vec<Verdict>, std::convert::Infallible> {
            let verdict = |pair: &Arc<Pair>| {
                let [a, b] = [Side::A, Side::B].map(|side| pair.response(side).len());
                if a == b { Verdict::Tie } else { Verdict::Prefers(if a > b { Side::A } else { Side::B }) }
            };
            Ok(pairs.iter().map(verdict).collect())
        });
    let outcome = Procedure::new(config(), models()).judge("the longer one", longer).run(root.path().join("run"));
    let policy = outcome.unwrap().report.policy.unwrap();
    assert!(policy.comparisons.iter().all(|comparison| comparison.judge == "the longer one"));
}

#[test]
fn nothing_is_written_before_all_is_checked() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("run");
    let mut wrong = config();
    wrong.policies.judged = 0;
    let error = Procedure::new(wrong, models()).run(&folder).unwrap_err();
    assert!(error.to_string().starts_with("policies.judged is 0"), "{error}");
    let no_policy = models_fn(|| Ok(MockLearner::new(|_, _| 0.0)), || Err::<TablePolicy, _>(Error::NoPrompts));
    let mut missing = config();
    missing.set("run.data=nowhere.jsonl").unwrap();
    let error = Procedure::new(missing, no_policy).run(&folder).unwrap_err();
    assert!(error.to_string().contains("nowhere.jsonl"), "{error}");
    assert!(!folder.exists());
}
