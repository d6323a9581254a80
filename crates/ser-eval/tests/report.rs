//! Reports as JSON, page and text.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use ser_core::{Clusters, FitSummary, LearningStatus, Pair, PairId, Side, Verdict};
use ser_eval::{
    Baseline, BaselineKind, Binning, Bootstrap, Calibration, Changes, Comparison, Count, DataCounts, DeltaBin,
    EvalError, Evaluation, PolicyReport, PolicyStage, PolicyTraining, Report, Round, Sample, SampleAnswer,
    ScoreDifferences, Selection, StageTime, SubsetAccuracy, Timing, similar_pair_differences,
};

fn evaluation(right: u64) -> Evaluation {
    Evaluation { accuracy: Bootstrap::default().proportion(right, 1200).unwrap(), ece: Some(0.0625) }
}

/// Bins of a pool whose labels are the better the greater Delta is, cut at a threshold.
fn histogram(pool: u64, threshold: usize) -> Vec<DeltaBin> {
    let bins = 20;
    (0..bins)
        .map(|i| {
            let t = (i as f64 + 0.5) / f64::from(bins);
            let pairs = (pool as f64 * 0.12 * (-2.2 * t).exp()) as u64;
            DeltaBin {
                low: f64::from(i) / f64::from(bins),
                high: f64::from(i + 1) / f64::from(bins),
                pairs,
                kept: if i as usize >= threshold { pairs } else { 0 },
                with_gold: pairs,
                correct: Some((pairs as f64 * (0.52 + 0.44 * t)) as u64),
            }
        })
        .collect()
}

/// Differences that move to the right from loop to loop, on a common axis.
fn differences(number: u32) -> ScoreDifferences {
    let pairs: Vec<_> = (0..1200)
        .map(|i| Arc::new(Pair::from_text(PairId(i), "q", format!("the answer {i}"), format!("the answer {}", i + 7))))
        .collect();
    let of = |number: u32| -> Vec<[f64; 2]> {
        let spread = |i: u32| f64::from(i * 7919 % 1009) / 1009.0 - 0.5 + f64::from(i * 104_729 % 997) / 997.0 - 0.5;
        (0..1200).map(|i| [0.2 * f64::from(number) + (1.0 + 0.5 * f64::from(number)) * spread(i), 0.0]).collect()
    };
    let scores: Vec<_> = (0..4).map(of).collect();
    let scores: Vec<&[[f64; 2]]> = scores.iter().map(Vec::as_slice).collect();
    similar_pair_differences(&pairs, &scores).unwrap().swap_remove(number as usize % 4)
}

fn round(number: u32, right: u64, kept: u64, precise: u64) -> Round {
    let later = number > 0;
    Round {
        number,
        name: format!("Loop {number}"),
        status: later.then_some(if number < 3 { LearningStatus::Status1 } else { LearningStatus::Status2 }),
        rule: later.then(|| "p > 0.55 and p < 0.45".to_owned()),
        selection: later.then(|| Selection {
            pool: 5100,
            kept,
            coverage: kept as f64 / 5100.0,
            precision: Some(Bootstrap::default().proportion(precise, kept).unwrap()),
            flip_rate: (number > 1).then_some(0.04),
            delta_histogram: histogram(5100, 9 - number as usize),
        }),
        trained_on: 900 + kept,
        fit: Some(FitSummary { steps: 450, loss: 0.41, accuracy: 0.82 }),
        validation_accuracy: Some(0.7),
        validation_pairs: Some(60),
        similar_pairs: Some(differences(number)),
        evaluation: evaluation(right),
        chosen: number == 2,
    }
}

fn baseline(kind: BaselineKind, right: u64, trained_on: u64, human_labels: u64) -> Baseline {
    let outcomes = |right: u64| (0..1200).map(|i| i < right).collect::<Vec<_>>();
    let gain = Bootstrap::default().difference(&outcomes(right), &outcomes(756), Clusters::Singletons).unwrap();
    Baseline {
        kind,
        evaluation: evaluation(right),
        trained_on,
        human_labels,
        steps: match kind {
            BaselineKind::Ser => Some(1350),
            BaselineKind::Full => Some(2600),
            _ => None,
        },
        gain: (kind != BaselineKind::Loop0).then_some(gain),
        gap_closed: None,
    }
}

