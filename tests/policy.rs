//! PPO as a stage of a run, over a policy that is a table: learning, stopping, resuming, refusing.

#![allow(clippy::unwrap_used)]

mod support;

use approx::assert_abs_diff_eq;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use ser::eval::PolicyTraining;
use ser::ppo::{
    AdaptiveKl, KlControl, KlPenalty, LearningRateScheduler, PpoSettings, ResponseLength, RewardScaling,
    ScoreNormalization,
};
use ser::testing::{StopAfter, TablePolicy};
use ser::{Context, Message, Pair, PairScores, Policy, Reward, Side, Training, observer_fn, reward_fn, scorer_fn};
use ser::{Error, Observers, PolicyRunSettings, PpoTraining, RunFolder, ScorerReward};
use support::chain;

const LENGTH: usize = 12;

fn prompts(n: usize) -> Vec<Vec<Message>> {
    (0..n).map(|i| vec![Message::user(format!("question {i}"))]).collect()
}

/// The share of a letter in an answer and its end.
fn share(_: &[Message], answer: &str) -> f64 {
    answer.matches('c').count() as f64 / (answer.len() + 1) as f64
}

fn ppo(seed: u64) -> PpoSettings {
    PpoSettings {
        learning_rate: 0.3,
        batch_size: 32,
        mini_batch_size: 4,
        gradient_accumulation_steps: 2,
        kl_control: KlControl::Adaptive(AdaptiveKl { target: 2.0, horizon: 400.0 }),
        initial_kl_coefficient: 0.05,
        reward_scaling: None,
        response_length: ResponseLength::Uniform { min: 8, max: LENGTH },
        seed,
        ..Default::default()
    }
}

fn steps(n: u64) -> PolicyRunSettings {
    PolicyRunSettings { steps: Some(n), save_steps: 3, sample_every: 4, ..Default::default() }
}

#[test]
fn reward_rises_and_kl_stays_near_its_target() {
    for seed in 0..3 {
        let (mut policy, mut reward) = (TablePolicy::new(LENGTH), reward_fn(share));
        let mut training = PpoTraining::new(ppo(seed), steps(250), &mut policy, &mut reward, prompts(100)).unwrap();
        while training.done() < training.total() {
            training.step().unwrap();
        }
        let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
        let rewards: Vec<f64> = training.steps().iter().map(|s| s.reward_mean).collect();
        let kl: Vec<f64> = training.steps().iter().map(|s| s.statistics.kl).collect();
        let (before, after) = (mean(&rewards[..10]), mean(&rewards[200..]));
        assert!(before < 0.4 && after > before + 0.15, "seed {seed}: {before} to {after}");
        assert!((1.6..2.4).contains(&mean(&kl[200..])), "seed {seed}: KL {}", mean(&kl[200..]));
        assert_eq!(training.warnings(), [], "seed {seed}");
        let stage = training.stage("PPO");
        assert_eq!((stage.training, stage.target_kl), (PolicyTraining::Ppo, Some(2.0)));
        assert_eq!(stage.curve("env/reward_mean").unwrap().values, rewards);
    }
}

fn run(folder: &Path, settings: PpoSettings, observer: &mut Observers<'_>) -> (Result<(), Error>, TablePolicy, String) {
    let (mut policy, mut reward) = (TablePolicy::new(LENGTH), reward_fn(share));
    let mut run = RunFolder::open(folder, true).unwrap();
    let mut training = PpoTraining::new(settings, steps(20), &mut policy, &mut reward, prompts(50)).unwrap();
    let result = training.run_in(&mut run, "ppo", observer);
    let steps = format!("{:?}", (training.steps(), training.answers()));
    (result, policy, steps)
}

#[test]
fn a_run_stopped_anywhere_ends_with_the_same_bits() {
    let settings = PpoSettings { score_normalization: ScoreNormalization::Scale, ..ppo(5) };
    let root = tempfile::tempdir().unwrap();
    let (result, policy, metrics) = run(&root.path().join("whole"), settings.clone(), &mut Observers::new());
    result.unwrap();
    for events in [2, 3, 4, 7, 11, 23] {
        let folder = root.path().join(events.to_string());
        let mut stops = 0;
        loop {
            let mut observers = Observers::new();
            observers.push(StopAfter(events));
            match run(&folder, settings.clone(), &mut observers) {
                (Err(Error::Interrupted { .. }), ..) => stops += 1,
                (result, resumed, its_metrics) => {
                    result.unwrap();
                    assert_eq!((resumed, its_metrics), (policy.clone(), metrics.clone()), "{events} events at a time");
                    break;
                }
            }
            assert!(stops < 30 || events < 3, "no progress");
            if events < 3 {
                break;
            }
        }
        assert!(stops > 0);
    }
}

