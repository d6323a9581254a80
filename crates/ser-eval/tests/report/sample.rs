//! A report with every section filled.

use std::collections::BTreeMap;
use std::sync::Arc;

use ndarray::aview2;
use ser_core::{Clusters, FitSummary, LearningStatus, Pair, PairId, Side, Verdict};
use ser_eval::{
    Baseline, BaselineKind, Binning, Bootstrap, Calibration, Changes, Comparison, Count, DataCounts, Evaluation,
    IterationReport, PolicyReport, PolicyStage, PolicyTraining, Report, SampleAnswer, SamplePrompt, ScoreDifferences,
    Selection, SelectionBin, StageTime, SubsetAccuracy, Timing, similar_pair_differences,
};

pub(super) fn evaluation(right: u64) -> Evaluation {
    Evaluation { accuracy: Bootstrap::default().proportion(right, 1200).unwrap(), ece: Some(0.0625) }
}

/// Bins of a pool whose precision rises with Delta, selected above a threshold.
pub(super) fn histogram(pool: u64, threshold: usize) -> Vec<SelectionBin> {
    let bins = 20;
    (0..bins)
        .map(|i| {
            let t = (i as f64 + 0.5) / f64::from(bins);
            let pairs = (pool as f64 * 0.12 * (-2.2 * t).exp()) as u64;
            SelectionBin {
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
pub(super) fn differences(number: u32) -> ScoreDifferences {
    let pairs: Vec<_> = (0..1200)
        .map(|i| Arc::new(Pair::from_text(PairId(i), "q", format!("the answer {i}"), format!("the answer {}", i + 7))))
        .collect();
    let of = |number: u32| -> Vec<[f64; 2]> {
        let spread = |i: u32| f64::from(i * 7919 % 1009) / 1009.0 - 0.5 + f64::from(i * 104_729 % 997) / 997.0 - 0.5;
        (0..1200).map(|i| [0.2 * f64::from(number) + (1.0 + 0.5 * f64::from(number)) * spread(i), 0.0]).collect()
    };
    let scores: Vec<_> = (0..4).map(of).collect();
    let scores: Vec<_> = scores.iter().map(|scores| aview2(scores)).collect();
    similar_pair_differences(&pairs, &scores).unwrap().swap_remove(number as usize % 4)
}

pub(super) fn iteration(number: u32, right: u64, kept: u64, precise: u64) -> IterationReport {
    let later = number > 0;
    IterationReport {
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

pub(super) fn baseline(kind: BaselineKind, right: u64, trained_on: u64, human_labels: u64) -> Baseline {
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
pub(super) fn policy() -> PolicyReport {
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
    let sample = |i: usize| SamplePrompt {
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

pub(super) fn sample() -> Report {
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
        iterations: vec![
            iteration(0, 756, 0, 0),
            iteration(1, 822, 2210, 1900),
            iteration(2, 858, 3305, 2900),
            iteration(3, 852, 4020, 3350),
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
        calibration: Some(Calibration::measure(aview2(&scores), 10, Binning::EqualWidth).unwrap()),
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
