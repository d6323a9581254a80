//! Reports as JSON, page and text.

#![allow(clippy::unwrap_used)]

mod sample;

use std::fs;
use std::path::Path;

use approx::assert_abs_diff_eq;
use ser_core::Clusters;
use ser_eval::{
    BaselineKind, Bootstrap, Changes, Comparison, DataCounts, EvalError, PolicyReport, PolicyStage, PolicyTraining,
    Report,
};

use sample::sample;

#[test]
fn the_text_table_reads_well() {
    insta::assert_snapshot!(sample().to_text());
}

#[test]
fn a_report_with_only_the_seed_model_has_no_empty_columns() {
    let mut report = sample();
    report.iterations.truncate(1);
    report.baselines.truncate(1);
    insta::assert_snapshot!(report.to_text());
    assert!(report.to_html().contains("Loop 0"));
}

#[test]
fn json_round_trips_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let report = sample();
    report.write(folder.path()).unwrap();
    let back = Report::read(&folder.path().join("report.json")).unwrap();
    assert_eq!(back, report);
    assert_eq!(back.to_json().unwrap(), fs::read_to_string(folder.path().join("report.json")).unwrap());
}

#[test]
fn settings_are_sorted_and_timing_stands_apart() {
    let report = sample();
    let json = report.to_json().unwrap();
    let index = |name: &str| json.find(&format!("\"{name}\"")).unwrap();
    assert!(index("alpha") < index("loss") && index("loss") < index("zeta") && index("kind") < index("margin"));

    let mut slower = report.clone();
    slower.timing.total_seconds = Some(9999.0);
    assert_ne!(slower.to_json().unwrap(), json);
    assert_eq!(slower.without_timing().to_json().unwrap(), report.without_timing().to_json().unwrap());
    let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
    value.as_object_mut().unwrap().remove("timing");
    assert!(!value.to_string().contains("seconds"), "times stand under `timing` only");
}

#[test]
fn a_number_that_json_cannot_represent_is_named() {
    let mut report = sample();
    report.iterations[1].evaluation.accuracy.low = f64::NAN;
    let folder = tempfile::tempdir().unwrap();
    let error = report.write(folder.path()).unwrap_err();
    assert!(
        matches!(&error, EvalError::NotFinite { pointer } if pointer == "/rounds/1/evaluation/accuracy/low"),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing half-written");
}

#[test]
fn writing_replaces_and_leaves_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("new").join("run");
    let mut report = sample();
    report.write(&inner).unwrap();
    report.title = "second".to_owned();
    report.write(&inner).unwrap();
    assert_eq!(Report::read(&inner.join("report.json")).unwrap().title, "second");
    let mut names: Vec<_> = fs::read_dir(&inner).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["report.html", "report.json"]);
}

#[test]
fn a_report_of_the_first_version_is_read() {
    let mut old: serde_json::Value = serde_json::from_str(&sample().to_json().unwrap()).unwrap();
    assert!(old.as_object_mut().unwrap().remove("policy").is_some());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    fs::write(&path, old.to_string()).unwrap();
    let report = Report::read(&path).unwrap();
    assert_eq!(report.policy, None);
    let page = report.to_html();
    assert!(
        !page.contains("Who answers better")
            && !page.contains("over PPO steps")
            && !report.to_text().contains(" vs SFT")
    );
}

#[test]
fn policies_are_on_the_page() {
    let page = sample().to_html();
    for text in [
        "PPO-SER vs PPO-Full",
        "win 61.3 %, tie 15.1 %, lose 23.6 %",
        "Reward over PPO steps",
        "KL over PPO steps",
        "SFT loss",
        "SFT, held-out: 2.65 to 1.60",
        "pairwise, &lt;judge&gt;",
        "keeps your &lt;b&gt;changes&lt;/b&gt;.",
        "(no answer)",
        "2 more",
    ] {
        assert!(page.contains(text), "{text} not in the page");
    }
    // A policy's stage without curves, a comparison without a verdict, and a curve of one step do not fail.
    let mut bare = sample();
    let mut stage = PolicyStage::new("PPO", PolicyTraining::Ppo);
    stage.record(1, &[("objective/scores", 0.0)]);
    let comparison = Comparison::measure("a", "b", "c", &[], &[], Clusters::Singletons, &Bootstrap::default()).unwrap();
    bare.policy = Some(PolicyReport {
        stages: vec![PolicyStage::new("SFT", PolicyTraining::Sft), stage],
        comparisons: vec![comparison],
        samples: Vec::new(),
    });
    let page = bare.to_html();
    assert_balanced(&page);
    assert!(!page.contains("NaN") && page.contains("a vs b"));
    bare.policy = Some(PolicyReport::default());
    assert_balanced(&bare.to_html());
}

