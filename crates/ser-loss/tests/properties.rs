//! Gradients against central finite differences, and the symmetries of pairwise losses.

#![allow(clippy::unwrap_used)]

use approx::{abs_diff_eq, relative_eq};
use proptest::collection::vec;
use proptest::prelude::*;
use ser_core::PairTarget;
use ser_core::ndarray::{Array2, ArrayView2, aview2, s};
use ser_loss::{DpoKind, DpoSettings, LossKind, LossSettings};

const STEP: f64 = 1e-5;

fn kinds() -> impl Strategy<Value = LossKind> {
    prop_oneof![Just(LossKind::Hinge), Just(LossKind::BradleyTerry), Just(LossKind::LogExp)]
}

fn settings() -> impl Strategy<Value = LossSettings> {
    (kinds(), 0.0..2.0, 0.0..0.49, 0.0..0.1).prop_map(|(kind, margin, label_smoothing, centering)| LossSettings {
        kind,
        margin: (kind != LossKind::LogExp).then_some(margin),
        label_smoothing,
        centering,
    })
}

fn target() -> impl Strategy<Value = PairTarget> {
    (0.0..3.0, prop::option::of(-1.0..2.0), 0.0..=1.0).prop_map(|(weight, margin, probability)| PairTarget {
        weight,
        margin,
        probability,
    })
}

fn batch() -> impl Strategy<Value = Vec<([f64; 2], PairTarget)>> {
    vec(([-8.0..8.0, -8.0..8.0], target()), 1..12)
}

/// Whether a hinge of this batch has its kink within a few steps.
fn near_a_kink(settings: LossSettings, scores: &[[f64; 2]], targets: &[PairTarget]) -> bool {
    let default = settings.margin.unwrap_or(1.0);
    settings.kind == LossKind::Hinge
        && scores.iter().zip(targets).any(|([preferred, other], target)| {
            let (d, m) = (preferred - other, target.margin.unwrap_or(default));
            (d - m).abs() < 4.0 * STEP || (d + m).abs() < 4.0 * STEP
        })
}

/// (f(x + step) - f(x - step)) / (2 step) by every number of `points`.
fn finite_differences(points: &[[f64; 2]], f: impl Fn(&[[f64; 2]]) -> f64) -> Vec<[f64; 2]> {
    let moved = |index: usize, side: usize, by: f64| {
        let mut points = points.to_vec();
        points[index][side] += by;
        f(&points)
    };
    (0..points.len())
        .map(|index| [0, 1].map(|side| (moved(index, side, STEP) - moved(index, side, -STEP)) / (2.0 * STEP)))
        .collect()
}

/// The entries of an array, row by row.
fn flat<'a>(array: impl Into<ArrayView2<'a, f64>>) -> Vec<f64> {
    array.into().iter().copied().collect()
}

