//! From verdicts to metrics: by hand, against a golden, and their properties.

#![allow(clippy::unwrap_used)]

use approx::{assert_abs_diff_eq, assert_relative_eq};
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use ser_core::{Clusters, Pair, PairId, Side, Verdict};
use ser_eval::{
    Bootstrap, Comparison, Curve, EvalError, PolicyStage, PolicyTraining, VerdictCounts, WinRate, length_controlled,
};
use serde::Deserialize;

const QUICK: Bootstrap = Bootstrap { resamples: 200, confidence: 0.95, seed: 7 };

/// So many verdicts of each kind.
fn verdicts(wins: usize, ties: usize, losses: usize) -> Vec<Verdict> {
    let kinds = [(Verdict::Prefers(Side::A), wins), (Verdict::Tie, ties), (Verdict::Prefers(Side::B), losses)];
    kinds.into_iter().flat_map(|(verdict, count)| std::iter::repeat_n(verdict, count)).collect()
}

fn win_rate(verdicts: &[Verdict], bootstrap: &Bootstrap) -> Option<WinRate> {
    WinRate::measure(verdicts, Clusters::Singletons, bootstrap).unwrap()
}

fn pairs(lengths: &[[usize; 2]]) -> Vec<Arc<Pair>> {
    let pair = |(i, [a, b]): (usize, &[usize; 2])| {
        Arc::new(Pair::from_text(PairId(i as u64), "q", "é".repeat(*a), "b".repeat(*b)))
    };
    lengths.iter().enumerate().map(pair).collect()
}

#[test]
fn every_verdict_is_counted_once() {
    let verdicts = [
        Verdict::Prefers(Side::A),
        Verdict::Prefers(Side::A),
        Verdict::Prefers(Side::B),
        Verdict::Tie,
        Verdict::Contradiction,
        Verdict::Failure,
    ];
    let counted = VerdictCounts::of(&verdicts);
    assert_eq!(counted, VerdictCounts { wins: 2, ties: 2, losses: 1, contradictions: 1, failures: 1 });
    assert_eq!(counted.judged(), 5);
    let WinRate { rate, standard_error } = win_rate(&verdicts, &QUICK).unwrap();
    // (2 + 2 / 2) / 5; deviations 0.4 0.4 -0.6 -0.1 -0.1, squares sum to 0.7, / 4 / 5.
    assert_eq!((rate.value, rate.pairs, rate.clusters), (0.6, 5, None));
    assert_abs_diff_eq!(standard_error.unwrap(), 0.035f64.sqrt(), epsilon = 1e-15);
    // Clusters of 2, 2 and 1 (the failure is left out): sums of deviations 0.8, -0.7, -0.1, squares sum to 1.14.
    let clustered = WinRate::measure(&verdicts, Clusters::Ids(&[4, 4, 9, 9, 1, 4]), &QUICK).unwrap().unwrap();
    assert_eq!((clustered.rate.value, clustered.rate.clusters), (0.6, Some(3)));
    assert_abs_diff_eq!(clustered.standard_error.unwrap(), (1.5 * 1.14_f64).sqrt() / 5.0, epsilon = 1e-15);
    let one = WinRate::measure(&verdicts, Clusters::Ids(&[1; 6]), &QUICK).unwrap().unwrap();
    assert_eq!(one.standard_error, None, "one prompt gives no variance between prompts");
    let error = WinRate::measure(&verdicts, Clusters::Ids(&[1; 5]), &QUICK).unwrap_err();
    assert!(matches!(error, EvalError::LengthMismatch { left: 6, right: 5, .. }));
}

#[test]
fn without_a_verdict_there_is_no_rate() {
    let failed = [Verdict::Failure; 3];
    assert_eq!((win_rate(&failed, &QUICK), VerdictCounts::of(&failed).judged()), (None, 0));
    assert_eq!(win_rate(&verdicts(1, 0, 0), &QUICK).unwrap().standard_error, None);
    let bad = WinRate::measure(&failed, Clusters::Singletons, &Bootstrap { resamples: 3, ..QUICK });
    assert!(matches!(bad, Err(EvalError::TooFewResamples { .. })));
}