/// Two policies of PPO with noisy curves, their SFT, three comparisons, and answers that are markup.
fn policy() -> PolicyReport {
    let mut sft = PolicyStage::new("SFT", PolicyTraining::Sft);
    for step in 1..=30u32 {
        sft.record(step.into(), &[("loss", 3.0 * (-f64::from(step) / 12.0).exp() + 1.2)]);
        if step % 10 == 0 {
            sft.record(step.into(), &[("eval_loss", 3.0 * (-f64::from(step) / 12.0).exp() + 1.35)]);
        }
    }
    let ppo = |name: &str, gain: f64| {
        let mut stage = PolicyStage::new(name, PolicyTraining::Ppo);
        stage.target_kl = Some(6.0);
        for step in 1..=400u32 {
            let t = f64::from(step);
            let noise = f64::from(step * 7919 % 101) / 101.0 - 0.5;
            stage.record(
                step.into(),
                &[
                    ("objective/scores", 9.0 + gain * t),
                    ("env/reward_mean", gain * (1.0 - (-t / 120.0).exp()) - 0.4 + 0.5 * noise),
                    ("objective/kl", 6.0 * (1.0 - (-t / 80.0).exp()) + noise),
                    ("tokens/responses_len_mean", 60.0 + t / 20.0 + 8.0 * noise),
                    ("val/explained_variance", f64::NAN),
                ],
            );
        }
        stage
    };
    let pairs: Vec<Arc<Pair>> = (0..200)
        .map(|i| Arc::new(Pair::from_text(PairId(i), "q", "a".repeat(40 + i as usize % 60), "b".repeat(55))))
        .collect();
    let compare = |policy: &str, against: &str, wins: usize, ties: usize| {
        let verdicts: Vec<Verdict> = (0..200)
            .map(|i| match i * 37 % 200 {
                k if k < wins => Verdict::Prefers(Side::A),
                k if k < wins + ties => Verdict::Contradiction,
                199 => Verdict::Failure,
                _ => Verdict::Prefers(Side::B),
            })
            .collect();
        let bootstrap = Bootstrap::default();
        Comparison::measure(policy, against, "pairwise, <judge>", &pairs, &verdicts, Clusters::Singletons, &bootstrap)
            .unwrap()
    };
    let answer = |policy: &str, text: &str, reward: Option<f64>| SampleAnswer {
        policy: policy.to_owned(),
        text: text.to_owned(),
        reward,
    };
    let sample = |i: usize| Sample {
        prompt: format!("How do I undo my last commit, number {i}?"),
        answers: vec![
            answer("SFT", "Use git.", None),
            answer("PPO-SER", "git reset --soft HEAD~1\nkeeps your <b>changes</b>.", Some(1.25)),
            answer("PPO-Full", "", Some(-0.5)),
        ],
    };
    PolicyReport {
        stages: vec![sft, ppo("PPO-SER", 1.6), ppo("PPO-Full", 1.2)],
        comparisons: vec![
            compare("PPO-SER", "SFT", 122, 30),
            compare("PPO-SER", "PPO-Full", 84, 41),
            compare("PPO-Full", "SFT", 110, 28),
        ],
        samples: (0..5).map(sample).collect(),
    }
}

fn sample() -> Report {
    let scores: Vec<[f64; 2]> = (0..1200).map(|i| [f64::from(i * 37 % 600) / 100.0 - 1.4, 0.0]).collect();
    let mut report = Report {
        title: "Built-in corpus <b>& \"friends\"</b>".to_owned(),
        library_version: "0.1.0".to_owned(),
        settings: serde_json::json!({
            "zeta": 1, "loss": {"margin": 0.1, "kind": "hinge"}, "alpha": [1, 2], "note": "<script>alert(1)</script>",
            "status": {"tau_high": 0.55, "tau_low": 0.45, "tau_delta": 0.3}, "nothing": null
        }),
        seeds: BTreeMap::from([("run".to_owned(), 17)]),
        data: DataCounts {
            source: "corpus <17>".to_owned(),
            rows: 10_000,
            left_out: vec![Count::new("over 512 tokens", 41), Count::new("the same after truncation", 3)],
            splits: vec![
                Count::new("SFT", 2987),
                Count::new("RM, labelled seed", 900),
                Count::new("RM, pool", 5100),
                Count::new("test", 1200),
            ],
        },
        rounds: vec![
            round(0, 756, 0, 0),
            round(1, 822, 2210, 1900),
            round(2, 858, 3305, 2900),
            round(3, 852, 4020, 3350),
        ],
        stopped: Some("no pair can be selected any more".to_owned()),
        baselines: vec![
            baseline(BaselineKind::Loop0, 756, 900, 900),
            baseline(BaselineKind::Ser, 858, 4205, 900),
            baseline(BaselineKind::Full, 876, 6000, 6000),
            baseline(BaselineKind::Random, 790, 4205, 900),
            baseline(BaselineKind::Oracle, 869, 4205, 4205),
        ],
        changes: Some(Changes { pairs: 1200, turned_right: 150, turned_wrong: 48 }),
        calibration: Some(Calibration::measure(&scores, 10, Binning::EqualWidth).unwrap()),
        policy: Some(policy()),
        subsets: vec![SubsetAccuracy { subset: "chat & talk".into(), accuracy: evaluation(900).accuracy }],
        warnings: vec!["Scores drifted by <0.3> between loops 1 and 2.".to_owned()],
        timing: Timing {
            started: Some("2026-11-23 10:00".to_owned()),
            total_seconds: Some(212.4),
            stages: vec![StageTime { stage: "train loop 1".to_owned(), seconds: 31.25 }],
        },
    };
    report.close_gaps();
    report
}

