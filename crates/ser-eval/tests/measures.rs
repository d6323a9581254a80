//! Accuracy, intervals and calibration: by hand, and on simulated models whose truth is known.

#![allow(clippy::unwrap_used)]

use approx::assert_abs_diff_eq;
use ndarray::aview2;
use proptest::collection::vec;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use ser_core::{Clusters, PairScores, Side};
use ser_eval::{Binning, Bootstrap, Calibration, EvalError, Evaluation, accuracy_by_subset, chosen_first, correct};

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[test]
fn ties_and_nan_are_wrong() {
    let scores = [[1.0, 0.0], [0.0, 0.0], [f64::NAN, 0.0], [0.0, f64::NAN], [0.0, 1.0], [f64::INFINITY, 5.0]];
    assert_eq!(correct(aview2(&scores)).unwrap(), [true, false, false, false, false, true]);
    let evaluation = Evaluation::measure(aview2(&scores), Clusters::Singletons, &Bootstrap::default()).unwrap();
    assert_eq!((evaluation.accuracy.value, evaluation.accuracy.pairs), (2.0 / 6.0, 6));
}

#[test]
fn scores_need_two_columns() {
    let scores = ndarray::Array2::<f64>::zeros((4, 3));
    let error = correct(scores.view()).unwrap_err().to_string();
    assert_eq!(error, "scores have 3 columns; they need two, r_chosen and r_rejected");
}

#[test]
fn the_gold_answer_comes_first() {
    let scores = PairScores::new(0.25, 0.75);
    assert_eq!(chosen_first(scores, Side::A), [0.25, 0.75]);
    assert_eq!(chosen_first(scores, Side::B), [0.75, 0.25]);
}

#[test]
fn subsets_by_hand() {
    let scores = [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [2.0, 0.0]];
    let by_subset = |subsets: &[&str]| {
        accuracy_by_subset(aview2(&scores), subsets, Clusters::Ids(&[7, 7, 7, 8]), &Bootstrap::default())
    };
    let subsets = by_subset(&["chat", "safety", "chat", "safety"]).unwrap();
    let values: Vec<_> = subsets.iter().map(|s| (s.subset.as_str(), s.accuracy.value, s.accuracy.pairs)).collect();
    assert_eq!(values, [("chat", 1.0, 2), ("safety", 0.5, 2)]);
    assert_eq!([subsets[0].accuracy.clusters, subsets[1].accuracy.clusters], [Some(1), None]);
    let error = by_subset(&["chat"]).unwrap_err().to_string();
    assert_eq!(error, "the scores number 4 but the subset names 1; both must list the same pairs in the same order");
}

#[test]
fn calibration_by_hand() {
    // Confidences: sigmoid(2) = 0.8808 right, right, wrong; sigmoid(0.1) = 0.5250 right; a tie at 0.5, half right.
    let scores = [[2.0, 0.0], [3.0, 1.0], [0.0, 2.0], [0.1, 0.0], [1.0, 1.0], [f64::NAN, 0.0]];
    let table = Calibration::measure(aview2(&scores), 5, Binning::EqualWidth).unwrap();
    assert_eq!(table.left_out, 1);
    assert_eq!(table.bins.iter().map(|b| b.pairs).collect::<Vec<_>>(), [2, 0, 0, 3, 0]);
    assert_eq!((table.bins[3].low, table.bins[3].high), (0.8, 0.9));
    let (low, high) = ((sigmoid(0.1) + 0.5) / 2.0, sigmoid(2.0));
    assert_abs_diff_eq!(table.bins[0].confidence.unwrap(), low, epsilon = 1e-15);
    assert_eq!(table.bins[0].accuracy, Some(0.75));
    assert_eq!(table.bins[1].accuracy, None);
    let expected = (2.0 * (0.75 - low) + 3.0 * (high - 2.0 / 3.0)) / 5.0;
    assert_abs_diff_eq!(table.ece.unwrap(), expected, epsilon = 1e-15);

    let table = Calibration::measure(aview2(&scores), 2, Binning::EqualMass).unwrap();
    assert_eq!(table.bins.iter().map(|b| b.pairs).collect::<Vec<_>>(), [2, 3]);
    assert_abs_diff_eq!(table.ece.unwrap(), expected, epsilon = 1e-15);
    // More bins than pairs: a bin each.
    assert_eq!(Calibration::measure(aview2(&scores), 50, Binning::EqualMass).unwrap().bins.len(), 5);
}