#[test]
fn equal_verdicts_have_an_interval_of_positive_width() {
    let unseen = 1.0 - 0.025f64.powf(1.0 / 20.0);
    let ends = |v: Vec<Verdict>| win_rate(&v, &QUICK).map(|w| (w.rate.low, w.rate.value, w.rate.high)).unwrap();
    let close = |ours: (f64, f64, f64), expected: (f64, f64, f64)| {
        assert!(
            (ours.0 - expected.0).abs() + (ours.1 - expected.1).abs() + (ours.2 - expected.2).abs() < 1e-12,
            "{ours:?} {expected:?}"
        );
    };
    close(ends(verdicts(20, 0, 0)), (1.0 - unseen, 1.0, 1.0));
    close(ends(verdicts(0, 0, 20)), (0.0, 0.0, unseen));
    close(ends(verdicts(0, 20, 0)), (0.5 - unseen / 2.0, 0.5, 0.5 + unseen / 2.0));
}

#[test]
fn the_interval_is_as_wide_as_the_standard_error_says() {
    let many = win_rate(&verdicts(300, 100, 200), &Bootstrap { resamples: 20_000, ..QUICK }).unwrap();
    let (rate, half) = (many.rate, 1.96 * many.standard_error.unwrap());
    assert_relative_eq!(rate.high - rate.value, half, max_relative = 0.05);
    assert_relative_eq!(rate.value - rate.low, half, max_relative = 0.05);
}

#[derive(Deserialize)]
struct Golden {
    outcomes: Vec<f64>,
    differences: Vec<f64>,
    rate: f64,
}

#[test]
fn equal_length_as_in_the_golden() {
    let cases: Vec<Golden> = serde_json::from_str(include_str!("golden/length_control.json")).unwrap();
    assert_eq!(cases.len(), 6);
    for case in cases {
        let ours = length_controlled(&case.outcomes, &case.differences, Clusters::Singletons, &QUICK).unwrap().unwrap();
        assert_abs_diff_eq!(ours.value, case.rate, epsilon = 1e-9);
        assert!(ours.low <= ours.value && ours.value <= ours.high, "{ours:?}");
        assert_eq!(ours.pairs, case.outcomes.len() as u64);
    }
}

#[test]
fn length_bias_is_taken_out() {
    // Four in five times the longer answer wins, and ours is the longer in three of four: 65 % raw, even by hand, since
    // sigmoid(theta + z) = 0.8 and sigmoid(theta - z) = 0.2 have theta = 0.
    let rows = [(1.0, 50.0, 48), (0.0, 50.0, 12), (1.0, -50.0, 4), (0.0, -50.0, 16)];
    let all = rows.iter().flat_map(|&(y, d, times)| std::iter::repeat_n((y, d), times));
    let (outcomes, differences): (Vec<f64>, Vec<f64>) = all.unzip();
    let controlled = length_controlled(&outcomes, &differences, Clusters::Singletons, &QUICK).unwrap().unwrap();
    assert_abs_diff_eq!(controlled.value, 0.5, epsilon = 1e-3);
    assert!(controlled.low < 0.45 && controlled.high > 0.55 && controlled.high < 0.65, "{controlled:?}");
}

#[test]
fn lengths_without_spread_by_hand() {
    let rate = |outcomes: &[f64], differences: &[f64]| {
        length_controlled(outcomes, differences, Clusters::Singletons, &QUICK).unwrap().map(|estimate| estimate.value)
    };
    // All of one length: the raw rate.
    let even = rate(&[1.0, 0.0, 0.5, 1.0], &[0.0; 4]).unwrap();
    assert_abs_diff_eq!(even, 0.625, epsilon = 1e-9);
    // Ours is always longer by as much: the effect of length cannot be estimated.
    assert_eq!(rate(&[1.0, 0.0, 0.5, 1.0], &[8.0; 4]), None);
    assert_eq!(rate(&[1.0], &[8.0]), None);
    assert_eq!(rate(&[], &[]), None);
    assert_eq!(rate(&[1.0; 3], &[1.0, 2.0, 3.0]), Some(1.0));
    assert_eq!(rate(&[0.0; 3], &[1.0, 2.0, 3.0]), Some(0.0));
    assert!(matches!(
        length_controlled(&[1.0], &[], Clusters::Singletons, &QUICK),
        Err(EvalError::LengthMismatch { .. })
    ));
}