#[test]
fn a_run_that_is_done_is_loaded_and_other_settings_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (result, policy, metrics) = run(folder.path(), ppo(1), &mut Observers::new());
    result.unwrap();
    let mut observers = Observers::new();
    observers.push(observer_fn(|event| panic!("no step is taken again: {event:?}")));
    let (result, again, its_metrics) = run(folder.path(), ppo(1), &mut observers);
    result.unwrap();
    assert_eq!((again, its_metrics), (policy, metrics));
    assert!(!folder.path().join("ppo/checkpoints").exists());
    let answers = std::fs::read_to_string(folder.path().join("ppo/answers.jsonl")).unwrap();
    assert_eq!(answers.lines().count(), 2 * 6, "steps 1, 4, 8, 12, 16, 20");
    let (result, ..) = run(folder.path(), ppo(2), &mut Observers::new());
    assert!(matches!(&result, Err(Error::OtherSettings { field, .. }) if field == "ppo.ppo.seed"), "{result:?}");
}

#[test]
fn bad_settings_are_refused_in_a_sentence_before_any_work() {
    fn refusal(settings: PpoSettings, run: PolicyRunSettings, prompts: Vec<Vec<Message>>) -> String {
        let (mut policy, mut reward) = (TablePolicy::new(LENGTH), reward_fn(|_, _| -> f64 { panic!("work") }));
        chain(&PpoTraining::new(settings, run, &mut policy, &mut reward, prompts).err().unwrap())
    }
    let paper = PpoSettings::default;
    let text = refusal(PpoSettings { mini_batch_size: 9, ..paper() }, steps(1), prompts(1));
    assert!(text.contains("mini_batch_size is 9, more than batch_size, 8"), "{text}");
    let text = refusal(PpoSettings { initial_kl_coefficient: -0.2, ..paper() }, steps(1), prompts(1));
    assert!(text.contains("initial_kl_coefficient is -0.2"), "{text}");
    let text = refusal(paper(), steps(1), Vec::new());
    assert!(text.contains("the set of prompts is empty"), "{text}");
    let text = refusal(paper(), PolicyRunSettings { temperature: 0.0, ..steps(1) }, prompts(1));
    assert!(text.contains("`temperature` is 0"), "{text}");
    let text = refusal(paper(), steps(0), prompts(1));
    assert!(text.contains("`steps` is 0"), "{text}");
}

#[test]
fn the_exact_kl_is_computed_if_the_penalty_needs_it() {
    let settings = PpoSettings { kl_penalty: KlPenalty::Full, ..ppo(0) };
    let (mut policy, mut reward) = (TablePolicy::new(LENGTH), reward_fn(share));
    let mut training = PpoTraining::new(settings, steps(30), &mut policy, &mut reward, prompts(9)).unwrap();
    for _ in 0..30 {
        training.step().unwrap();
    }
    // A divergence is never negative, not even on one step's few samples.
    assert_abs_diff_eq!(training.steps()[0].statistics.kl, 0.0, epsilon = 1e-12);
    assert!(training.steps().iter().skip(1).all(|s| s.statistics.kl > 0.0));
}

#[test]
fn the_linear_scheduler_lowers_the_learning_rate() {
    let rates = |scheduler| -> Vec<f64> {
        let (mut policy, mut reward) = (TablePolicy::new(LENGTH), reward_fn(share));
        let settings = PpoSettings { scheduler, ..ppo(0) };
        let mut training = PpoTraining::new(settings, steps(4), &mut policy, &mut reward, prompts(9)).unwrap();
        (0..4).for_each(|_| drop(training.step().unwrap()));
        training.steps().iter().map(|s| s.statistics.learning_rate).collect()
    };
    assert_eq!(rates(LearningRateScheduler::Constant), [0.3; 4]);
    // transformers' linear schedule without warm-up: 1 - step / total.
    assert_eq!(rates(LearningRateScheduler::Linear), [1.0, 0.75, 0.5, 0.25].map(|factor| 0.3 * factor));
}