#[test]
fn the_text_table_reads_well() {
    insta::assert_snapshot!(sample().to_text());
}

#[test]
fn a_report_with_only_the_seed_model_has_no_empty_columns() {
    let mut report = sample();
    report.rounds.truncate(1);
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
    let place = |name: &str| json.find(&format!("\"{name}\"")).unwrap();
    assert!(place("alpha") < place("loss") && place("loss") < place("zeta") && place("kind") < place("margin"));

    let mut slower = report.clone();
    slower.timing.total_seconds = Some(9999.0);
    assert_ne!(slower.to_json().unwrap(), json);
    assert_eq!(slower.without_timing().to_json().unwrap(), report.without_timing().to_json().unwrap());
    let mut value: serde_json::Value = serde_json::from_str(&json).unwrap();
    value.as_object_mut().unwrap().remove("timing");
    assert!(!value.to_string().contains("seconds"), "times stand under `timing` only");
}

#[test]
fn a_number_that_json_cannot_hold_is_named() {
    let mut report = sample();
    report.rounds[1].evaluation.accuracy.low = f64::NAN;
    let folder = tempfile::tempdir().unwrap();
    let error = report.write(folder.path()).unwrap_err();
    assert!(
        matches!(&error, EvalError::NotFinite { place } if place == "/rounds/1/evaluation/accuracy/low"),
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
    // A policy's stage without curves, a comparison without a verdict, and a curve of one step are no reason to fail.
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
    // The scores that PPO worked with are elsewhere altogether.
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
    for round in &mut small.rounds {
        round.evaluation.accuracy.pairs = 42;
    }
    small.baselines[1].evaluation.accuracy.pairs = 42;
    assert_eq!(small.to_html().matches("Only 42 test pairs").count(), 2, "in the opening and over the plot");
    assert!(small.to_text().contains("Caution: only 42 test pairs"));
}

#[test]
fn rows_that_nobody_counted_are_not_called_none() {
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
fn files_that_are_no_report_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    assert!(matches!(Report::read(&path), Err(EvalError::Read { .. })));
    fs::write(&path, "{\n\"title\": 3}").unwrap();
    assert!(matches!(Report::read(&path), Err(EvalError::BadReport { line: 2, .. })));
    // A file stands where the folder should be.
    assert!(matches!(sample().write(&path), Err(EvalError::Write { .. })));
}

#[test]
fn the_page_is_self_contained_and_escaped() {
    let report = sample();
    // Left there for whoever wants to look at it.
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
    assert!(!page.contains("NaN") && !page.contains("inf\""), "a coordinate is no number");
    assert_balanced(&page);
}

#[test]
fn an_empty_report_is_still_a_page() {
    let report = Report {
        title: String::new(),
        library_version: String::new(),
        settings: serde_json::Value::Null,
        seeds: BTreeMap::new(),
        data: DataCounts::default(),
        rounds: Vec::new(),
        stopped: None,
        baselines: Vec::new(),
        changes: None,
        calibration: None,
        subsets: Vec::new(),
        policy: None,
        warnings: Vec::new(),
        timing: Timing::default(),
    };
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
    assert!((share(BaselineKind::Ser).unwrap() - 0.85).abs() < 1e-12);
    assert_eq!(share(BaselineKind::Full), Some(1.0));
    assert_eq!(share(BaselineKind::Loop0), None);
    // Full no better than Loop 0: there is no gap to close.
    let mut flat = report.clone();
    flat.baselines[2].evaluation = flat.baselines[0].evaluation;
    flat.close_gaps();
    assert_eq!(flat.baseline(BaselineKind::Ser).unwrap().gap_closed, None);
}
