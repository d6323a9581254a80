//! Settings that decide the selection and the result: rules, schedules, margins, validation.

use std::convert::Infallible;

use crate::support::{Linear, data, settings};
use crate::{lines, run, run_in};
use ser::ndarray::Array2;
use ser::status::{Anchor, Automatic, Balance, PrecisionTarget, ScheduleSettings};
use ser::{Baselines, LoopSettings, ModelSelection, SelfEvolution, SerData};
use ser::{LearningStatus, LossOutput, PairLoss, PairProbabilities, Preference, loss_fn, rule_fn};

/// Labelled pairs have margins, pseudo-labels have no margin of their own.
#[test]
fn pseudo_labels_have_the_mean_margin_of_the_labelled_pairs() {
    let with_margins = |data: SerData| {
        let margin = |(i, p): (usize, Preference)| Preference { margin: Some(0.25 * i as f64), ..p };
        SerData { seed: data.seed.read_all().unwrap().into_iter().enumerate().map(margin).collect(), ..data }
    };
    for (data, mean) in [(data(1), None), (with_margins(data(1)), Some(0.25 * 3.5))] {
        let own: Vec<Option<f64>> = data.seed.read_all().unwrap().iter().map(|p| p.margin).collect();
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
fn the_authors_code_stops_when_no_pair_is_left_to_select() {
    let schedule = ScheduleSettings::AuthorsCode(ser::status::AuthorsCode { max_loops: 50 });
    let settings = LoopSettings { schedule, baselines: Baselines::none(), ..LoopSettings::authors_code() };
    let report = run(settings, data(3));
    let stopped = report.stopped.unwrap();
    assert!(stopped.starts_with("no pair can be selected any more: "), "{stopped}");
    assert!(report.iterations.len() < 50);
    assert_eq!(report.baselines.len(), 2, "baselines can be switched off");
}

#[test]
fn validation_selects_the_best_iteration_and_the_earliest_among_equals() {
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
fn a_certified_threshold_takes_the_place_of_the_status() {
    let target = PrecisionTarget { precision: 0.8, ..PrecisionTarget::default() };
    let baselines = Baselines::none();
    let settings =
        LoopSettings { precision_target: Some(target), anchor: Anchor::PerPair, baselines, ..LoopSettings::default() };
    let report = run(settings.clone(), data(1));
    let first = &report.iterations[1];
    assert!(first.rule.as_ref().unwrap().starts_with("certified: Delta over "), "{:?}", first.rule);
    assert!(first.selection.as_ref().unwrap().precision.unwrap().value >= 0.8);
    // If no threshold can be certified, nothing is selected.
    let target = PrecisionTarget { precision: 0.9999, ..PrecisionTarget::default() };
    let report = run(LoopSettings { precision_target: Some(target), ..settings }, data(1));
    assert_eq!(report.iterations.len(), 1);
}

#[test]
fn a_custom_rule_and_a_custom_loss_are_used() {
    // Keeps every second pair whose answers have different scores.
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
fn the_automatic_schedule_and_the_balance_limit_the_selection() {
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
