//! The parts of a step, against numbers worked out by hand.

#![allow(clippy::unwrap_used)]

mod support;

use approx::{assert_abs_diff_eq, assert_relative_eq};
use ser_core::Rollout;
use ser_core::ndarray::{array, aview1};
use ser_ppo::{
    MiniBatchLoss, ObjectiveStatistics, Ppo, PpoError, PpoSettings, RewardScaling, RunningMoments, ScoreNormalization,
    ScoredRollout, StepStatistics, TargetedRollout, Targets,
};
use support::{evaluation, rollout};

fn ppo(change: impl FnOnce(&mut PpoSettings)) -> Ppo {
    let mut settings = PpoSettings::default();
    change(&mut settings);
    settings.check().unwrap()
}

/// Settings under which scores may be any numbers.
fn raw(change: impl FnOnce(&mut PpoSettings)) -> Ppo {
    ppo(|s| {
        s.reward_scaling = None;
        change(s);
    })
}

fn targets(advantages: &[f64], returns: &[f64], mask: Option<&[bool]>) -> Targets {
    Targets {
        advantages: aview1(advantages).to_owned(),
        returns: aview1(returns).to_owned(),
        mask: mask.map(<[bool]>::to_vec),
    }
}

#[test]
fn the_score_is_given_once_and_to_the_end_token() {
    // No KL, no values: with gamma 1 and lambda 1 every advantage is the score, and the return of the last token too.
    let (short, long) = (rollout(&[-1.0], &[-1.0], &[0.0]), rollout(&[-1.0; 4], &[-1.0; 4], &[0.0; 4]));
    let p = ppo(|s| (s.lambda, s.whiten_advantages) = (1.0, false));
    let out = p.advantages(&[ScoredRollout::new(&short, 2.0), ScoredRollout::new(&long, -3.0)], 0.2, &[]).unwrap();
    assert_eq!(out.targets[0].returns, array![2.0]);
    assert_eq!(out.targets[1].advantages, aview1(&[-3.0; 4]));
    // lambda 0 with values of 0: only the last token gets it.
    let p = ppo(|s| (s.lambda, s.whiten_advantages) = (0.0, false));
    let out = p.advantages(&[ScoredRollout::new(&long, -3.0)], 0.2, &[]).unwrap();
    assert_eq!(out.targets[0].advantages, array![0.0, 0.0, 0.0, -3.0]);
}

#[test]
fn objective_statistics() {
    let a = rollout(&[-1.0, -2.0], &[-1.5, -1.0], &[1.0, 0.0]); // d = 0.5, -1
    let b = rollout(&[-0.5], &[-2.5], &[3.0]); // d = 2
    let p = ppo(|s| (s.gamma, s.lambda, s.whiten_advantages) = (1.0, 1.0, false));
    let batch = [ScoredRollout::new(&a, 1.0), ScoredRollout { at_limit: true, ..ScoredRollout::new(&b, 4.0) }];
    let s = p.advantages(&batch, 0.1, &[11, 2]).unwrap().statistics;
    assert_relative_eq!(s.kl, 0.75); // (-0.5 + 2) / 2
    assert_relative_eq!(s.entropy, 1.75); // (3 + 0.5) / 2
    assert_relative_eq!(s.non_score_reward, -0.075);
    assert_eq!(s.scores, 2.5);
    assert_relative_eq!(s.rlhf_reward, 2.425);
    assert_relative_eq!(s.scores_std, 4.5_f64.sqrt());
    assert_eq!((s.scores_at_limit, s.num_eos_tokens, s.response_length, s.kl_coefficient), (0.5, 1, 1.5, 0.1));
    assert_relative_eq!(s.values_mean, 4.0 / 3.0);
    // values 1, 0, 3: squares about 4/3 sum to 14/3, over 2.
    assert_relative_eq!(s.values_std, (7.0_f64 / 3.0).sqrt());
    // returns: rewards [-0.05, 1.1] and [3.8], undiscounted.
    let r = [1.05, 1.1, 3.8];
    let var = |x: [f64; 3]| {
        let mean = x.iter().sum::<f64>() / 3.0;
        x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 2.0
    };
    assert_relative_eq!(s.returns_std, var(r).sqrt(), max_relative = 1e-12);
    assert_relative_eq!(s.explained_variance, 1.0 - var([0.05, 1.1, 0.8]) / var(r), max_relative = 1e-12);
}

