//! The report of a run on the uncertainty of its metrics, on the reason for its end, and on the labels that it read.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use ser::data::blind;
use ser::eval::{BaselineKind, Report};
use ser::status::{Anchor, Balance, LoopState, Plan, PrecisionTarget, ScheduleSettings, Thresholds};
use ser::{Baselines, LoopSettings, ModelSelection, PoolReuse, SelfEvolution, SerData};
use ser::{Control, Event, Pair, Preference, Stage, observer_fn};
use support::{Linear, data, settings};

fn run(settings: LoopSettings, data: SerData) -> Report {
    let folder = tempfile::tempdir().unwrap();
    SelfEvolution::new(settings).run(&mut Linear::default(), data, folder.path()).unwrap().report
}

/// Without baselines.
fn quick() -> LoopSettings {
    LoopSettings { baselines: Baselines::none(), ..settings() }
}

/// The same pairs, every `n` of them with one prompt.
fn sharing_prompts(preferences: Vec<Preference>, n: usize) -> Vec<Preference> {
    let share = |(i, preference): (usize, Preference)| {
        let [a, b] = preference.pair.responses.clone();
        let pair = Pair::from_text(preference.pair.id, format!("shared question {}", i / n), a, b);
        Preference { pair: Arc::new(pair), ..preference }
    };
    preferences.into_iter().enumerate().map(share).collect()
}

#[test]
fn intervals_count_prompts() {
    let alone = run(quick(), data(1));
    let data = SerData { test: sharing_prompts(data(1).test.read_all().unwrap(), 10).into(), ..data(1) };
    let shared = run(quick(), data);
    for (alone, shared) in alone.iterations.iter().zip(&shared.iterations) {
        let (alone, shared) = (alone.evaluation.accuracy, shared.evaluation.accuracy);
        assert_eq!((alone.value, alone.pairs, alone.clusters), (shared.value, 600, None));
        assert_eq!(shared.clusters, Some(60));
    }
    let gain = shared.baseline(BaselineKind::Ser).unwrap().gain.unwrap();
    assert_eq!((gain.pairs, gain.clusters), (600, Some(60)));
    assert!(shared.warnings.iter().any(|w| w.starts_with("There are only 600 test pairs of 60 prompts: ")));
    assert!(!alone.warnings.iter().any(|w| w.starts_with("There are only")), "{:?}", alone.warnings);
}

#[test]
fn the_audit_counts_prompts() {
    let labelled: Vec<Preference> =
        support::pairs(1000, 1_000_000, 1).into_iter().map(|(pair, side)| Preference::human(pair, side)).collect();
    let (pool, gold) = blind(&sharing_prompts(labelled, 10), 1).unwrap();
    let report = run(quick(), SerData { pool: pool.into(), gold: Some(gold), ..data(1) });
    let precision = report.iterations[1].selection.as_ref().unwrap().precision.unwrap();
    assert!(precision.clusters.is_some_and(|prompts| prompts <= 100 && prompts < precision.pairs), "{precision:?}");
}