#[test]
fn nothing_to_calibrate_is_no_error() {
    let table = Calibration::measure(aview2(&[[f64::NAN, 0.0]]), 10, Binning::EqualWidth).unwrap();
    assert_eq!((table.ece, table.left_out), (None, 1));
    assert!(matches!(Calibration::measure(aview2(&[[1.0, 0.0]]), 0, Binning::EqualMass), Err(EvalError::NoBins)));
}

/// Pairs whose chosen answer was drawn with probability sigmoid(difference), scored with the difference times `factor`:
/// calibrated at 1, overconfident above.
fn simulated(pairs: usize, factor: f64) -> Vec<[f64; 2]> {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    (0..pairs)
        .map(|_| {
            let difference = rng.random_range(-3.0..3.0);
            let scores = [factor * difference, 0.0];
            if rng.random_bool(sigmoid(difference)) { scores } else { [scores[1], scores[0]] }
        })
        .collect()
}

#[test]
fn calibrated_scores_have_a_small_error_and_overconfident_ones_have_not() {
    for binning in [Binning::EqualWidth, Binning::EqualMass] {
        let ece = |factor| Calibration::measure(aview2(&simulated(50_000, factor)), 10, binning).unwrap().ece.unwrap();
        assert!(ece(1.0) < 0.01, "{}", ece(1.0));
        assert!(ece(4.0) > 0.1, "{}", ece(4.0));
        assert!(ece(0.25) > 0.1, "{}", ece(0.25));
    }
}

/// How often the 95 % interval contains the truth, over many drawn test sets.
fn coverage(truth: f64, mut interval: impl FnMut(&mut ChaCha8Rng, u64) -> (f64, f64)) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let trials = 1000;
    let held = (0..trials).filter(|&seed| {
        let (low, high) = interval(&mut rng, seed);
        low <= truth && truth <= high
    });
    held.count() as f64 / trials as f64
}

#[test]
fn the_interval_covers_the_truth_as_often_as_it_says() {
    let share = coverage(0.7, |rng, seed| {
        let outcomes: Vec<bool> = (0..400).map(|_| rng.random_bool(0.7)).collect();
        let estimate =
            Bootstrap { resamples: 500, seed, ..Default::default() }.accuracy(&outcomes, Clusters::Singletons).unwrap();
        (estimate.low, estimate.high)
    });
    // 0.95 with a standard error of 0.007 over the trials; the bootstrap itself falls a little short.
    assert!((0.925..=0.975).contains(&share), "{share}");
}

#[test]
fn the_paired_interval_covers_the_true_difference() {
    // Two models that agree on most pairs: 0.72 against 0.66.
    let share = coverage(0.06, |rng, seed| {
        let draws: Vec<f64> = (0..400).map(|_| rng.random()).collect();
        let model: Vec<bool> = draws.iter().map(|d| *d < 0.72).collect();
        let other: Vec<bool> = draws.iter().map(|d| *d < 0.60 || *d > 0.94).collect();
        let estimate = Bootstrap { resamples: 500, seed, ..Default::default() }
            .difference(&model, &other, Clusters::Singletons)
            .unwrap();
        (estimate.low, estimate.high)
    });
    assert!((0.925..=0.975).contains(&share), "{share}");
}

#[test]
fn pairing_narrows_the_interval() {
    // The same 40 of 1000 pairs make the difference; unpaired, the standard error would be about 0.02.
    let model: Vec<bool> = (0..1000).map(|i| i < 740).collect();
    let other: Vec<bool> = (0..1000).map(|i| i < 700).collect();
    let estimate = Bootstrap::default().difference(&model, &other, Clusters::Singletons).unwrap();
    assert_abs_diff_eq!(estimate.value, 0.04, epsilon = 1e-12);
    // 1.96 sqrt(0.04 * 0.96 / 1000) = 0.0121
    assert_abs_diff_eq!(estimate.low, 0.0279, epsilon = 0.002);
    assert_abs_diff_eq!(estimate.high, 0.0521, epsilon = 0.002);
    let same = Bootstrap::default().difference(&model, &model, Clusters::Singletons).unwrap();
    // The models differ on none of 1000 pairs; the share of pairs on which they differ is at most 1 - 0.025^(1/1000).
    let unseen = 1.0 - 0.025_f64.powf(1.0 / 1000.0);
    assert_eq!(same.value, 0.0);
    assert_abs_diff_eq!(same.low, -unseen, epsilon = 1e-12);
    assert_abs_diff_eq!(same.high, unseen, epsilon = 1e-12);
}

