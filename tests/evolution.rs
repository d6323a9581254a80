//! The loop on a world with known truth.

#![allow(clippy::unwrap_used)]

mod support;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use ser::eval::{BaselineKind, Report};
use ser::ndarray::Array2;
use ser::status::{Anchor, Automatic, Balance, PrecisionTarget, ScheduleSettings, Thresholds};
use ser::{Baselines, LoopSettings, ModelSelection, Outcome, PoolReuse, SelfEvolution, SerData, WarmStart};
use ser::{
    Context, Control, Event, FitSummary, Learner, LearningStatus, LossOutput, Pair, PairId, PairLoss,
    PairProbabilities, PairScores, Preference, PreferenceStore, Scorer, Side, Stage, loss_fn, observer_fn, rule_fn,
};
use support::{Linear, data, settings};

fn accuracy(report: &Report, kind: BaselineKind) -> f64 {
    report.baseline(kind).unwrap().evaluation.accuracy.value
}

fn run_in(folder: &Path, settings: LoopSettings, data: SerData) -> Outcome {
    SelfEvolution::new(settings).run(&mut Linear::default(), data, folder).unwrap()
}

fn run(settings: LoopSettings, data: SerData) -> Report {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), settings, data).report
}

/// The lines of a file of the run, as JSON.
fn lines(file: &Path) -> Vec<serde_json::Value> {
    std::fs::read_to_string(file).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Theorem 1: with seed accuracy over 50 % and confident filtering, retraining does not lower accuracy.
#[test]
fn ser_is_better_than_the_seed_model() {
    for seed in 1..=3 {
        let report = run(settings(), data(seed));
        let of = |kind| accuracy(&report, kind);
        let (loop0, ser, full) = (of(BaselineKind::Loop0), of(BaselineKind::Ser), of(BaselineKind::Full));
        println!(
            "seed {seed}: loop 0 {loop0:.3}, SER {ser:.3}, full {full:.3}, random {:.3}, oracle {:.3}",
            of(BaselineKind::Random),
            of(BaselineKind::Oracle)
        );
        assert!(loop0 > 0.5);
        assert!(ser > loop0 + 0.1, "seed {seed}: SER {ser}, loop 0 {loop0}");
        assert!(full > ser - 0.02, "seed {seed}: SER {ser}, full {full}");
        for round in &report.iterations[1..] {
            let selection = round.selection.as_ref().unwrap();
            // Labels that the model is sure of are better than its labels at large.
            assert!(selection.precision.unwrap().value > loop0, "{selection:?}");
            assert!(round.evaluation.accuracy.value > loop0, "{:?}", round.evaluation);
        }
    }
}

#[test]
fn a_run_leaves_a_folder_that_people_can_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("runs/first");
    let outcome = run_in(&run, settings(), data(1));
    for file in [
        "settings.json",
        "manifest.json",
        "report.json",
        "report.html",
        "rounds/base/weights.json",
        "rounds/00/model/weights.json",
        "rounds/00/metrics.json",
        "rounds/01/scores.jsonl",
        "rounds/01/selection.jsonl",
        "rounds/01/model/weights.json",
        "rounds/03/test.jsonl",
        "rounds/03/validation.jsonl",
        "baselines/full/model/weights.json",
        "baselines/random/02/scores.jsonl",
        "baselines/random/03/model/weights.json",
        "baselines/random/test.jsonl",
        "baselines/oracle/test.jsonl",
    ] {
        assert!(run.join(file).is_file(), "{file}");
    }
    assert_eq!(Report::read(&run.join("report.json")).unwrap(), outcome.report);
    let kept = outcome.report.iterations[1].selection.as_ref().unwrap().kept;
    let selection = lines(&run.join("rounds/01/selection.jsonl"));
    assert_eq!(selection.len() as u64, kept);
    for line in &selection {
        let p: [f64; 2] = serde_json::from_value(line["probability"].clone()).unwrap();
        assert!((p[0] > 0.6 && p[1] < 0.4 && line["preferred"] == "a") || (p[1] > 0.6 && p[0] < 0.4), "{line}");
        assert_eq!(line["status"], "status1");
        assert_eq!(line["round"], 1);
    }
    assert_eq!(lines(&run.join("rounds/01/scores.jsonl")).len(), 1000, "the whole pool's, for sweeps");
    let gold_free = std::fs::read_to_string(run.join("rounds/01/selection.jsonl")).unwrap();
    assert!(!gold_free.contains("gold"));
    // The learner is left with the model that the outcome names.
    let weights: Vec<f64> =
        serde_json::from_str(&std::fs::read_to_string(outcome.model.join("weights.json")).unwrap()).unwrap();
    let mut learner = Linear::default();
    SelfEvolution::new(settings()).resume(true).run(&mut learner, data(1), &run).unwrap();
    assert_eq!(learner.weights, weights);
}