#[test]
fn a_comparison_by_hand() {
    let pairs = pairs(&[[4, 2], [6, 6], [2, 1]]);
    let verdicts = [Verdict::Prefers(Side::A), Verdict::Failure, Verdict::Contradiction];
    let comparison =
        Comparison::measure("PPO-SER", "SFT", "by hand", &pairs, &verdicts, Clusters::Singletons, &QUICK).unwrap();
    assert_eq!(comparison.counts, VerdictCounts { wins: 1, ties: 1, losses: 0, contradictions: 1, failures: 1 });
    assert_eq!(comparison.win_rate.unwrap().value, 0.75);
    // Characters, not bytes; the failed pair counts among the lengths.
    assert_eq!(comparison.mean_lengths, Some([4.0, 3.0]));
    let error = Comparison::measure("a", "b", "c", &pairs, &verdicts[..2], Clusters::Singletons, &QUICK).unwrap_err();
    assert!(matches!(error, EvalError::LengthMismatch { left: 3, right: 2, .. }));
    let none = Comparison::measure("a", "b", "c", &[], &[], Clusters::Singletons, &QUICK).unwrap();
    assert_eq!((none.win_rate, none.mean_lengths, none.length_controlled), (None, None, None));
}

#[test]
fn a_stage_records_what_is_finite() {
    let mut stage = PolicyStage::new("PPO-SER", PolicyTraining::Ppo);
    stage.record(1, &[("objective/kl", 0.0), ("objective/scores", f64::NAN)]);
    stage.record(2, &[("objective/kl", 0.5), ("objective/scores", 1.5)]);
    let curve = |metric: &str, steps: &[u64], values: &[f64]| Curve {
        metric: metric.to_owned(),
        steps: steps.to_vec(),
        values: values.to_vec(),
    };
    assert_eq!(stage.curve("objective/kl"), Some(&curve("objective/kl", &[1, 2], &[0.0, 0.5])));
    assert_eq!(stage.curve("objective/scores"), Some(&curve("objective/scores", &[2], &[1.5])));
    assert_eq!(stage.curve("loss"), None);
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Prefers(Side::A)),
        Just(Verdict::Prefers(Side::B)),
        Just(Verdict::Tie),
        Just(Verdict::Contradiction),
        Just(Verdict::Failure)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn order_of_pairs_changes_nothing(judged in vec((verdict(), 0usize..40, 0usize..40), 1..30), turn in 0usize..30) {
        let measure = |judged: &[(Verdict, usize, usize)]| {
            let pairs = pairs(&judged.iter().map(|(_, a, b)| [*a, *b]).collect::<Vec<_>>());
            let verdicts: Vec<_> = judged.iter().map(|(verdict, ..)| *verdict).collect();
            Comparison::measure("a", "b", "judge", &pairs, &verdicts, Clusters::Singletons, &QUICK).unwrap()
        };
        let mut turned = judged.clone();
        turned.rotate_left(turn % judged.len());
        let (one, other) = (measure(&judged), measure(&turned));
        prop_assert_eq!(one.counts, other.counts);
        prop_assert_eq!(one.win_rate, other.win_rate);
        prop_assert_eq!(one.length_controlled, other.length_controlled);
        // A second computation gives the same bits.
        let again = measure(&judged);
        prop_assert_eq!(again, one);
    }

    #[test]
    fn swapped_pairs_mirror_the_rates(judged in vec((verdict(), 0usize..40, 0usize..40), 1..30)) {
        let lengths: Vec<[usize; 2]> = judged.iter().map(|(_, a, b)| [*a, *b]).collect();
        let verdicts: Vec<Verdict> = judged.iter().map(|(verdict, ..)| *verdict).collect();
        let one = Comparison::measure("a", "b", "judge", &pairs(&lengths), &verdicts, Clusters::Singletons, &QUICK).unwrap();
        let lengths: Vec<[usize; 2]> = lengths.iter().map(|[a, b]| [*b, *a]).collect();
        let verdicts: Vec<Verdict> = verdicts.iter().map(|v| v.swapped()).collect();
        let other = Comparison::measure("b", "a", "judge", &pairs(&lengths), &verdicts, Clusters::Singletons, &QUICK).unwrap();
        prop_assert_eq!((one.counts.wins, one.counts.losses), (other.counts.losses, other.counts.wins));
        prop_assert_eq!((one.counts.ties, one.counts.failures), (other.counts.ties, other.counts.failures));
        prop_assert_eq!(one.win_rate.is_some(), other.win_rate.is_some());
        if let Some((one, other)) = one.win_rate.zip(other.win_rate) {
            assert_abs_diff_eq!(one.value + other.value, 1.0, epsilon = 1e-12);
        }
        if let Some((one, other)) = one.length_controlled.zip(other.length_controlled) {
            assert_abs_diff_eq!(one.value + other.value, 1.0, epsilon = 1e-8);
        }
    }
}
