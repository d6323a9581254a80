//! Each warning has its cause, and no other cause.

#![allow(clippy::unwrap_used)]

use approx::abs_diff_eq;
use ser_ppo::{DiagnosisSettings, StepStatistics, Warning, diagnose};

fn healthy() -> StepStatistics {
    StepStatistics {
        kl: 4.0,
        ratio: 1.0,
        values_std: 0.3,
        returns_std: 1.0,
        response_length: 100.0,
        scores: 0.2,
        scores_std: 0.5,
        ..Default::default()
    }
}

/// Warnings after `before` healthy steps and `after` that were changed.
fn after(before: usize, after: usize, change: impl Fn(&mut StepStatistics)) -> Vec<Warning> {
    let mut steps = vec![healthy(); before];
    for _ in 0..after {
        let mut step = healthy();
        change(&mut step);
        steps.push(step);
    }
    diagnose(&steps, &DiagnosisSettings::default())
}

#[test]
fn a_healthy_run_has_no_warning() {
    assert_eq!(diagnose(&[], &DiagnosisSettings::default()), []);
    for steps in [1, 10, 50] {
        assert_eq!(after(steps, 0, |_| {}), []);
    }
}

#[test]
fn statistics_of_the_newest_step() {
    assert_eq!(after(20, 1, |s| s.kl = -1.5), [Warning::NegativeKl { kl: -1.5 }]);
    assert_eq!(after(20, 1, |s| s.kl = -0.5), []);
    assert_eq!(after(0, 1, |s| s.kl = 61.0), [Warning::ExplodingKl { kl: 61.0 }]);
    assert_eq!(after(20, 1, |s| s.ratio = 2.1), [Warning::RatioBlowUp { ratio: 2.1, skipped: 0 }]);
    assert_eq!(after(20, 1, |s| s.ratio = 0.4), [Warning::RatioBlowUp { ratio: 0.4, skipped: 0 }]);
    assert_eq!(after(20, 1, |s| s.num_skipped = 3), [Warning::RatioBlowUp { ratio: 1.0, skipped: 3 }]);
    // An earlier step causes no warning.
    let mut steps = vec![healthy(); 3];
    steps[1].kl = -9.0;
    assert_eq!(diagnose(&steps, &DiagnosisSettings::default()), []);
}

#[test]
fn trends_need_a_whole_window() {
    let collapsed = |s: &mut StepStatistics| s.values_std = 0.001;
    assert_eq!(after(20, 9, collapsed), []);
    let warnings = after(20, 10, collapsed);
    assert!(matches!(warnings[..], [Warning::ValueCollapse { values_std, returns_std: 1.0 }] if values_std < 0.0011));
    // Returns that are all equal are not a collapse.
    assert_eq!(after(20, 10, |s| (s.values_std, s.returns_std) = (0.0, 0.0)), []);

    let at_limit = |s: &mut StepStatistics| s.scores_at_limit = 0.95;
    assert!(
        matches!(after(10, 10, at_limit)[..], [Warning::RewardAtLimit { share }] if abs_diff_eq!(share, 0.95, epsilon = 1e-12))
    );
    assert_eq!(after(10, 9, at_limit), []);
}

#[test]
fn trends_that_compare_windows() {
    let longer = |s: &mut StepStatistics| s.response_length = 160.0;
    assert_eq!(after(10, 10, longer), [Warning::LengthDrift { before: 100.0, now: 160.0 }]);
    assert_eq!(after(0, 20, longer), []);
    assert_eq!(after(9, 10, longer), []);
    assert_eq!(after(10, 10, |s| s.response_length = 60.0), [Warning::LengthDrift { before: 100.0, now: 60.0 }]);
    assert_eq!(after(10, 10, |s| s.response_length = 140.0), []);
    let flat = |s: &mut StepStatistics| s.scores_std = 0.0;
    assert_eq!(after(10, 10, flat), [Warning::RewardSpreadLost { before: 0.5, now: 0.0 }]);
    assert_eq!(after(0, 20, flat), []);
}

#[test]
fn warnings_are_sentences_with_their_numbers() {
    for (warning, part) in [
        (Warning::NegativeKl { kl: -1.5 }, "objective/kl is -1.50"),
        (Warning::ExplodingKl { kl: 99.0 }, "99.0 nats"),
        (Warning::ValueCollapse { values_std: 0.001, returns_std: 1.0 }, "1.00e-3"),
        (Warning::LengthDrift { before: 100.0, now: 160.0 }, "from 100 to 160 tokens"),
        (Warning::RewardAtLimit { share: 0.95 }, "95 %"),
        (Warning::RewardSpreadLost { before: 0.5, now: 0.0 }, "from 5.00e-1"),
        (Warning::RatioBlowUp { ratio: 2.1, skipped: 3 }, "2.10 and 3 mini-batches"),
    ] {
        assert!(warning.to_string().contains(part), "{warning}");
        let stored: Warning = serde_json::from_str(&serde_json::to_string(&warning).unwrap()).unwrap();
        assert_eq!(stored, warning);
    }
}