#[test]
fn random_goes_through_the_same_loops_blindly() {
    // A filter that lets every pair through chooses no better than chance, so both learn the same.
    let thresholds = Thresholds { tau_high: 0.5, tau_low: 0.5, tau_delta: 0.0, ..Thresholds::default() };
    let all = LoopSettings { thresholds, anchor: Anchor::PerPair, model_selection: ModelSelection::Last, ..settings() };
    let report = run(all, data(1));
    for round in &report.iterations[1..] {
        let selection = round.selection.as_ref().unwrap();
        assert!(selection.kept * 10 > selection.pool * 9, "all but ties: {} of {}", selection.kept, selection.pool);
    }
    assert_eq!(accuracy(&report, BaselineKind::Random), accuracy(&report, BaselineKind::Ser));
    // A filter that does choose has other labels from loop 2 on.
    let report = run(LoopSettings { model_selection: ModelSelection::Last, ..settings() }, data(1));
    assert_ne!(accuracy(&report, BaselineKind::Random), accuracy(&report, BaselineKind::Ser));
    let of = |kind| report.baselines.iter().find(|b| b.kind == kind).map(|b| (b.trained_on, b.human_labels));
    assert_eq!(of(BaselineKind::Random), of(BaselineKind::Ser));
}

#[test]
fn every_way_to_carry_and_to_start_works() {
    let baselines = Baselines { random: true, ..Baselines::none() };
    for (pool_reuse, warm_start, replay_seed) in [
        (PoolReuse::Rest, WarmStart::Previous, false),
        (PoolReuse::RestKeepingLabels, WarmStart::Base, true),
        (PoolReuse::Whole, WarmStart::Previous, true),
    ] {
        let settings = LoopSettings { pool_reuse, warm_start, replay_seed, baselines, ..settings() };
        let report = run(settings, data(2));
        assert!(accuracy(&report, BaselineKind::Ser) > accuracy(&report, BaselineKind::Loop0) + 0.05, "{pool_reuse:?}");
        let selections: Vec<_> = report.iterations.iter().filter_map(|r| r.selection.as_ref()).collect();
        for (before, after) in selections.iter().zip(&selections[1..]) {
            let pool = if pool_reuse == PoolReuse::Whole { before.pool } else { before.pool - before.kept };
            assert_eq!(after.pool, pool, "{pool_reuse:?}");
        }
        let last = report.iterations.last().unwrap();
        let all: u64 = selections.iter().map(|s| s.kept).sum();
        match pool_reuse {
            // Trained from the round before, on pairs never seen: what the weights have seen adds up.
            PoolReuse::Rest | PoolReuse::RestKeepingLabels => assert_eq!(last.trained_on, 8 + all),
            PoolReuse::Whole => assert!(last.trained_on >= 8 + selections.last().unwrap().kept),
        }
    }
}

