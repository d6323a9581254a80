//! Refused settings and inputs, with their messages.

#![allow(clippy::unwrap_used)]

mod support;

use ser_core::Rollout;
use ser_core::ndarray::{array, aview1};
use ser_ppo::{
    AdaptiveKl, KlControl, KlPenalty, Ppo, PpoError, PpoSettings, ResponseLength, ScoredRollout, TargetedRollout,
};
use support::{evaluation, rollout};

fn refused(change: impl FnOnce(&mut PpoSettings)) -> String {
    let mut settings = PpoSettings::default();
    change(&mut settings);
    settings.check().unwrap_err().to_string()
}

#[test]
fn settings_are_refused_by_name_and_value() {
    assert!(refused(|s| s.initial_kl_coefficient = -0.1).contains("initial_kl_coefficient is -0.1"));
    assert!(refused(|s| s.mini_batch_size = 9).contains("mini_batch_size is 9, more than batch_size, 8"));
    assert!(refused(|s| s.mini_batch_size = 3).contains("batch_size is 8; it must be a multiple"));
    assert!(refused(|s| s.mini_batch_size = usize::MAX / 2).contains("more than batch_size"));
    assert!(refused(|s| s.gradient_accumulation_steps = usize::MAX).contains("must be a multiple"));
    assert!(refused(|s| s.batch_size = 0).contains("batch_size is 0"));
    assert!(refused(|s| s.mini_batch_size = 0).contains("mini_batch_size is 0"));
    assert!(refused(|s| s.gradient_accumulation_steps = 0).contains("gradient_accumulation_steps is 0"));
    assert!(refused(|s| s.ppo_epochs = 0).contains("ppo_epochs is 0"));
    assert!(refused(|s| s.learning_rate = 0.0).contains("learning_rate is 0"));
    assert!(refused(|s| s.gamma = 1.01).contains("gamma is 1.01"));
    assert!(refused(|s| s.lambda = f64::NAN).contains("lambda is NaN"));
    assert!(refused(|s| s.target_kl = 0.0).contains("target_kl is 0"));
    assert!(refused(|s| s.clip_range = 1.0).contains("clip_range is 1"));
    assert!(refused(|s| s.value_clip_range = -1.0).contains("value_clip_range is -1"));
    assert!(refused(|s| s.value_coefficient = -1.0).contains("value_coefficient is -1"));
    assert!(refused(|s| s.entropy_coefficient = f64::INFINITY).contains("entropy_coefficient is inf"));
    assert!(refused(|s| s.ratio_threshold = 1.0).contains("ratio_threshold is 1"));
    assert!(refused(|s| s.score_clip = Some(0.0)).contains("score_clip is 0"));
    assert!(refused(|s| s.missing_eos_penalty = -1.0).contains("missing_eos_penalty is -1"));
    assert!(refused(|s| s.response_length = ResponseLength::Fixed(0)).contains("response_length.fixed is 0"));
    let reversed = refused(|s| s.response_length = ResponseLength::Uniform { min: 9, max: 8 });
    assert!(reversed.contains("response_length.uniform goes from 9 to 8"), "{reversed}");
    let adaptive = |target, horizon| KlControl::Adaptive(AdaptiveKl { target, horizon });
    assert!(refused(|s| s.kl_control = adaptive(0.0, 100.0)).contains("kl_control.adaptive.target is 0"));
    assert!(refused(|s| s.kl_control = adaptive(6.0, -1.0)).contains("kl_control.adaptive.horizon is -1"));
    assert!(refused(|s| s.kl_control = adaptive(6.0, 1.6)).contains("too short for batches of 8"));
    assert!(serde_json::from_str::<PpoSettings>(r#"{"learning_rat": 1.0}"#).is_err());
}

#[test]
fn settings_survive_json() {
    let json =
        r#"{"kl_control": {"adaptive": {"target": 3.0}}, "kl_penalty": "full", "reward_scaling": {"clip": 0.1}}"#;
    let s: PpoSettings = serde_json::from_str(json).unwrap();
    assert_eq!(s.kl_control, KlControl::Adaptive(AdaptiveKl { target: 3.0, horizon: 10_000.0 }));
    assert_eq!(s.reward_scaling.unwrap().max, 0.5);
    assert_eq!(serde_json::from_str::<PpoSettings>(r#"{"kl_control": "fixed"}"#).unwrap().kl_control, KlControl::Fixed);
    assert_eq!(serde_json::from_str::<PpoSettings>(&serde_json::to_string(&s).unwrap()).unwrap(), s);
    // Without scaling, too: null, and "none" for TOML, which has no null.
    for none in [r#"{"reward_scaling": "none"}"#, r#"{"reward_scaling": null}"#] {
        let s: PpoSettings = serde_json::from_str(none).unwrap();
        assert_eq!(s.reward_scaling, None);
        assert_eq!(serde_json::from_str::<PpoSettings>(&serde_json::to_string(&s).unwrap()).unwrap(), s);
    }
    let error = serde_json::from_str::<PpoSettings>(r#"{"reward_scaling": "off"}"#).unwrap_err().to_string();
    assert!(error.contains(r#"expected "none", or a table with clip, min and max"#), "{error}");
    let error = serde_json::from_str::<PpoSettings>(r#"{"reward_scaling": {"clipp": 0.1}}"#).unwrap_err().to_string();
    assert!(error.contains("unknown field `clipp`"), "{error}");
}

fn ppo() -> Ppo {
    PpoSettings::default().check().unwrap()
}

fn advantages(change: impl FnOnce(&mut Rollout)) -> PpoError {
    let fine = rollout(&[-1.0, -2.0], &[-1.0, -2.0], &[0.0, 0.0]);
    let mut broken = fine.clone();
    change(&mut broken);
    let batch = [ScoredRollout::new(&fine, 1.0), ScoredRollout::new(&broken, 1.0)];
    ppo().advantages(&batch, 0.2, &[]).unwrap_err()
}

#[test]
fn broken_rollouts_are_named() {
    assert_eq!(advantages(|r| *r = rollout(&[], &[], &[])), PpoError::EmptyResponse { rollout: 1 });
    assert!(matches!(
        advantages(|r| r.values = array![0.0]),
        PpoError::LengthMismatch { rollout: 1, what: "values", len: 1, tokens: 2 }
    ));
    assert!(matches!(
        advantages(|r| r.log_probs[1] = f64::NAN),
        PpoError::NotFinite { rollout: 1, token: 1, what: "log-probability", .. }
    ));
    assert!(matches!(
        advantages(|r| r.reference_log_probs[0] = f64::NEG_INFINITY),
        PpoError::NotFinite { rollout: 1, token: 0, what: "reference log-probability", .. }
    ));
    assert!(matches!(
        advantages(|r| r.reference_log_probs = array![0.0, 0.0, 0.0]),
        PpoError::LengthMismatch { rollout: 1, what: "reference log-probabilities", len: 3, .. }
    ));
}

#[test]
fn broken_batches_are_refused() {
    let r = rollout(&[-1.0, -2.0], &[-1.0, -2.0], &[0.0, 0.0]);
    let scored = ScoredRollout::new(&r, 1.0);
    let run = |s: ScoredRollout<'_>| ppo().advantages(&[s], 0.2, &[]).unwrap_err();
    assert_eq!(ppo().advantages(&[], 0.2, &[]).unwrap_err(), PpoError::EmptyBatch);
    assert_eq!(ppo().advantages(&[scored], -0.2, &[]).unwrap_err(), PpoError::BadKlCoefficient { value: -0.2 });
    assert!(matches!(run(ScoredRollout { score: f64::NAN, ..scored }), PpoError::BadScore { rollout: 0, .. }));
    assert_eq!(run(ScoredRollout { mask: Some(&[false, false]), ..scored }), PpoError::AllMasked { rollout: 0 });
    assert!(matches!(
        run(ScoredRollout { mask: Some(&[true]), ..scored }),
        PpoError::LengthMismatch { what: "the mask", len: 1, .. }
    ));
    let full = PpoSettings { kl_penalty: KlPenalty::Full, ..Default::default() }.check().unwrap();
    assert_eq!(full.advantages(&[scored], 0.2, &[]).unwrap_err(), PpoError::NoFullKl { rollout: 0 });
    let with = |full_kl: &[f64]| {
        let r = Rollout { full_kl: Some(aview1(full_kl).to_owned()), ..r.clone() };
        full.advantages(&[ScoredRollout::new(&r, 1.0)], 0.2, &[])
    };
    assert!(matches!(with(&[0.1]), Err(PpoError::LengthMismatch { what: "full_kl", .. })));
    assert!(matches!(with(&[0.1, f64::INFINITY]), Err(PpoError::NotFinite { token: 1, .. })));
}

#[test]
fn broken_updates_are_refused() {
    let (p, r) = (ppo(), rollout(&[-1.0], &[-1.0], &[0.0]));
    let targets = p.advantages(&[ScoredRollout::new(&r, 1.0)], 0.2, &[]).unwrap().targets;
    let samples = [TargetedRollout { rollout: &r, targets: &targets[0] }];
    assert!(matches!(
        p.mini_batch_loss(&samples, &[evaluation(&[f64::NAN], &[0.0], &[1.0])]),
        Err(PpoError::NotFinite { what: "evaluated log-probability", .. })
    ));
    assert!(matches!(
        p.mini_batch_loss(&samples, &[evaluation(&[-1.0], &[0.0], &[])]),
        Err(PpoError::LengthMismatch { what: "evaluated entropy", len: 0, .. })
    ));
    assert_eq!(p.mini_batch_loss(&[], &[]).unwrap_err(), PpoError::EmptyBatch);
    assert!(matches!(p.mini_batch_loss(&samples, &[]), Err(PpoError::CountMismatch { what: "evaluations", .. })));
}
