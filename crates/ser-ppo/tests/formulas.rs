//! One test per formula, against numbers worked out by hand.

#![allow(clippy::unwrap_used)]

use approx::{assert_abs_diff_eq, assert_relative_eq};
use ser_core::ndarray::{array, aview1};
use ser_ppo::{
    AdaptiveKl, KlControl, KlController, KlEstimator, KlPenalty, LearningRateScheduler, MaskedRow, PpoError,
    PpoSettings, ResponseLength, RewardScaling, clipped_surrogate, clipped_value_loss, full_kl, gae, masked_mean,
    masked_var, masked_whiten, probability_ratio, returns, token_rewards,
};

#[test]
fn defaults_are_those_of_the_paper() {
    let s = PpoSettings::default();
    assert_eq!((s.learning_rate, s.batch_size, s.mini_batch_size, s.ppo_epochs), (1.4e-5, 8, 1, 4));
    assert_eq!((s.gradient_accumulation_steps, s.target_kl, s.initial_kl_coefficient), (1, 0.1, 0.2));
    assert_eq!(s.kl_control, KlControl::Adaptive(AdaptiveKl { target: 6.0, horizon: 10_000.0 }));
    assert_eq!(s.response_length, ResponseLength::Fixed(256));
    assert_eq!(s.reward_scaling, Some(RewardScaling { clip: 0.0, min: -0.5, max: 0.5 }));
    assert_eq!(s.scheduler, LearningRateScheduler::Constant);
}

#[test]
fn kl_estimators_and_penalties() {
    // pi = 0.5, pi_ref = 0.25: d = ln 2.
    let (p, q) = (0.5_f64.ln(), 0.25_f64.ln());
    let d = 2.0_f64.ln();
    assert_relative_eq!(KlEstimator::K1.estimate(p, q), d, max_relative = 1e-14);
    assert_relative_eq!(KlEstimator::K2.estimate(p, q), d * d / 2.0, max_relative = 1e-14);
    assert_relative_eq!(KlEstimator::K3.estimate(p, q), 0.5 - 1.0 + d, max_relative = 1e-14);
    assert_relative_eq!(KlEstimator::K3.estimate(q, p), 2.0 - 1.0 - d, max_relative = 1e-14);
    // d so small that exp(-d) - 1 + d would be all rounding error: d²/2.
    assert_relative_eq!(KlEstimator::K3.estimate(1e-6, 0.0), 0.5e-12, max_relative = 1e-3);
    assert_eq!(KlPenalty::Kl.penalty(q, p), Some(-d));
    assert_eq!(KlPenalty::Abs.penalty(q, p), Some(d));
    assert_eq!(KlPenalty::Mse.penalty(q, p), Some(0.5 * d * d));
    assert_eq!(KlPenalty::K3.penalty(q, p), Some(KlEstimator::K3.estimate(q, p)));
    assert_eq!(KlPenalty::Full.penalty(q, p), None);
    for (name, penalty) in [
        ("kl", KlPenalty::Kl),
        ("k1", KlEstimator::K1.into()),
        ("abs", KlPenalty::Abs),
        ("mse", KlPenalty::Mse),
        ("k2", KlEstimator::K2.into()),
        ("k3", KlEstimator::K3.into()),
        ("full", KlPenalty::Full),
    ] {
        assert_eq!(serde_json::from_str::<KlPenalty>(&format!("\"{name}\"")).unwrap(), penalty);
    }
}

#[test]
fn full_kl_is_the_divergence_of_distributions() {
    // 0.5 ln(0.5 / 0.25) + 0.5 ln(0.5 / 0.75)
    let (p, q) = ([0.5_f64.ln(), 0.5_f64.ln()], [0.25_f64.ln(), 0.75_f64.ln()]);
    assert_relative_eq!(
        full_kl(aview1(&p), aview1(&q)).unwrap(),
        0.5 * (2.0_f64.ln() + (2.0_f64 / 3.0).ln()),
        max_relative = 1e-14
    );
    // A token without probability adds nothing, whatever its probability under the reference.
    assert_eq!(full_kl(aview1(&[0.0, f64::NEG_INFINITY]), aview1(&[0.0, f64::NEG_INFINITY])).unwrap(), 0.0);
    assert_eq!(full_kl(aview1(&p), aview1(&[0.0])), Err(PpoError::VocabularyMismatch { policy: 2, reference: 1 }));
}