#[test]
fn thresholds_are_certified_by_prompt() {
    let settings = LoopSettings {
        precision_target: Some(PrecisionTarget { precision: 0.8, ..PrecisionTarget::default() }),
        anchor: Anchor::PerPair,
        ..quick()
    };
    assert!(run(settings.clone(), data(1)).iterations.len() > 1, "200 prompts are enough");
    let few = SerData { validation: sharing_prompts(data(1).validation.read_all().unwrap(), 20).into(), ..data(1) };
    let report = run(settings, few);
    assert_eq!(report.iterations.len(), 1, "ten prompts are not");
    let text = report.stopped.unwrap();
    for said in ["label 0.8 of the pairs right", "200 validation pairs of 10 prompts", "More validation prompts"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(report.warnings.iter().any(|w| w.starts_with("There are only 200 validation pairs of 10 prompts: ")));
}

#[test]
fn a_difference_within_one_standard_error_does_not_choose_the_model() {
    let selections = [ModelSelection::Validation, ModelSelection::OneStandardError, ModelSelection::Last];
    let mut overruled = 0;
    for seed in 1..=6 {
        let few = || SerData { validation: data(seed).validation.subset(&(0..20).collect::<Vec<_>>()), ..data(seed) };
        let [best, by_error, last] = selections.map(|model_selection| {
            let report = run(LoopSettings { model_selection, anchor: Anchor::PerPair, ..quick() }, few());
            let chosen = report.iterations.iter().position(|iteration| iteration.chosen).unwrap();
            (chosen, report)
        });
        assert_eq!(last.0, last.1.iterations.len() - 1);
        // Ahead by d pairs, the standard error is at least sqrt(20 / 19 (d - d^2 / 20)) / 20 (nothing lost): for d = 1
        // that is 1 / 20, the gain itself.
        let right =
            |report: &Report, i: usize| (20.0 * report.iterations[i].validation_accuracy.unwrap()).round() as i64;
        let ahead = right(&by_error.1, best.0) - right(&by_error.1, last.0);
        if ahead <= 1 {
            assert_eq!(by_error.0, last.0, "seed {seed}: ahead by {ahead} of 20");
        }
        assert!(by_error.0 == last.0 || by_error.0 == best.0);
        let noted = by_error.1.warnings.iter().any(|w| w.contains("within one standard error"));
        assert_eq!(noted, by_error.0 == last.0 && ahead > 0, "seed {seed}: {:?}", by_error.1.warnings);
        overruled += usize::from(best.0 != last.0 && by_error.0 == last.0);
    }
    assert!(overruled > 0, "no seed shows the difference");
}

#[test]
fn a_clear_difference_chooses_the_model() {
    // The last loop learns from labels that a rule turned to noise: the first is better by far.
    let plan = |states: Vec<LoopState>| ScheduleSettings::Paper(Plan { plan: states });
    let settings = LoopSettings { schedule: plan(vec![LoopState::Status1]), anchor: Anchor::PerPair, ..quick() };
    let folder = tempfile::tempdir().unwrap();
    let mut learner = Linear { broken_after: Some(1), ..Linear::default() };
    let report = SelfEvolution::new(settings).run(&mut learner, data(1), folder.path()).unwrap().report;
    let accuracy = |i: usize| report.iterations[i].validation_accuracy.unwrap();
    assert!(accuracy(0) > accuracy(1) + 0.1, "{} {}", accuracy(0), accuracy(1));
    assert!(report.iterations[0].chosen);
}

#[test]
fn human_labels_count_validation_where_it_was_read() {
    let labels = |settings: LoopSettings| {
        let report = run(LoopSettings { baselines: Baselines::default(), ..settings }, data(1));
        let of = |kind| report.baseline(kind).map(|b| b.human_labels);
        (of(BaselineKind::Loop0), of(BaselineKind::Ser), of(BaselineKind::Random), of(BaselineKind::Full))
    };
    let blind = LoopSettings { model_selection: ModelSelection::Last, anchor: Anchor::PerPair, ..settings() };
    // Weights come from the seed's 8 labels by way of Loop 0; 200 validation labels; Full reads seed and pool.
    assert_eq!(labels(blind.clone()), (Some(8), Some(8), Some(8), Some(1008)));
    let with_validation = (Some(8), Some(208), Some(208), Some(1008));
    assert_eq!(labels(LoopSettings { anchor: Anchor::Fitted, ..blind.clone() }), with_validation);
    assert_eq!(labels(LoopSettings { model_selection: ModelSelection::Validation, ..blind.clone() }), with_validation);
    let schedule = ScheduleSettings::Automatic(ser::status::Automatic::default());
    assert_eq!(labels(LoopSettings { schedule, ..blind }), with_validation);
}

#[test]
fn shares_are_of_the_pairs_with_gold() {
    // Every third pair of the pool has a gold label.
    let labelled: Vec<Preference> =
        support::pairs(1000, 1_000_000, 1).into_iter().map(|(pair, side)| Preference::human(pair, side)).collect();
    let (pool, _) = blind(&labelled, 1).unwrap();
    let third: Vec<Preference> = labelled.into_iter().step_by(3).collect();
    let (_, gold) = blind(&third, 1).unwrap();
    let report = run(quick(), SerData { pool: pool.into(), gold: Some(gold), ..data(1) });
    let selection = report.iterations[1].selection.as_ref().unwrap();
    let precision = selection.precision.unwrap();
    assert!(precision.pairs < selection.kept / 2, "{} of {} have gold", precision.pairs, selection.kept);
    let bins = &selection.delta_histogram;
    assert_eq!(bins.iter().map(|bin| bin.with_gold).sum::<u64>(), 334);
    for bin in bins.iter().filter(|bin| bin.with_gold > 0) {
        assert!(bin.correct.unwrap() <= bin.with_gold && bin.with_gold <= bin.pairs, "{bin:?}");
    }
    let html = report.to_html();
    assert!(html.contains("kept without a gold label") && html.contains("pairs with a gold label labelled right"));
}

#[test]
fn a_status_2_that_reaches_no_further_gives_a_warning() {
    let told = |settings: LoopSettings| {
        let mut notes = Vec::new();
        let observer = observer_fn(|event| {
            if let Event::Note { text } = event {
                notes.push((*text).to_owned());
            }
            Control::Continue
        });
        let folder = tempfile::tempdir().unwrap();
        let run = SelfEvolution::new(settings).observer(observer);
        let report = run.run(&mut Linear::default(), data(1), folder.path()).unwrap().report;
        (report, notes.join("\n"))
    };
    let per_pair = LoopSettings { anchor: Anchor::PerPair, ..quick() };
    let within = LoopSettings { thresholds: Thresholds::default(), ..per_pair.clone() };
    let (report, notes) = told(within);
    let count = report.warnings.iter().filter(|w| w.contains("no more ambiguous")).count();
    assert_eq!(count, 1, "once, from the settings: {:?}", report.warnings);
    assert!(notes.contains("margins over 1.238 against 0.401"), "{notes}");

    // In the paper's order the last loop reaches pairs that the loops before did not.
    let thresholds = Thresholds { tau_high: 0.55, tau_low: 0.45, tau_delta: 0.04, ..Thresholds::default() };
    let (report, _) = told(LoopSettings { thresholds, ..per_pair });
    assert!(!report.warnings.iter().any(|w| w.contains("ambiguous")), "{:?}", report.warnings);
    let least_delta = |iteration: usize| {
        let bins = &report.iterations[iteration].selection.as_ref().unwrap().delta_histogram;
        bins.iter().find(|bin| bin.kept > 0).unwrap().low
    };
    assert!(least_delta(1) >= 0.1 && least_delta(3) < 0.1, "{} {}", least_delta(1), least_delta(3));

    // With an anchor that leaves both scores free it depends on the pool: far apart means far on both sides here.
    let thresholds = Thresholds { tau_high: 0.5, tau_low: 0.5, tau_delta: 0.4, ..Thresholds::default() };
    let (report, _) = told(LoopSettings { thresholds, anchor: Anchor::PoolMean, ..quick() });
    let last = report.iterations.last().unwrap();
    let within = report.warnings.iter().any(|w| w.starts_with("Loop 3 selects by Status 2, but Status 1 would keep"));
    // Centred on the pool's mean, a pair may have both answers on one side of 0.5 at a small Delta, but not at 0.4.
    assert!(last.rule.as_deref().is_some_and(|rule| rule.starts_with("Status 2")) && within, "{:?}", report.warnings);
}

#[test]
fn the_reason_of_an_empty_selection_is_reported() {
    let stopped = |settings: LoopSettings| run(settings, data(1)).stopped.unwrap();
    // All of the pool was selected before.
    let all = Thresholds { tau_high: 0.5, tau_low: 0.5, tau_delta: 0.0, ..Thresholds::default() };
    let settings = LoopSettings { thresholds: all, anchor: Anchor::PerPair, ..quick() };
    let text = stopped(LoopSettings { pool_reuse: PoolReuse::Rest, ..settings.clone() });
    println!("{text}");
    // A plan whose states keep nothing, though another would.
    let thresholds = Thresholds { tau_high: 1.0, tau_low: 0.0, tau_delta: 0.1, ..Thresholds::default() };
    let schedule = ScheduleSettings::Paper(Plan { plan: vec![LoopState::Status1] });
    let text = stopped(LoopSettings { thresholds, schedule, ..settings.clone() });
    assert!(
        text.contains("0 pass Status 1 and") && text.contains("a loop.schedule with a state that keeps pairs"),
        "{text}"
    );
    // Thresholds beyond every pair, with the number that would keep some.
    let thresholds = Thresholds { tau_high: 1.0, tau_low: 0.0, tau_delta: 1.0, ..Thresholds::default() };
    let text = stopped(LoopSettings { thresholds, ..settings.clone() });
    let tau = text.split("loop.thresholds.tau_delta = ").nth(1).unwrap();
    let (tau, rest) = tau.split_once(" (").unwrap();
    let kept: u64 = rest.split(' ').next().unwrap().parse().unwrap();
    let thresholds = Thresholds { tau_delta: tau.parse().unwrap(), ..thresholds };
    let report = run(LoopSettings { thresholds, ..settings.clone() }, data(1));
    assert_eq!(report.iterations[1].selection.as_ref().unwrap().kept, kept, "as the message said: {text}");
    // Caps that leave nothing.
    let balance = Balance { max_side_share: Some(0.5), ..Balance::default() };
    let one_sided = SerData { pool: data(1).pool.subset(&[0]), gold: None, ..data(1) };
    let report = run(LoopSettings { balance, ..settings }, one_sided);
    let text = report.stopped.unwrap();
    assert!(text.contains("1 pairs pass Status 1") && text.contains("loop.balance leaves none"), "{text}");
}

#[test]
fn the_pools_quantiles_are_sent_as_metrics() {
    let mut metrics = Vec::new();
    let observer = observer_fn(|event| {
        if let Event::Metrics { stage: Stage::Pool(1), values, .. } = event {
            metrics.extend(values.iter().map(|(name, value)| ((*name).to_owned(), *value)));
        }
        Control::Continue
    });
    let folder = tempfile::tempdir().unwrap();
    SelfEvolution::new(quick()).observer(observer).run(&mut Linear::default(), data(1), folder.path()).unwrap();
    let of = |name: &str| metrics.iter().find(|(n, _)| n == name).unwrap().1;
    assert_eq!(of("pairs"), 1000.0);
    assert!(of("delta_min") <= of("delta_median") && of("delta_median") <= of("delta_max"));
    assert!(of("p_low_median") <= 0.5 && of("p_high_median") >= 0.5);
}