/// Labelled pairs with margins, and labels of the loop, which the data gives none: all trainings ask for margins of one kind.
#[test]
fn labels_of_the_loop_ask_for_the_mean_margin_of_the_labelled_pairs() {
    let with_margins = |data: SerData| {
        let margin = |(i, p): (usize, Preference)| Preference { margin: Some(0.25 * i as f64), ..p };
        SerData { seed: data.seed.iter().cloned().enumerate().map(margin).collect(), ..data }
    };
    for (data, mean) in [(data(1), None), (with_margins(data(1)), Some(0.25 * 3.5))] {
        let own: Vec<Option<f64>> = data.seed.iter().map(|p| p.margin).collect();
        let asked = std::sync::Mutex::new(Vec::new());
        let hinge = ser::loss::LossSettings::default().check().unwrap();
        let loss = loss_fn(|scores, targets| {
            asked.lock().unwrap().push(targets.iter().map(|target| target.margin).collect::<Vec<_>>());
            hinge.evaluate(scores, targets)
        });
        let folder = tempfile::tempdir().unwrap();
        let settings = LoopSettings { replay_seed: true, baselines: Baselines::none(), ..settings() };
        SelfEvolution::new(settings).loss(loss).run(&mut Linear::default(), data, folder.path()).unwrap();
        let asked = asked.into_inner().unwrap();
        assert_eq!(asked.first(), Some(&own), "Loop 0");
        let later: Vec<_> = asked.iter().filter(|margins| margins.len() > own.len()).collect();
        assert!(!later.is_empty());
        for margins in later {
            assert_eq!(margins[..own.len()], own);
            assert!(margins[own.len()..].iter().all(|margin| *margin == mean), "{margins:?}");
        }
    }
}

#[test]
fn the_authors_preset_stops_when_nothing_is_left_to_keep() {
    let schedule = ScheduleSettings::AuthorsCode(ser::status::AuthorsCode { max_loops: 50 });
    let settings = LoopSettings { schedule, baselines: Baselines::none(), ..LoopSettings::authors_code() };
    let report = run(settings, data(3));
    let stopped = report.stopped.unwrap();
    assert!(stopped.starts_with("no pair can be selected any more: "), "{stopped}");
    assert!(report.iterations.len() < 50);
    assert_eq!(report.baselines.len(), 2, "baselines can be switched off");
}

#[test]
fn a_model_that_is_sure_of_nothing_ends_with_loop_0() {
    let report = run(LoopSettings { anchor: Anchor::None, ..settings() }, {
        // One pair of the seed says nothing at all.
        let data = data(1);
        SerData { seed: same_answers(&data.seed[..1]).into(), ..data }
    });
    assert_eq!(report.iterations.len(), 1);
    assert!(report.iterations[0].chosen);
    let text = report.warnings.join("\n");
    assert!(text.contains("margin of 0") && text.contains("random and oracle are left out"), "{text}");
    let stopped = report.stopped.as_deref().unwrap();
    assert!(stopped.contains("No threshold and no anchor would change that"), "margins of 0: {stopped}");
    assert!(report.baseline(BaselineKind::Full).is_some());
}

/// A model whose raw scores all lie far over 0, as a pairwise loss lets them.
struct Drifted(Linear);

impl Scorer for Drifted {
    type Error = std::io::Error;

    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, Self::Error> {
        Ok(self.0.score(pairs, cx)?.iter().map(|s| PairScores::new(s.a.0 + 30.0, s.b.0 + 30.0)).collect())
    }
}

impl Learner for Drifted {
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, Self::Error> {
        self.0.fit(data, loss, cx)
    }

    fn snapshot(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.0.snapshot(folder)
    }

    fn restore(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.0.restore(folder)
    }
}