#[test]
fn masked_tokens_are_never_read() {
    let clean = rollout(&[-1.0, -2.0, -0.5], &[-1.5, -1.0, -1.0], &[0.3, 0.1, 0.2]);
    let mut dirty = clean.clone();
    for row in [&mut dirty.log_probs, &mut dirty.reference_log_probs, &mut dirty.values] {
        row[1] = f64::NAN;
    }
    let mask = [true, false, true];
    let p = ppo(|_| {});
    let run = |r: &Rollout| {
        let batch = [ScoredRollout { mask: Some(&mask), ..ScoredRollout::new(r, 1.0) }];
        let prepared = p.advantages(&batch, 0.2, &[]).unwrap();
        let sample = TargetedRollout { rollout: r, targets: &prepared.targets[0] };
        let now = evaluation(&[-1.1, f64::NAN, -0.4], &[0.3, f64::NAN, 0.1], &[1.0, f64::NAN, 1.0]);
        (prepared.statistics, p.mini_batch_loss(&[sample], &[now]).unwrap(), prepared.targets[0].clone())
    };
    assert_eq!(run(&clean), run(&dirty));
    let (_, (loss, gradients), targets) = run(&dirty);
    assert_eq!(loss.tokens, 2);
    assert_eq!((gradients[0].log_probs[1], gradients[0].values[1], targets.advantages[1]), (0.0, 0.0, 0.0));
}

#[test]
fn a_mini_batch_by_hand() {
    let p = ppo(|s| (s.value_coefficient, s.entropy_coefficient) = (0.5, 0.01));
    let old = [-1.0, -1.0];
    let (a, b) = (rollout(&old, &old, &[0.0, 0.0]), rollout(&old[..1], &old[..1], &[0.0]));
    let ta = targets(&[1.0, -1.0], &[1.0, 1.0], None);
    let tb = targets(&[2.0], &[0.0], None);
    let now = [
        evaluation(&[-1.0 + 1.5_f64.ln(), -1.0], &[0.1, 0.5], &[2.0, 1.0]),
        evaluation(&[-1.0 + 0.5_f64.ln()], &[-0.1], &[3.0]),
    ];
    let samples = [TargetedRollout { rollout: &a, targets: &ta }, TargetedRollout { rollout: &b, targets: &tb }];
    let (loss, gradients) = p.mini_batch_loss(&samples, &now).unwrap();
    // Policy: -1.2 (clipped), 1, -1. Value: 0.9²/2, clipped at 0.2: 0.8²/2, 0.1²/2.
    assert_abs_diff_eq!(loss.policy, -1.2 / 3.0, epsilon = 1e-12);
    let value = (0.405 + 0.32 + 0.005) / 3.0;
    assert_abs_diff_eq!(loss.value, value, epsilon = 1e-12);
    assert_abs_diff_eq!(loss.entropy, 2.0, epsilon = 1e-12);
    assert_abs_diff_eq!(loss.total, -0.4 + 0.5 * value - 0.01 * 2.0, epsilon = 1e-12);
    assert_abs_diff_eq!(loss.clip_fraction, 1.0 / 3.0, epsilon = 1e-12);
    assert_abs_diff_eq!(loss.value_clip_fraction, 1.0 / 3.0, epsilon = 1e-12);
    assert_abs_diff_eq!(loss.ratio, 1.0, epsilon = 1e-12); // (1.5 + 1 + 0.5) / 3
    let (up, down) = (1.5_f64.ln(), 0.5_f64.ln());
    assert_abs_diff_eq!(loss.approx_kl, 0.5 * (up * up + down * down) / 3.0, epsilon = 1e-12);
    assert_abs_diff_eq!(loss.policy_kl, -(up + down) / 3.0, epsilon = 1e-12);
    assert_eq!((loss.tokens, loss.skipped), (3, false));
    for (ours, theirs) in gradients[0].log_probs.iter().chain(&gradients[1].log_probs).zip([0.0, 1.0, -1.0]) {
        assert_abs_diff_eq!(*ours, theirs / 3.0, epsilon = 1e-12);
    }
    for (ours, theirs) in gradients[0].values.iter().chain(&gradients[1].values).zip([-0.9, 0.0, -0.1]) {
        assert_abs_diff_eq!(*ours, 0.5 * theirs / 3.0, epsilon = 1e-12);
    }
    for by in gradients.iter().flat_map(|g| &g.entropies) {
        assert_abs_diff_eq!(*by, -0.01 / 3.0, epsilon = 1e-15);
    }
}

