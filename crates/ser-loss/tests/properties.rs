//! Gradients against central finite differences, and the symmetries a pairwise loss must have.

#![allow(clippy::unwrap_used)]

use proptest::collection::vec;
use proptest::prelude::*;
use ser_core::PairTarget;
use ser_loss::{DpoKind, DpoPair, DpoSettings, LossKind, LossSettings};

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
    let moved = |place: usize, side: usize, by: f64| {
        let mut points = points.to_vec();
        points[place][side] += by;
        f(&points)
    };
    (0..points.len())
        .map(|place| [0, 1].map(|side| (moved(place, side, STEP) - moved(place, side, -STEP)) / (2.0 * STEP)))
        .collect()
}

fn close(ours: &[[f64; 2]], differences: &[[f64; 2]]) -> Result<(), TestCaseError> {
    for (a, b) in ours.iter().flatten().zip(differences.iter().flatten()) {
        prop_assert!((a - b).abs() <= 1e-7 * (1.0 + b.abs()), "gradient {a} but finite difference {b}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn gradient_is_the_finite_difference(settings in settings(), batch in batch()) {
        let (scores, targets): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        prop_assume!(!near_a_kink(settings, &scores, &targets));
        let loss = settings.build().unwrap();
        let value = |s: &[[f64; 2]]| loss.value_and_gradient(s, &targets).unwrap().value;
        close(&loss.value_and_gradient(&scores, &targets).unwrap().gradient, &finite_differences(&scores, value))?;
    }

    #[test]
    fn dpo_gradient_is_the_finite_difference(
        ipo: bool,
        beta in 0.05..2.0,
        label_smoothing in 0.0..0.49,
        batch in vec(([-9.0..0.0, -9.0..0.0], [-9.0..0.0, -9.0..0.0], target()), 1..8),
    ) {
        let kind = if ipo { DpoKind::Ipo } else { DpoKind::Sigmoid };
        let loss = DpoSettings { kind, beta, label_smoothing }.build().unwrap();
        let targets: Vec<PairTarget> = batch.iter().map(|b| b.2).collect();
        let evaluate = |policy: &[[f64; 2]]| {
            let pairs: Vec<DpoPair> =
                policy.iter().zip(&batch).map(|(&policy, b)| DpoPair { policy, reference: b.1 }).collect();
            loss.evaluate(&pairs, &targets).unwrap()
        };
        let policy: Vec<[f64; 2]> = batch.iter().map(|b| b.0).collect();
        let differences = finite_differences(&policy, |p| evaluate(p).value);
        // IPO's values are large, and their differences lose digits accordingly.
        for (a, b) in evaluate(&policy).gradient.iter().flatten().zip(differences.iter().flatten()) {
            prop_assert!((a - b).abs() <= 1e-6 * (1.0 + b.abs()), "gradient {a} but finite difference {b}");
        }
    }

    #[test]
    fn extreme_scores_give_finite_losses(settings in settings(), pairs in vec(([-1e4..1e4, -1e4..1e4], target()), 1..20)) {
        let (scores, targets): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        let out = settings.build().unwrap().value_and_gradient(&scores, &targets).unwrap();
        prop_assert!(out.value.is_finite() && out.value >= 0.0);
        prop_assert!(out.gradient.iter().flatten().all(|g| g.is_finite()));
    }

    #[test]
    fn swapping_answers_and_label_changes_nothing(settings in settings(), scores in [-8.0..8.0, -8.0..8.0], target in target()) {
        let loss = settings.build().unwrap();
        let mirrored = PairTarget { probability: 1.0 - target.probability, ..target };
        let there = loss.value_and_gradient(&[scores], &[target]).unwrap();
        let back = loss.value_and_gradient(&[[scores[1], scores[0]]], &[mirrored]).unwrap();
        prop_assert!((there.value - back.value).abs() < 1e-12 * (1.0 + there.value.abs()));
        prop_assert!((there.gradient[0][0] - back.gradient[0][1]).abs() < 1e-12);
        prop_assert!((there.gradient[0][1] - back.gradient[0][0]).abs() < 1e-12);
    }

    #[test]
    fn permuting_pairs_permutes_gradients(settings in settings(), batch in batch()) {
        let loss = settings.build().unwrap();
        let evaluate = |batch: &[([f64; 2], PairTarget)]| {
            let (scores, targets): (Vec<_>, Vec<_>) = batch.iter().copied().unzip();
            loss.value_and_gradient(&scores, &targets).unwrap()
        };
        let reversed: Vec<_> = batch.iter().copied().rev().collect();
        let (there, back) = (evaluate(&batch), evaluate(&reversed));
        prop_assert!((there.value - back.value).abs() < 1e-9 * (1.0 + there.value.abs()));
        for (a, b) in there.gradient.iter().flatten().zip(back.gradient.iter().rev().flatten()) {
            prop_assert!((a - b).abs() < 1e-12 * (1.0 + a.abs()));
        }
    }

    #[test]
    fn a_constant_on_both_scores_changes_nothing_without_centring(
        settings in settings(), scores in [-8.0..8.0, -8.0..8.0], target in target(), shift in -100.0..100.0,
    ) {
        let loss = LossSettings { centering: 0.0, ..settings }.build().unwrap();
        let value = |s: [f64; 2]| loss.value_and_gradient(&[s], &[target]).unwrap().value;
        prop_assert!((value(scores) - value(scores.map(|s| s + shift))).abs() < 1e-10);
    }

    #[test]
    fn gradients_of_micro_batches_add_up(settings in settings(), batch in batch()) {
        let loss = settings.build().unwrap();
        let (scores, targets): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        let whole = loss.value_and_gradient(&scores, &targets).unwrap();
        let total: f64 = targets.iter().map(|t| t.weight).sum();
        let half = scores.len() / 2;
        let mut value = 0.0;
        for range in [0..half, half..scores.len()] {
            let share = targets[range.clone()].iter().map(|t| t.weight).sum::<f64>() / total;
            let part = loss.value_and_gradient(&scores[range.clone()], &targets[range.clone()]).unwrap();
            value += share * part.value;
            for (a, b) in part.gradient.iter().flatten().zip(whole.gradient[range].iter().flatten()) {
                prop_assert!((share * a - b).abs() < 1e-12 * (1.0 + b.abs()));
            }
        }
        prop_assert!((value - whole.value).abs() < 1e-9 * (1.0 + value.abs()));
    }
}