#[test]
fn estimators_agree_with_the_divergence_on_average() {
    // Expectation under pi, token by token: k1 and k3 give KL(pi || ref) exactly.
    let (pi, reference) = ([0.7_f64, 0.2, 0.1], [0.3_f64, 0.3, 0.4]);
    let logs = |p: [f64; 3]| p.map(f64::ln);
    let exact = full_kl(aview1(&logs(pi)), aview1(&logs(reference))).unwrap();
    let expected =
        |e: KlEstimator| -> f64 { pi.iter().zip(&reference).map(|(p, q)| p * e.estimate(p.ln(), q.ln())).sum() };
    assert_relative_eq!(expected(KlEstimator::K1), exact, max_relative = 1e-13);
    assert_relative_eq!(expected(KlEstimator::K3), exact, max_relative = 1e-13);
    assert!(expected(KlEstimator::K2) > 0.0);
}

#[test]
fn generalised_advantages_and_returns() {
    // delta = [1 + 0.9*2 - 1, 0 + 0.9*3 - 2, 2 - 3] = [1.8, 0.7, -1]; gamma lambda = 0.45.
    let (rewards, values) = (array![1.0, 0.0, 2.0], array![1.0, 2.0, 3.0]);
    let a = gae(rewards.view(), values.view(), 0.9, 0.5).unwrap();
    let expected = [1.8 + 0.45 * (0.7 - 0.45), 0.7 - 0.45, -1.0];
    for (ours, theirs) in a.iter().zip(expected) {
        assert_relative_eq!(*ours, theirs, max_relative = 1e-14);
    }
    assert_eq!(returns(a.view(), values.view()).unwrap(), &a + &values);
    // lambda 1: the return is the discounted sum of rewards, whatever the values. lambda 0: one step ahead.
    let full = returns(gae(rewards.view(), values.view(), 0.9, 1.0).unwrap().view(), values.view()).unwrap();
    assert_relative_eq!(full[0], 1.0 + 0.81 * 2.0, max_relative = 1e-14);
    assert_relative_eq!(gae(rewards.view(), values.view(), 0.9, 0.0).unwrap()[1], 0.7, max_relative = 1e-14);
    assert!(matches!(
        gae(aview1(&[1.0]), aview1(&[]), 1.0, 1.0),
        Err(PpoError::UnequalArrays { len: 1, tokens: 0, .. })
    ));
}

#[test]
fn masked_statistics() {
    let (a, b) = ([1.0, 100.0, 3.0], [5.0]);
    let rows = [MaskedRow::new(&a, Some(&[true, false, true])).unwrap(), MaskedRow::whole(&b)];
    assert_eq!(masked_mean(&rows), Some(3.0));
    assert_eq!(masked_var(&rows), Some(4.0)); // (4 + 0 + 4) / 2
    let white = masked_whiten(&rows, true);
    assert_abs_diff_eq!(white[0][0], -1.0, epsilon = 1e-8);
    assert_eq!(white[0][1], 0.0);
    assert_abs_diff_eq!(masked_whiten(&rows, false)[1][0], 4.0, epsilon = 1e-8);
    assert_eq!(masked_mean(&[]), None);
    assert_eq!(masked_var(&[MaskedRow::whole(&b)]), None);
    assert_eq!(masked_whiten(&[MaskedRow::whole(&b)], true), [array![0.0]]);
    assert_eq!(masked_whiten(&[MaskedRow::whole(&b)], false), [array![5.0]]);
    assert!(MaskedRow::new(&a, Some(&[true])).is_err());
}

#[test]
fn rewards_of_tokens() {
    let kl = array![1.0, -2.0, 3.0];
    assert_eq!(token_rewards(kl.view(), None, 0.5, 10.0), array![-0.5, 1.0, 8.5]);
    // The score is given to the last token that counts.
    assert_eq!(token_rewards(kl.view(), Some(&[true, true, false]), 0.5, 10.0), array![-0.5, 11.0, 0.0]);
    assert_eq!(token_rewards(kl.view(), Some(&[false, true, false]), 0.0, 10.0), array![0.0, 10.0, 0.0]);
}

