//! Contents of a run's report besides accuracies: time, rows, noise of labels, changes by the loops.

#![allow(clippy::unwrap_used)]

mod support;

use approx::assert_abs_diff_eq;
use std::thread;
use std::time::Duration;

use ser::data::{ReadSummary, blind};
use ser::eval::{BaselineKind, Count, DataCounts, PolicyReport, Report};
use ser::ppo::{PpoSettings, ResponseLength};
use ser::testing::{StopAfter, TablePolicy};
use ser::{
    Error, Observers, PolicyRunSettings, PpoTraining, RunFolder, SelfEvolution, SerData, count_rows,
    write_policy_report,
};
use ser::{Message, Preference, reward_fn};
use support::{Linear, data, settings};

#[test]
fn the_time_of_a_training_is_that_of_all_its_steps_resumes_included() {
    let folder = tempfile::tempdir().unwrap();
    let step = Duration::from_millis(20);
    let mut stops = 0;
    loop {
        let mut run = RunFolder::open(folder.path(), true).unwrap();
        let mut policy = TablePolicy::new(4);
        let mut slow = reward_fn(|_, answer| {
            thread::sleep(step / 4);
            answer.len() as f64
        });
        let ppo = PpoSettings {
            batch_size: 4,
            mini_batch_size: 4,
            response_length: ResponseLength::Fixed(4),
            reward_scaling: None,
            ..Default::default()
        };
        let steps = PolicyRunSettings { steps: Some(12), save_steps: 3, ..Default::default() };
        let prompts = vec![vec![Message::user("q")]];
        let mut training = PpoTraining::new(ppo, steps, &mut policy, &mut slow, prompts).unwrap();
        let mut observers = Observers::new();
        observers.push(StopAfter(9));
        match training.run_in(&mut run, "ppo", &mut observers) {
            Err(Error::Interrupted { .. }) => stops += 1,
            result => {
                result.unwrap();
                let counts = DataCounts { rows: 150, splits: vec![Count::new("prompts", 150)], ..Default::default() };
                write_policy_report(&run, "PPO", 0, PolicyReport::default(), counts, Vec::new()).unwrap();
                break;
            }
        }
        assert!(stops < 10, "no progress");
    }
    assert!(stops > 0);
    let report = Report::read(&folder.path().join("report.json")).unwrap();
    let stage = report.timing.stages.iter().find(|stage| stage.stage == "ppo/model").unwrap();
    assert!(stage.seconds >= 12.0 * step.as_secs_f64(), "12 steps of {step:?} took {} s", stage.seconds);
    assert!(report.timing.total_seconds.unwrap() >= stage.seconds);
    // The counts of rows are in the report too.
    let page = std::fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.contains("150 rows read") && !page.contains(" 0 rows read"));
}

#[test]
fn rows_of_several_files_are_added() {
    let mut counts = DataCounts::default();
    let mut summary = ReadSummary::default();
    (summary.rows, summary.ties) = (100, 2);
    count_rows(&mut counts, &summary);
    (summary.rows, summary.ties, summary.skipped) = (50, 1, 4);
    count_rows(&mut counts, &summary);
    assert_eq!(counts.rows, 150);
    assert_eq!(counts.left_out, [Count::new("rows that could not be read", 4), Count::new("ties", 3)]);
}

fn run(data: SerData) -> Report {
    let folder = tempfile::tempdir().unwrap();
    SelfEvolution::new(settings()).run(&mut Linear::default(), data, folder.path()).unwrap().report
}

#[test]
fn every_loop_has_score_differences_and_the_result_its_changes() {
    let report = run(data(1));
    assert!(report.iterations.len() > 1);
    let similar: Vec<_> = report.iterations.iter().map(|iteration| iteration.similar_pairs.as_ref().unwrap()).collect();
    for differences in &similar {
        // The quarter of 600 test pairs, on one axis for all loops.
        assert_eq!((differences.pairs, differences.histogram.len()), (150, 20));
        assert_eq!(differences.similarity, similar[0].similarity);
        assert_eq!(differences.histogram[0].low, similar[0].histogram[0].low);
        assert_eq!(differences.histogram.iter().map(|bin| bin.pairs).sum::<u64>(), 150);
    }
    assert!(similar.last().unwrap().right > similar[0].right, "the last loop's model separates more of them");

    let changes = report.changes.unwrap();
    let ser = report.baseline(BaselineKind::Ser).unwrap();
    let net = changes.turned_right as f64 - changes.turned_wrong as f64;
    assert_abs_diff_eq!(net / changes.pairs as f64, ser.gain.unwrap().value, epsilon = 1e-12);

    let chosen = report.iterations.iter().find(|iteration| iteration.chosen).unwrap();
    let epochs = Linear::default().epochs as u64;
    assert_eq!(report.training_steps(), Some((epochs * u64::from(chosen.number + 1), epochs)));
    assert_eq!(report.iterations[1].validation_pairs, Some(200));
    let noise = report.warnings.iter().filter(|warning| warning.contains("noisier")).count();
    assert_eq!(noise, 0, "{:?}", report.warnings);
}

#[test]
fn noisy_labels_beside_a_clean_test_set_give_a_warning() {
    let mut noisy = data(1);
    let gold = noisy.gold.take().unwrap();
    let pool = noisy.pool.read_all().unwrap();
    let labelled: Vec<Preference> = pool.iter().filter_map(|pair| gold.preference_for_audit(pair)).collect();
    let flipped: Vec<Preference> = labelled
        .into_iter()
        .enumerate()
        .map(|(i, label)| if i % 4 == 0 { Preference::human(label.pair, label.preferred.other()) } else { label })
        .collect();
    let (pool, gold) = blind(&flipped, 1).unwrap();
    (noisy.pool, noisy.gold) = (pool.into(), Some(gold));
    let report = run(noisy);
    let said: Vec<_> =
        report.warnings.iter().filter(|warning| warning.contains("noisier than the test set's")).collect();
    assert_eq!(said.len(), 1, "{:?}", report.warnings);
    assert!(said[0].contains("of the test set's labels, but with") && said[0].contains("of the pool's"), "{}", said[0]);
    assert!(said[0].contains("does not show that test pairs were trained on"));
}