#[test]
fn an_anchor_is_advised_where_scores_have_drifted_from_the_thresholds() {
    let run = |anchor| {
        let folder = tempfile::tempdir().unwrap();
        let settings = LoopSettings { anchor, ..settings() };
        let mut model = Drifted(Linear::default());
        SelfEvolution::new(settings).run(&mut model, data(1), folder.path()).unwrap().report
    };
    let drifted = run(Anchor::None);
    assert_eq!(drifted.iterations.len(), 1);
    let text = drifted.stopped.unwrap();
    for said in [
        "of 1000 pairs none passes either status: one answer over 0.6 and the other under 0.4, or Delta over 0.3",
        "Delta is 0.0000 (5 %), 0.0000 (median)",
        "p of the higher-scored answer is 1.0000 (5 %)",
        "p of the lower-scored answer is 1.0000 (5 %)",
        "loop.anchor = \"per_pair\" (",
        "loop.anchor = \"pool_mean\" (",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let anchored = run(Anchor::PerPair);
    assert!(anchored.iterations.len() > 1);
    assert_eq!(anchored.stopped.as_deref(), Some("the loop limit is reached"));
}

/// The same pairs with B's cues a copy of A's, but for a blank that screening sees.
fn same_answers(preferences: &[Preference]) -> Vec<Preference> {
    let same = |p: &Preference| {
        let answer = p.pair.response(Side::A);
        let pair = Pair::from_text(p.pair.id, "q", answer, format!("{answer} "));
        Preference::human(Arc::new(pair), Side::A)
    };
    preferences.iter().map(same).collect()
}

#[test]
fn scores_that_are_no_numbers_are_never_selected() {
    let folder = tempfile::tempdir().unwrap();
    let broken = |pair: &Pair| pair.id.0 >= 1_000_000 && pair.id.0 % 3 == 1;
    let mut learner = Linear { broken, ..Linear::default() };
    let outcome = SelfEvolution::new(settings()).run(&mut learner, data(1), folder.path()).unwrap();
    assert_eq!(outcome.report.iterations.len(), 4);
    for round in 1..=3 {
        let ids: Vec<_> = lines(&folder.path().join(format!("rounds/{round:02}/selection.jsonl")))
            .iter()
            .map(|line| line["id"].as_u64().unwrap())
            .collect();
        assert!(ids.len() > 50 && ids.iter().all(|id| id % 3 != 1), "round {round}");
    }
    let warning = "The model that labels for loop 1 gives 334 of 1000 pool pairs scores that are no finite numbers";
    assert!(outcome.report.warnings.iter().any(|w| w.starts_with(warning)), "{:?}", outcome.report.warnings);
}

#[test]
fn pairs_that_the_model_cannot_use_are_left_out_and_counted() {
    let mut data = data(1);
    let same = Pair::from_text(PairId(77), "q", "0101", "0101");
    data.pool = data.pool.iter().cloned().chain([Arc::new(same.clone())]).collect();
    let more = Preference::human(Arc::new(Pair { id: PairId(78), ..same }), Side::B);
    data.seed = data.seed.iter().cloned().chain([more]).collect();
    let report = run(LoopSettings { baselines: Baselines::none(), ..settings() }, data);
    let left_out: Vec<_> = report.data.left_out.iter().map(|c| (c.name.as_str(), c.count)).collect();
    let why = "answers the same to the model";
    assert_eq!(left_out, [(&*format!("labelled seed: {why}"), 1), (&*format!("pool: {why}"), 1)]);
}

#[test]
fn the_best_round_is_chosen_on_validation_and_the_earlier_of_equals() {
    let model_selection = ModelSelection::Validation;
    let report = run(LoopSettings { model_selection, baselines: Baselines::none(), ..settings() }, data(2));
    let accuracies: Vec<f64> = report.iterations.iter().map(|r| r.validation_accuracy.unwrap()).collect();
    let best = accuracies.iter().cloned().fold(0.0, f64::max);
    let first = accuracies.iter().position(|a| *a == best).unwrap();
    assert!(report.iterations[first].chosen, "{accuracies:?}");
    assert_eq!(report.iterations.iter().filter(|r| r.chosen).count(), 1);

    let last = LoopSettings { model_selection: ModelSelection::Last, baselines: Baselines::none(), ..settings() };
    assert!(run(last, data(2)).iterations.last().unwrap().chosen);
    let blind = LoopSettings { anchor: Anchor::PerPair, baselines: Baselines::none(), ..settings() };
    let report = run(blind, SerData { validation: [].into(), ..data(2) });
    assert!(report.iterations.last().unwrap().chosen, "without validation the last");
}

#[test]
fn without_gold_labels_there_is_no_audit() {
    let report = run(settings(), SerData { gold: None, ..data(1) });
    assert!(report.iterations[1].selection.as_ref().unwrap().precision.is_none());
    let kinds: Vec<_> = report.baselines.iter().map(|b| b.kind).collect();
    assert_eq!(kinds, [BaselineKind::Loop0, BaselineKind::Ser, BaselineKind::Random]);
    assert!(report.warnings.iter().any(|w| w.contains("no gold labels")));
    // Gold labels change the report and nothing that is learnt.
    let with_gold = run(settings(), data(1));
    assert_eq!(accuracy(&with_gold, BaselineKind::Ser), accuracy(&report, BaselineKind::Ser));
}

#[test]
fn a_certified_threshold_takes_the_place_of_the_status() {
    let target = PrecisionTarget { precision: 0.8, ..PrecisionTarget::default() };
    let baselines = Baselines::none();
    let settings =
        LoopSettings { precision_target: Some(target), anchor: Anchor::PerPair, baselines, ..LoopSettings::default() };
    let report = run(settings.clone(), data(1));
    let first = &report.iterations[1];
    assert!(first.rule.as_ref().unwrap().starts_with("certified: Delta over "), "{:?}", first.rule);
    assert!(first.selection.as_ref().unwrap().precision.unwrap().value >= 0.8);
    // What cannot be had is not pretended.
    let target = PrecisionTarget { precision: 0.9999, ..PrecisionTarget::default() };
    let report = run(LoopSettings { precision_target: Some(target), ..settings }, data(1));
    assert_eq!(report.iterations.len(), 1);
}

#[test]
fn a_rule_and_a_loss_of_ones_own() {
    // Keeps one pair in two of those it leans on at all.
    let rule = rule_fn(|pool| {
        let keep = |(index, pair): (usize, &PairProbabilities)| match index % 2 == 0 && pair.delta() > 0.05 {
            true => LearningStatus::Status2,
            false => LearningStatus::Stop,
        };
        Ok::<_, Infallible>(pool.probabilities().iter().enumerate().map(keep).collect())
    });
    // (1 - (r_preferred - r_other))^2 / n.
    let squared = loss_fn(|scores, _| {
        let n = scores.nrows().max(1) as f64;
        let short = |row: usize| 1.0 - (scores[[row, 0]] - scores[[row, 1]]);
        let by = |(row, side): (usize, usize)| if side == 0 { -2.0 * short(row) / n } else { 2.0 * short(row) / n };
        let gradient = Array2::from_shape_fn(scores.dim(), by);
        Ok(LossOutput { value: (0..scores.nrows()).map(|row| short(row).powi(2)).sum::<f64>() / n, gradient })
    });
    let folder = tempfile::tempdir().unwrap();
    let outcome = SelfEvolution::new(settings())
        .rule(rule)
        .loss(squared)
        .run(&mut Linear { epochs: 20, ..Linear::default() }, data(1), folder.path())
        .unwrap();
    assert_eq!(outcome.report.iterations[1].rule.as_deref(), Some("custom rule"));
    assert_eq!(outcome.report.iterations.len(), 4);
    assert!(outcome.report.iterations[1].selection.as_ref().unwrap().kept <= 500);
}

#[test]
fn the_automatic_schedule_and_balance_are_heeded() {
    let schedule = ScheduleSettings::Automatic(Automatic { max_loops: 2, ..Automatic::default() });
    let balance = Balance { max_side_share: Some(0.5), ..Balance::default() };
    let folder = tempfile::tempdir().unwrap();
    let settings = LoopSettings { schedule, balance, baselines: Baselines::none(), ..settings() };
    let report = run_in(folder.path(), settings, data(1)).report;
    assert!(report.iterations.len() <= 3);
    let selection = lines(&folder.path().join("rounds/01/selection.jsonl"));
    let a = selection.iter().filter(|line| line["preferred"] == "a").count();
    assert_eq!(2 * a, selection.len());
}

#[test]
fn observers_get_stages_and_metrics() {
    let mut stages = Vec::new();
    let mut figures = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let observer = observer_fn(|event| {
        match event {
            Event::Started { stage, .. } => stages.push(stage.to_string()),
            Event::Metrics { stage: Stage::Iteration(1), values, .. } => {
                figures.extend(values.iter().map(|v| v.0.to_owned()))
            }
            _ => {}
        }
        Control::Continue
    });
    SelfEvolution::new(settings()).observer(observer).run(&mut Linear::default(), data(1), folder.path()).unwrap();
    for stage in ["train loop 0", "score the pool for loop 1", "train loop 3", "train baseline oracle"] {
        assert!(stages.iter().any(|s| s == stage), "{stage}: {stages:?}");
    }
    for name in ["eval_accuracy", "kept", "pseudo_label_precision"] {
        assert!(figures.iter().any(|f| f == name), "{name}: {figures:?}");
    }
}