#[test]
fn clipped_surrogate_on_all_its_branches() {
    let old = -1.0;
    let new = |ratio: f64| old + ratio.ln();
    for (ratio, advantage, value, clipped) in [
        (1.1, 2.0, -2.2, false),
        (1.5, 2.0, -2.4, true),  // 1.2 * 2
        (0.5, 2.0, -1.0, false), // not clipped: its probability should rise
        (0.5, -2.0, 1.6, true),  // 0.8 * 2
        (1.5, -2.0, 3.0, false),
        (3.0, 0.0, 0.0, false),
    ] {
        let t = clipped_surrogate(new(ratio), old, advantage, 0.2);
        assert_abs_diff_eq!(t.value, value, epsilon = 1e-12);
        assert_abs_diff_eq!(t.slope, if clipped { 0.0 } else { value }, epsilon = 1e-12);
        assert_eq!(t.clipped, clipped);
    }
    assert_relative_eq!(probability_ratio(new(1.5), old), 1.5, max_relative = 1e-14);
    assert_eq!(probability_ratio(800.0, 0.0), f64::MAX);
    assert_eq!(clipped_surrogate(800.0, 0.0, 0.0, 0.2).value, 0.0);
}

#[test]
fn clipped_value_loss_on_all_its_branches() {
    for (value, old, target, loss, slope, clipped) in [
        (1.1, 1.0, 3.0, 0.5 * 1.9 * 1.9, -1.9, false),
        (2.0, 1.0, 3.0, 0.5 * 1.8 * 1.8, 0.0, true),  // clipped at 1.2
        (0.0, 1.0, -3.0, 0.5 * 3.8 * 3.8, 0.0, true), // clipped at 0.8
        (0.0, 1.0, 3.0, 0.5 * 9.0, -3.0, false),      // moved away from the return: not clipped
    ] {
        let t = clipped_value_loss(value, old, target, 0.2);
        assert_abs_diff_eq!(t.value, loss, epsilon = 1e-12);
        assert_abs_diff_eq!(t.slope, slope, epsilon = 1e-12);
        assert_eq!(t.clipped, clipped);
    }
}

#[test]
fn kl_controllers() {
    let adaptive = KlControl::Adaptive(AdaptiveKl { target: 6.0, horizon: 100.0 });
    let mut c = KlController::new(0.2, adaptive, 10).unwrap();
    c.update(6.6, 10).unwrap(); // error 0.1
    assert_relative_eq!(c.coefficient(), 0.2 * 1.01, max_relative = 1e-14);
    c.update(-50.0, 10).unwrap(); // clipped to -0.2
    assert_relative_eq!(c.coefficient(), 0.2 * 1.01 * 0.98, max_relative = 1e-14);
    assert!(matches!(c.update(f64::NAN, 10), Err(PpoError::BadKl { .. })));
    assert!(matches!(c.update(6.0, 500), Err(PpoError::ShortHorizon { horizon: 100.0, batch_size: 500 })));
    let stored: KlController = serde_json::from_str(&serde_json::to_string(&c).unwrap()).unwrap();
    assert_eq!(stored, c);
    let mut fixed = KlController::new(0.05, KlControl::Fixed, 10).unwrap();
    fixed.update(1e6, 10).unwrap();
    assert_eq!(fixed.coefficient(), 0.05);
}

#[test]
fn reward_scaling_is_equation_7() {
    let s = RewardScaling { clip: 0.2, min: -0.5, max: 0.5 };
    assert_eq!(s.scale(0.0), -0.5);
    assert_eq!(s.scale(0.2), -0.5);
    assert_relative_eq!(s.scale(0.6), 0.0, epsilon = 1e-15); // 0.4 / 0.8 - 0.5
    assert_relative_eq!(s.scale(1.0), 0.5, max_relative = 1e-15);
    assert_eq!(RewardScaling { clip: 0.0, min: 0.0, max: 2.0 }.scale(0.25), 0.5);
    for clip in [1.0, -0.1, f64::NAN] {
        assert!(matches!(
            RewardScaling { clip, ..s }.check(),
            Err(PpoError::OutOfRange { setting: "reward_scaling.clip", .. })
        ));
    }
    assert!(RewardScaling { min: 0.5, ..s }.check().is_err());
}

#[test]
fn response_lengths_are_drawn_from_the_whole_range() {
    let draw = |seed, step| ResponseLength::Uniform { min: 32, max: 35 }.draw(seed, step);
    let mut counts = [0; 4];
    for step in 0..4000 {
        counts[draw(7, step) - 32] += 1;
        assert_eq!(draw(7, step), draw(7, step));
    }
    assert!(counts.iter().all(|c| (880..1120).contains(c)), "{counts:?}");
    assert!((0..100).any(|step| draw(7, step) != draw(8, step)));
    assert_eq!(ResponseLength::Fixed(256).draw(7, 1), 256);
    let json = r#"{"response_length": {"uniform": {"min": 32, "max": 256}}}"#;
    let settings: PpoSettings = serde_json::from_str(json).unwrap();
    assert_eq!(settings.response_length, ResponseLength::Uniform { min: 32, max: 256 });
}