fn close(ours: &Array2<f64>, differences: &[[f64; 2]], tolerance: f64) -> Result<(), TestCaseError> {
    let equal =
        relative_eq!(flat(ours)[..], flat(aview2(differences))[..], epsilon = tolerance, max_relative = tolerance);
    prop_assert!(equal, "gradient {ours} but finite differences {differences:?}");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn gradient_is_the_finite_difference(settings in settings(), batch in batch()) {
        let (scores, targets): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        prop_assume!(!near_a_kink(settings, &scores, &targets));
        let loss = settings.check().unwrap();
        let value = |s: &[[f64; 2]]| loss.value_and_gradient(aview2(s), &targets).unwrap().value;
        let gradient = loss.value_and_gradient(aview2(&scores), &targets).unwrap().gradient;
        close(&gradient, &finite_differences(&scores, value), 1e-7)?;
    }

    #[test]
    fn dpo_gradient_is_the_finite_difference(
        ipo: bool,
        beta in 0.05..2.0,
        label_smoothing in 0.0..0.49,
        batch in vec(([-9.0..0.0, -9.0..0.0], [-9.0..0.0, -9.0..0.0], target()), 1..8),
    ) {
        let kind = if ipo { DpoKind::Ipo } else { DpoKind::Sigmoid };
        let loss = DpoSettings { kind, beta, label_smoothing }.check().unwrap();
        let targets: Vec<PairTarget> = batch.iter().map(|b| b.2).collect();
        let (policy, reference): (Vec<[f64; 2]>, Vec<[f64; 2]>) = batch.iter().map(|b| (b.0, b.1)).unzip();
        let evaluate = |policy: &[[f64; 2]]| loss.evaluate(aview2(policy), aview2(&reference), &targets).unwrap();
        let differences = finite_differences(&policy, |p| evaluate(p).value);
        // IPO has large values, so their differences lose digits.
        close(&evaluate(&policy).gradient, &differences, 1e-6)?;
    }

    #[test]
    fn extreme_scores_give_finite_losses(settings in settings(), pairs in vec(([-1e4..1e4, -1e4..1e4], target()), 1..20)) {
        let (scores, targets): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let out = settings.check().unwrap().value_and_gradient(aview2(&scores), &targets).unwrap();
        prop_assert!(out.value.is_finite() && out.value >= 0.0);
        prop_assert!(out.gradient.iter().all(|g| g.is_finite()));
    }

    #[test]
    fn swapping_answers_and_label_changes_nothing(settings in settings(), scores in [-8.0..8.0, -8.0..8.0], target in target()) {
        let loss = settings.check().unwrap();
        let mirrored = PairTarget { probability: 1.0 - target.probability, ..target };
        let there = loss.value_and_gradient(aview2(&[scores]), &[target]).unwrap();
        let back = loss.value_and_gradient(aview2(&[[scores[1], scores[0]]]), &[mirrored]).unwrap();
        prop_assert!(relative_eq!(there.value, back.value, epsilon = 1e-12, max_relative = 1e-12));
        prop_assert!(abs_diff_eq!(there.gradient[[0, 0]], back.gradient[[0, 1]], epsilon = 1e-12));
        prop_assert!(abs_diff_eq!(there.gradient[[0, 1]], back.gradient[[0, 0]], epsilon = 1e-12));
    }

    #[test]
    fn permuting_pairs_permutes_gradients(settings in settings(), batch in batch()) {
        let loss = settings.check().unwrap();
        let evaluate = |batch: &[([f64; 2], PairTarget)]| {
            let (scores, targets): (Vec<_>, Vec<_>) = batch.iter().copied().unzip();
            loss.value_and_gradient(aview2(&scores), &targets).unwrap()
        };
        let reversed: Vec<_> = batch.iter().copied().rev().collect();
        let (there, back) = (evaluate(&batch), evaluate(&reversed));
        prop_assert!(relative_eq!(there.value, back.value, epsilon = 1e-9, max_relative = 1e-9));
        let rows_reversed = back.gradient.slice(s![..;-1, ..]);
        prop_assert!(relative_eq!(flat(&there.gradient)[..], flat(rows_reversed)[..], epsilon = 1e-12, max_relative = 1e-12));
    }

    #[test]
    fn a_constant_on_both_scores_changes_nothing_without_centring(
        settings in settings(), scores in [-8.0..8.0, -8.0..8.0], target in target(), shift in -100.0..100.0,
    ) {
        let loss = LossSettings { centering: 0.0, ..settings }.check().unwrap();
        let value = |s: [f64; 2]| loss.value_and_gradient(aview2(&[s]), &[target]).unwrap().value;
        prop_assert!(abs_diff_eq!(value(scores), value(scores.map(|s| s + shift)), epsilon = 1e-10));
    }

    #[test]
    fn gradients_of_micro_batches_add_up(settings in settings(), batch in batch()) {
        let loss = settings.check().unwrap();
        let (scores, targets): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let whole = loss.value_and_gradient(aview2(&scores), &targets).unwrap();
        let total: f64 = targets.iter().map(|t| t.weight).sum();
        let half = scores.len() / 2;
        let mut value = 0.0;
        for range in [0..half, half..scores.len()] {
            let share = targets[range.clone()].iter().map(|t| t.weight).sum::<f64>() / total;
            let part = loss.value_and_gradient(aview2(&scores[range.clone()]), &targets[range.clone()]).unwrap();
            value += share * part.value;
            let expected = whole.gradient.slice(s![range, ..]);
            prop_assert!(relative_eq!(flat(&(share * part.gradient))[..], flat(expected)[..], epsilon = 1e-12, max_relative = 1e-12));
        }
        prop_assert!(relative_eq!(value, whole.value, epsilon = 1e-9, max_relative = 1e-9));
    }
}