#[test]
fn rewards_are_plotted_as_they_came() {
    let page = sample().to_html();
    // The scaled scores of PPO have another range.
    assert!(page.contains("PPO-SER: \u{2212}0.434 to 1.15") && !page.contains("Score over PPO steps"), "the legend");
    let mut report = sample();
    for stage in &mut report.policy.as_mut().unwrap().stages {
        stage.curves.retain(|curve| curve.metric != "env/reward_mean");
    }
    let page = report.to_html();
    assert!(page.contains("Score over PPO steps") && !page.contains("Reward over PPO steps"));
}

#[test]
fn the_papers_figures_and_the_loops_effect_are_on_the_page() {
    let report = sample();
    let page = report.to_html();
    for text in [
        // Figure 3 with Loop 0's bar.
        "Pairs per loop: Loop 0 900 human labels; Loop 1 2210 kept of 5100;",
        "Loop 0: 900 human labels",
        // Figure 6, for every loop and the last one's model.
        "Similar answers told apart",
        "Loop 0: similar pairs by the difference of their scores",
        "Loop 3: similar pairs by the difference of their scores",
        "the 300 test pairs whose two answers are most alike",
        // The share of the full data's steps, and what changed.
        "took 1,350 training steps, 52 % of the 2,600",
        "150 of 1,200 test pairs turned right and 48 turned wrong",
        "Only 60 validation pairs: the standard error is about 6 points.",
    ] {
        assert!(page.contains(text), "{text} not in the page");
    }
    assert!(!page.contains("Only 1200"));
    let mut small = report;
    for iteration in &mut small.iterations {
        iteration.evaluation.accuracy.pairs = 42;
    }
    small.baselines[1].evaluation.accuracy.pairs = 42;
    assert_eq!(small.to_html().matches("Only 42 test pairs").count(), 2, "in the opening and over the plot");
    assert!(small.to_text().contains("Caution: only 42 test pairs"));
}

#[test]
fn uncounted_rows_are_not_reported_as_0() {
    let mut report = sample();
    report.data.rows = 0;
    let page = report.to_html();
    assert!(!page.contains("0 rows read") && page.contains("rows were not counted"));
    report.data = DataCounts::default();
    assert!(!report.to_html().contains("<h2>Data</h2>"));
}

#[test]
fn changes_are_counted_pair_by_pair() {
    let changes = Changes::between(&[true, true, false, false, false], &[true, false, true, true, false]).unwrap();
    assert_eq!((changes.pairs, changes.turned_right, changes.turned_wrong), (5, 2, 1));
    assert!(Changes::between(&[true], &[]).is_err());
}

#[test]
fn files_that_are_not_reports_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    assert!(matches!(Report::read(&path), Err(EvalError::Read { .. })));
    fs::write(&path, "{\n\"title\": 3}").unwrap();
    assert!(matches!(Report::read(&path), Err(EvalError::BadReport { line: 2, .. })));
    // A file has the name of the folder.
    assert!(matches!(sample().write(&path), Err(EvalError::Write { .. })));
}

#[test]
fn the_page_is_self_contained_and_escaped() {
    let report = sample();
    // Kept for inspection.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    report.write(folder).unwrap();
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    for foreign in ["<script", "http:", "https:", "src=", "@import", "url(", "<b>", "<17>", "<0.3>"] {
        assert!(!page.contains(foreign), "{foreign} in the page");
    }
    for text in
        ["&lt;script&gt;alert(1)&lt;/script&gt;", "corpus &lt;17&gt;", "chat &amp; talk", "&lt;0.3&gt;", "tau_delta"]
    {
        assert!(page.contains(text), "{text} not in the page");
    }
    assert!(!page.contains("NaN") && !page.contains("inf\""), "a coordinate is not a number");
    assert_balanced(&page);
}

#[test]
fn an_empty_report_is_still_a_page() {
    let report = Report::default();
    assert_balanced(&report.to_html());
    assert!(!report.to_text().is_empty());
    assert_eq!(serde_json::from_str::<Report>(&report.to_json().unwrap()).unwrap(), report);
}

/// Every element is closed, in order.
fn assert_balanced(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1) {
        let name = tag.split(['>', ' ']).next().unwrap();
        match name.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "near {tag}"),
            None if name.starts_with('!') || name == "meta" => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} left open");
}

#[test]
fn the_gap_is_closed_by_its_share() {
    let report = sample();
    let share = |kind| report.baseline(kind).unwrap().gap_closed;
    // (858 - 756) / (876 - 756)
    assert_abs_diff_eq!(share(BaselineKind::Ser).unwrap(), 0.85, epsilon = 1e-12);
    assert_eq!(share(BaselineKind::Full), Some(1.0));
    assert_eq!(share(BaselineKind::Loop0), None);
    // Full no better than Loop 0: there is no gap to close.
    let mut flat = report.clone();
    flat.baselines[2].evaluation = flat.baselines[0].evaluation;
    flat.close_gaps();
    assert_eq!(flat.baseline(BaselineKind::Ser).unwrap().gap_closed, None);
}