#[test]
fn the_interval_is_the_normal_one_for_many_pairs() {
    // 0.6 ± 1.96 sqrt(0.24 / 100000)
    let estimate = Bootstrap { resamples: 20_000, ..Default::default() }.proportion(60_000, 100_000).unwrap();
    assert_abs_diff_eq!(estimate.low, 0.59696, epsilon = 2e-4);
    assert_abs_diff_eq!(estimate.high, 0.60304, epsilon = 2e-4);
}

#[test]
fn all_right_is_not_certainty() {
    // Clopper and Pearson, 20 of 20: scipy.stats.binomtest(20, 20).proportion_ci(0.95) -> (0.8315665, 1)
    let estimate = Bootstrap::default().proportion(20, 20).unwrap();
    assert_abs_diff_eq!(estimate.low, 0.831_566_5, epsilon = 1e-6);
    assert_eq!(estimate.high, 1.0);
    let none = Bootstrap::default().proportion(0, 20).unwrap();
    assert_eq!(none.low, 0.0);
    assert_abs_diff_eq!(none.high, 0.168_433_5, epsilon = 1e-6);
}

#[test]
fn bad_requests_are_named() {
    let fine = Bootstrap::default();
    assert!(matches!(fine.accuracy(&[], Clusters::Singletons), Err(EvalError::Empty { .. })));
    assert!(matches!(fine.difference(&[], &[], Clusters::Singletons), Err(EvalError::Empty { .. })));
    assert!(matches!(
        fine.difference(&[true], &[], Clusters::Singletons),
        Err(EvalError::LengthMismatch { left: 1, right: 0, .. })
    ));
    assert!(matches!(fine.proportion(3, 2), Err(EvalError::MoreSuccessesThanTrials { successes: 3, trials: 2 })));
    let few = Bootstrap { resamples: 10, ..fine };
    assert!(few.check().unwrap_err().to_string().starts_with("bootstrap.resamples is 10"));
    for confidence in [0.0, 1.0, f64::NAN] {
        assert!(matches!(Bootstrap { confidence, ..fine }.check(), Err(EvalError::BadConfidence { .. })));
    }
}

proptest! {
    #[test]
    fn an_interval_contains_its_value(right in 0u64..300, more in 0u64..300, seed: u64) {
        prop_assume!(right + more > 0);
        let estimate = Bootstrap { seed, ..Default::default() }.proportion(right, right + more).unwrap();
        prop_assert!(0.0 <= estimate.low && estimate.low <= estimate.value);
        prop_assert!(estimate.value <= estimate.high && estimate.high <= 1.0);
        prop_assert_eq!(estimate, Bootstrap { seed, ..Default::default() }.proportion(right, right + more).unwrap());
    }

    #[test]
    fn a_difference_mirrors(outcomes in vec((any::<bool>(), any::<bool>()), 1..200)) {
        let (a, b): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
        let bootstrap = Bootstrap::default();
        let (there, back) = (bootstrap.difference(&a, &b, Clusters::Singletons).unwrap(), bootstrap.difference(&b, &a, Clusters::Singletons).unwrap());
        prop_assert_eq!(there.value, -back.value);
        prop_assert!(there.low <= there.value && there.value <= there.high);
        let accuracy = |outcomes: &[bool]| bootstrap.accuracy(outcomes, Clusters::Singletons).unwrap().value;
        assert_abs_diff_eq!(there.value, accuracy(&a) - accuracy(&b), epsilon = 1e-12);
    }

    #[test]
    fn the_order_of_pairs_does_not_matter(scores in vec([-5.0..5.0, -5.0..5.0], 1..100), bins in 1usize..20) {
        let mut reversed = scores.clone();
        reversed.reverse();
        for binning in [Binning::EqualWidth, Binning::EqualMass] {
            let table = Calibration::measure(aview2(&scores), bins, binning).unwrap();
            prop_assert_eq!(&table, &Calibration::measure(aview2(&reversed), bins, binning).unwrap());
            prop_assert_eq!(table.bins.iter().map(|b| b.pairs).sum::<u64>(), scores.len() as u64);
            prop_assert!((0.0..=1.0).contains(&table.ece.unwrap()));
        }
        prop_assert_eq!(
            Evaluation::measure(aview2(&scores), Clusters::Singletons, &Bootstrap::default()).unwrap(),
            Evaluation::measure(aview2(&reversed), Clusters::Singletons, &Bootstrap::default()).unwrap()
        );
    }
}
