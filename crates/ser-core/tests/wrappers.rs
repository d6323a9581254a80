//! References, boxes and other error types wherever an implementation is accepted.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ser_core::ndarray::array;
use ser_core::testing::{MockLearner, Recorder, TablePolicy};
use ser_core::{
    BoxError, Context, Generator, Judge, Learner, LearningStatus, LossOutput, Message, Observer, Pair, PairId,
    PairLoss, PairProbabilities, PairScores, Policy, PoolView, Preference, Reward, Sampling, Scorer, Side, Stage,
    StatusRule, Verdict, judge_fn, loss_fn, reward_fn, rule_fn, scorer_fn,
};

fn pairs() -> Vec<Arc<Pair>> {
    (0..2).map(|id| Arc::new(Pair::from_text(PairId(id), "q", "longer", "short"))).collect()
}

fn score_all<S: Scorer + ?Sized>(scorer: &mut S) -> usize {
    let scores = scorer.score(&pairs(), &mut Context::silent()).map_err(Into::<BoxError>::into).unwrap();
    scores.len()
}

fn by_value(mut scorer: impl Scorer) -> usize {
    score_all(&mut scorer)
}

#[test]
fn references_and_boxes_are_scorers_and_learners() {
    let mut mock = MockLearner::new(|pair, side| pair.response(side).len() as f64);
    assert_eq!(by_value(&mut mock), 2);
    let mut boxed: Box<dyn Learner<Error = std::convert::Infallible>> = Box::new(mock);
    assert_eq!(score_all(&mut *boxed), 2);
    assert_eq!(by_value(&mut boxed), 2);
    assert_eq!(by_value(&mut *boxed as &mut dyn Learner<Error = _>), 2);
    let loss: Box<dyn PairLoss> =
        Box::new(loss_fn(|scores, _| Ok(LossOutput { value: 0.0, gradient: scores.to_owned() })));
    let data: Vec<_> = pairs().into_iter().map(|pair| Preference::human(pair, Side::A)).collect();
    assert_eq!(boxed.fit(&data, &loss, &mut Context::silent()).unwrap().steps, 1);
    assert_eq!(loss.evaluate(array![[1.0, 2.0]].view(), &[]).unwrap().value, 0.0);
}

#[test]
fn box_error_and_anyhow_are_errors_of_implementations() {
    let one = |pairs: &[Arc<Pair>]| vec![PairScores::new(1.0, 0.0); pairs.len()];
    assert_eq!(by_value(scorer_fn(|pairs, _| Ok::<_, BoxError>(one(pairs)))), 2);
    let mut scorer = scorer_fn(|pairs, cx| {
        cx.start(Some(pairs.len() as u64), "pairs")?;
        anyhow::ensure!(pairs.len() < 3, "too many");
        cx.advance(2)?;
        Ok::<_, anyhow::Error>(one(pairs))
    });
    let mut recorder = Recorder::default();
    let mut cx = Context::new(Stage::Score, &mut recorder);
    assert_eq!(scorer.score(&pairs(), &mut cx).unwrap().len(), 2);
    assert!(scorer.score(&[pairs(), pairs()].concat(), &mut cx).is_err());
    cx.finish();
    let names: Vec<_> = recorder.events.iter().map(|record| record.event.name()).collect();
    assert_eq!(names, ["started", "advanced", "finished"]);
}

#[test]
fn rules_rewards_and_judges_are_boxed() {
    let pool = [PairProbabilities::unchecked(0.9, 0.1)];
    let rule: Box<dyn StatusRule<Error = BoxError>> =
        Box::new(rule_fn(|pool| Ok(vec![LearningStatus::Status2; pool.len()])));
    assert_eq!(rule.classify(&PoolView::new(&pool)).unwrap(), [LearningStatus::Status2]);
    let blind = rule_fn(|pool| pool.pair(0).map(|_| Vec::new()));
    assert!(blind.classify(&PoolView::new(&pool)).unwrap_err().to_string().contains("PoolView::with_pairs"));

    let mut reward: Box<dyn Reward<Error = std::convert::Infallible>> =
        Box::new(reward_fn(|_, answer| answer.len() as f64));
    assert_eq!(reward.reward(&[(&[], "abc")], &mut Context::silent()).unwrap(), [3.0]);
    let mut judge: Box<dyn Judge<Error = BoxError>> =
        Box::new(judge_fn(|pairs, _| Ok(vec![Verdict::Tie; pairs.len()])));
    assert_eq!(judge.judge(&pairs(), &mut Context::silent()).unwrap(), [Verdict::Tie; 2]);
}

#[test]
fn policies_and_observers_are_boxed() {
    let mut policy: Box<dyn Policy<Error = std::io::Error>> = Box::new(TablePolicy::new(3));
    let mut observer: Box<dyn Observer> = Box::new(Recorder::default());
    let mut cx = Context::new("generate", &mut observer);
    let prompts = [vec![Message::user("q")]];
    assert_eq!(policy.generate(&prompts, &Sampling::default(), &mut cx).unwrap().len(), 1);
    assert_eq!(policy.rollout(&prompts, &Sampling::default(), false, &mut cx).unwrap().len(), 1);
}