#[test]
fn ratio_guard_skips() {
    let old = [-5.0];
    let (calm, wild) = (rollout(&old, &old, &[0.0]), rollout(&old, &old, &[0.0]));
    let t = targets(&[-1.0], &[1.0], None);
    let samples = [TargetedRollout { rollout: &calm, targets: &t }, TargetedRollout { rollout: &wild, targets: &t }];
    let now = [evaluation(&[-5.0], &[0.0], &[1.0]), evaluation(&[-5.0 + 22.0_f64.ln()], &[0.0], &[1.0])];
    // Mean ratio 11.5: all of the mini-batch is skipped.
    let p = ppo(|s| (s.mini_batch_size, s.entropy_coefficient) = (2, 0.1));
    let (loss, gradients) = p.mini_batch_loss(&samples, &now).unwrap();
    assert!(loss.skipped && (loss.total, loss.policy, loss.value) == (0.0, 0.0, 0.0));
    assert_abs_diff_eq!(loss.ratio, 11.5, epsilon = 1e-12);
    for g in &gradients {
        assert_eq!((g.log_probs[0], g.values[0], g.entropies[0]), (0.0, 0.0, 0.0));
    }
    // A ratio that overflows is skipped, too, without a NaN.
    let far = evaluation(&[-5.0 + 2000.0], &[0.0], &[1.0]);
    let (loss, gradients) = p.mini_batch_loss(&samples[1..], &[far]).unwrap();
    assert!(loss.skipped && loss.total == 0.0 && gradients[0].log_probs == array![0.0]);
    // A ratio just under the threshold is not skipped.
    let near = evaluation(&[-5.0 + 9.99_f64.ln()], &[0.0], &[1.0]);
    assert!(!p.mini_batch_loss(&samples[1..], &[near]).unwrap().0.skipped);
}

#[test]
fn early_stop_is_over_one_and_a_half_times_the_target() {
    let epoch = |kls: [f64; 2]| kls.map(|policy_kl| MiniBatchLoss { policy_kl, tokens: 10, ..Default::default() });
    let p = ppo(|s| s.target_kl = 0.1);
    assert!(!p.stops_early(&epoch([0.1, 0.19])));
    assert!(p.stops_early(&epoch([0.1, 0.21])));
    assert!(!p.stops_early(&epoch([-1.0, 0.4])));
    assert!(!p.stops_early(&[]));
    assert!(!ppo(|s| s.early_stopping = false).stops_early(&epoch([9.0, 9.0])));
    // Mini-batches count by their tokens.
    let [small, mut large] = epoch([1.0, 0.0]);
    large.tokens = 1000;
    assert!(!p.stops_early(&[small, large]));
}

fn scores(p: &Ppo, moments: &mut RunningMoments, raw: &[f64]) -> Vec<f64> {
    let mut rollouts: Vec<Rollout> = raw.iter().map(|_| rollout(&[-1.0], &[-1.0], &[0.0])).collect();
    rollouts[0].response.finished = false;
    p.score(moments, &rollouts, raw).unwrap().iter().map(|s| s.score).collect()
}

#[test]
fn scores_become_rewards() {
    let mut none = RunningMoments::default();
    // The default, which is that of the paper: probabilities are scaled to [-0.5, 0.5] (Eq. 7).
    assert_eq!(scores(&ppo(|_| {}), &mut none, &[1.0, 0.25]), [0.5, -0.25]);
    assert_eq!(scores(&raw(|_| {}), &mut none, &[3.0, -1.0]), [3.0, -1.0]);
    assert_eq!(none, RunningMoments::default());
    // Clip, then the penalty of the first, which has no end token.
    let p = raw(|s| (s.score_clip, s.missing_eos_penalty) = (Some(2.0), 1.0));
    assert_eq!(scores(&p, &mut none, &[3.0, -7.0]), [1.0, -2.0]);
    let p = ppo(|s| s.reward_scaling = Some(RewardScaling { clip: 0.5, min: -0.5, max: 0.5 }));
    assert_eq!(scores(&p, &mut none, &[0.75, 0.1]), [0.0, -0.5]);
    let r = [rollout(&[-1.0], &[-1.0], &[0.0])];
    assert_eq!(p.score(&mut none, &r, &[1.5]).unwrap_err(), PpoError::NotAProbability { rollout: 0, value: 1.5 });
    let at_limit: Vec<bool> = [0.2, 0.75, 0.999]
        .iter()
        .map(|x| p.score(&mut RunningMoments::default(), &r, &[*x]).unwrap()[0].at_limit)
        .collect();
    assert_eq!(at_limit, [true, false, true]);
}