#[test]
fn a_problem_is_warned_about_once_at_its_first_step() {
    let (mut policy, mut reward) = (TablePolicy::new(LENGTH), reward_fn(|_, _| 1.0));
    let settings =
        PpoSettings { reward_scaling: Some(RewardScaling::default()), kl_control: KlControl::Fixed, ..ppo(0) };
    let mut training = PpoTraining::new(settings, steps(40), &mut policy, &mut reward, prompts(9)).unwrap();
    let notes: Vec<String> = (0..40).flat_map(|_| training.step().unwrap().notes).collect();
    let saturated = notes.iter().filter(|n| n.contains("are at the end of their range")).count();
    assert_eq!(saturated, 1, "{notes:?}");
    assert_eq!(training.warnings().len(), notes.len());
    assert_eq!(training.warnings()[0].0, 10, "once there is a window");
}

#[test]
fn a_reward_model_rewards_single_answers() {
    let mut ids = Vec::new();
    let scorer = scorer_fn(|pairs, _| {
        ids.extend(pairs.iter().map(|p| p.id));
        assert!(pairs.iter().all(|p| p.response(Side::A) == p.response(Side::B)));
        let score = |p: &Arc<Pair>| PairScores::new(p.response(Side::A).len() as f64, f64::NAN);
        Ok::<_, Infallible>(pairs.iter().map(score).collect())
    });
    let cx = &mut Context::silent();
    let prompt = [Message::user("Why?")];
    let mut reward = ScorerReward::raw(scorer);
    assert_eq!(reward.reward(&[(&prompt, "ab"), (&prompt, "")], cx).unwrap(), [2.0, 0.0]);
    assert_eq!(reward.reward(&[(&prompt, "abc")], cx).unwrap(), [3.0]);
    ids.dedup();
    assert_eq!(ids.len(), 3, "unlike texts have unlike ids");
    let scorer = scorer_fn(|pairs, _| Ok::<_, Infallible>(vec![PairScores::new(0.0, 0.0); pairs.len()]));
    assert_eq!(ScorerReward::probability(scorer).reward(&[(&prompt, "x")], cx).unwrap(), [0.5]);
}

/// Reads three characters and refuses longer answers, as a network refuses texts over its positions.
struct Short;

impl ser::Scorer for Short {
    type Error = std::io::Error;

    fn score(&mut self, _: &[Arc<Pair>], _: &mut Context<'_>) -> Result<Vec<PairScores>, Self::Error> {
        Err(std::io::Error::other("too long"))
    }

    fn score_truncated(
        &mut self,
        pairs: &[Arc<Pair>],
        _: &mut Context<'_>,
    ) -> Result<(Vec<PairScores>, usize), Self::Error> {
        let lengths = pairs.iter().map(|pair| pair.response(Side::A).len());
        let scores = lengths.clone().map(|length| PairScores::new(length.min(3) as f64, 0.0)).collect();
        Ok((scores, lengths.filter(|length| *length > 3).count()))
    }
}

#[test]
fn answers_too_long_for_the_reward_model_are_scored_and_counted() {
    let prompt = [Message::user("Why?")];
    let (mut reward, cx) = (ScorerReward::raw(Short), &mut Context::silent());
    assert_eq!(reward.reward(&[(&prompt, "ab"), (&prompt, "abcd")], cx).unwrap(), [2.0, 3.0]);
    assert_eq!(reward.reward(&[(&prompt, "abcde")], cx).unwrap(), [3.0]);
    assert_eq!(reward.truncated(), 2);
}

#[test]
fn a_table_is_a_policy_of_its_own_distribution() {
    let mut policy = TablePolicy::new(LENGTH);
    let rollouts = policy.rollout(&prompts(200), &Default::default(), false, &mut Context::silent()).unwrap();
    let finished = rollouts.iter().filter(|r| r.response.finished).count();
    // Each position ends with probability e^-2 / (e^-2 + 4).
    let end = (-2.0_f64).exp() / ((-2.0_f64).exp() + 4.0);
    let expected = 200.0 * (1.0 - (1.0 - end).powi(LENGTH as i32));
    assert!((finished as f64 - expected).abs() < 25.0, "{finished} {expected}");
}