#[test]
fn running_normalisation() {
    let p = raw(|s| s.score_normalization = ScoreNormalization::Standardize);
    let mut m = RunningMoments::default();
    assert_eq!((m.mean(), m.std()), (0.0, 1.0));
    let first = scores(&p, &mut m, &[1.0, 3.0]); // mean 2, std sqrt 2
    assert_relative_eq!(first[1], 1.0 / 2.0_f64.sqrt(), max_relative = 1e-6);
    scores(&p, &mut m, &[2.0, 6.0]); // of 1, 3, 2, 6: mean 3, squares 14, over 3
    assert_relative_eq!(m.mean(), 3.0);
    assert_relative_eq!(m.std(), (14.0_f64 / 3.0).sqrt());
    let stored: RunningMoments = serde_json::from_str(&serde_json::to_string(&m).unwrap()).unwrap();
    assert_eq!(stored, m);
    // All equal: they are not divided by their standard deviation of 0.
    let p = raw(|s| s.score_normalization = ScoreNormalization::Scale);
    assert_eq!(scores(&p, &mut RunningMoments::default(), &[0.5, 0.5]), [0.5, 0.5]);
    // An error leaves the moments as they were.
    let (before, r) = (m, [rollout(&[-1.0], &[-1.0], &[0.0])]);
    assert!(matches!(p.score(&mut m, &r, &[f64::NAN]), Err(PpoError::BadScore { rollout: 0, .. })));
    assert!(matches!(p.score(&mut m, &r, &[]), Err(PpoError::CountMismatch { len: 0, rollouts: 1, .. })));
    assert_eq!(m, before);
}

#[test]
fn step_statistics() {
    let mini = |ratio: f64, policy: f64, skipped| MiniBatchLoss { ratio, policy, skipped, ..Default::default() };
    let o = ObjectiveStatistics { kl: 1.5, num_eos_tokens: 3, ..Default::default() };
    let s = StepStatistics::new(&o, &[mini(1.0, 0.5, false), mini(1.2, -0.1, true)], 1e-5, 16);
    assert_relative_eq!(s.ratio, 1.1);
    assert_relative_eq!(s.ratio_var, 0.02, max_relative = 1e-12); // 2 * 0.01 / 1
    assert_relative_eq!(s.policy_loss, 0.2);
    assert_eq!((s.num_skipped, s.num_eos_tokens, s.kl), (1, 3, 1.5));
    assert_eq!(StepStatistics::new(&o, &[mini(1.0, 0.5, false)], 1e-5, 16).ratio_var, 0.0);
    // The log line and the metrics are the same names and numbers.
    let line = serde_json::to_value(s).unwrap();
    let line = line.as_object().unwrap();
    assert_eq!(line.len(), s.metrics().len());
    for (name, value) in s.metrics() {
        assert_eq!(line[name].as_f64().unwrap(), value, "{name}");
    }
    for name in [
        "objective/kl objective/entropy objective/non_score_reward objective/rlhf_reward objective/scores",
        "policy/approxkl_avg policy/clipfrac_avg policy/entropy_avg loss/policy_avg loss/value_avg",
        "val/clipfrac_avg val/ratio val/ratio_var val/num_eos_tokens lr episode",
    ]
    .join(" ")
    .split(' ')
    {
        assert!(line.contains_key(name), "{name}");
    }
}

#[test]
fn updates_take_every_rollout_once() {
    let p = ppo(|s| (s.mini_batch_size, s.gradient_accumulation_steps) = (2, 2));
    let updates = p.updates(8, 3, 1);
    assert!(updates.len() == 2 && updates.iter().all(|update| update.len() == 2));
    assert!(updates.iter().flatten().all(|mini_batch| mini_batch.len() == 2));
    let mut all = updates.concat().concat();
    all.sort_unstable();
    assert_eq!(all, (0..8).collect::<Vec<_>>());
    assert_eq!(updates, p.updates(8, 3, 1));
    assert!((0..8).any(|epoch| p.updates(8, 3, epoch) != updates));
    assert!((0..8).any(|step| p.updates(8, step, 1) != updates));
    let sizes = |update: &Vec<Vec<usize>>| update.iter().map(Vec::len).collect();
    assert_eq!(p.updates(5, 0, 0).iter().map(sizes).collect::<Vec<Vec<_>>>(), [vec![2, 2], vec![1]]);
    assert!(p.updates(0, 0, 0).is_empty());
}
