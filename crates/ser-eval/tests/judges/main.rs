//! Judges over an endpoint that is a function: counts, the cache, retries, and giving up.

#![allow(clippy::unwrap_used)]

mod endpoint;

use std::convert::Infallible;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use approx::assert_abs_diff_eq;
use proptest::collection::vec;
use proptest::prelude::*;
use ser_core::testing::StopAfter;
use ser_core::{
    Clusters, Context, Control, Event, Judge, Pair, PairId, PairScores, Stage, Verdict, judge_fn, observer_fn,
    scorer_fn,
};
use ser_eval::{
    AdditiveJudge, Bootstrap, Comparison, EvalError, JudgeSettings, NoReply, PairwiseJudge, Prices, Reply, RewardJudge,
    Rubric, Transport, VerdictCounts,
};
use serde_json::Value;

use endpoint::{A, Answer, B, between, endpoint, honest, judge, numbers, pairs, says, settings, status};

#[test]
fn both_orders_are_asked_and_counted() {
    let (mut judge, asked) = judge(|question, _| honest(question));
    let verdicts = judge.judge(&pairs(&[[2, 1], [1, 2], [5, 3], [7, 7]]), &mut Context::silent()).unwrap();
    assert_eq!(verdicts, [A, B, A, Verdict::Tie]);
    let asked = asked.lock().unwrap();
    // Identical answers are not asked about.
    assert_eq!(asked.len(), 6);
    assert!(asked.keys().any(|question| numbers(question) == [2, 1]));
    assert!(asked.keys().any(|question| numbers(question) == [1, 2]));
    let usage = judge.usage();
    assert_eq!((usage.answers, usage.prompt_tokens, usage.completion_tokens), (6, 600, 60));
    let cost = usage.cost(Prices { prompt_per_million: 1000.0, completion_per_million: 5000.0 });
    assert_abs_diff_eq!(cost, 0.9, epsilon = 1e-12);
}

#[test]
fn a_judge_that_always_prefers_the_first_contradicts_itself() {
    let (mut judge, _) = judge(|_, _| says("Verdict: A"));
    let verdicts = judge.judge(&pairs(&[[1, 2], [2, 1]]), &mut Context::silent()).unwrap();
    assert_eq!(verdicts, [Verdict::Contradiction; 2]);
    let counts = VerdictCounts::of(&verdicts);
    assert_eq!((counts.ties, counts.contradictions, counts.failures), (2, 2, 0));
}

#[test]
fn the_contradiction_rate_is_of_the_pairs_that_were_asked() {
    // Equal answers tie without being asked about; the pair with a 9 has no verdict.
    let (mut judge, _) =
        judge(|question, _| if numbers(question).contains(&9) { says("?") } else { says("Verdict: A") });
    let pairs = pairs(&[[1, 2], [2, 1], [3, 3], [9, 1]]);
    let verdicts = judge.judge(&pairs, &mut Context::silent()).unwrap();
    let compare = |pairs: &[Arc<Pair>], verdicts: &[Verdict]| {
        Comparison::measure("ours", "theirs", "judge", pairs, verdicts, Clusters::Singletons, &Bootstrap::default())
            .unwrap()
    };
    let comparison = compare(&pairs, &verdicts);
    assert_eq!(comparison.contradiction_rate, Some(1.0));
    let warnings = comparison.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("contradicted itself on 2 pairs (100.0 %"), "{warnings:?}");
    let comparison = compare(&pairs[..2], &[A, B]);
    assert_eq!((comparison.contradiction_rate, comparison.warnings().len()), (Some(0.0), 0));
    assert_eq!(compare(&pairs[2..3], &[Verdict::Tie]).contradiction_rate, None);
    let nothing = compare(&pairs[..2], &[Verdict::Failure; 2]).warnings();
    assert_eq!(nothing, ["ours against theirs: none of 2 pairs could be judged."]);
}

#[test]
fn unreadable_replies_are_counted_and_two_are_shown() {
    let (mut judge, _) = judge(|question, _| says(&format!("I would rather not, {:?}.", numbers(question))));
    let mut notes = Vec::new();
    let mut observer = observer_fn(|event: &Event<'_>| {
        if let Event::Note { text } = event {
            notes.push((*text).to_owned());
        }
        Control::Continue
    });
    judge.judge(&pairs(&[[2, 1], [3, 1]]), &mut Context::new(Stage::Judge, &mut observer)).unwrap();
    assert_eq!(judge.usage().unreadable, 4);
    assert_eq!(judge.unreadable_samples(), ["I would rather not, [2, 1].", "I would rather not, [1, 2]."]);
    assert_eq!(notes[0], "no verdict can be read in a reply: I would rather not, [2, 1].");
    assert_eq!(notes.len(), 2);
}

#[test]
fn the_authors_preset_sends_their_rubric_and_sampling() {
    struct Keep(Arc<Mutex<Vec<Value>>>);
    impl Transport for Keep {
        fn post(&self, body: &str) -> Answer {
            self.0.lock().unwrap().push(serde_json::from_str(body).unwrap());
            says("Score: 4\nEvaluation evidence: fine.")
        }
    }
    let bodies = Arc::default();
    let settings = JudgeSettings::authors_code("http://unused", "judge");
    assert_eq!(settings.rubric, Rubric::AuthorsCode);
    let mut judge = AdditiveJudge::with_transport(settings, Box::new(Keep(Arc::clone(&bodies)))).unwrap();
    assert_eq!(judge.scores(&pairs(&[[1, 2]]), &mut Context::silent()).unwrap(), [[Some(4.0), Some(4.0)]]);
    let body = bodies.lock().unwrap()[0].clone();
    let sampling = ["temperature", "top_p", "max_tokens"].map(|name| body[name].as_f64().unwrap());
    assert_eq!(sampling, [0.7, 0.95, 1024.0]);
    let [system, user] = [0, 1].map(|i| body["messages"][i].clone());
    assert_eq!((&system["role"], &user["role"]), (&Value::from("system"), &Value::from("user")));
    let rubric = system["content"].as_str().unwrap();
    assert!(rubric.contains("Score: <total score>\nEvaluation evidence: <") && rubric.contains("at most 100 words"));
    let asked = user["content"].as_str().unwrap();
    assert!(asked.starts_with("<Question>: question 0\n<Response>: "), "{asked}");
}

#[test]
fn one_order_only_is_a_failure_and_no_tie() {
    let (mut judge, asked) = judge(|question, _| match numbers(question) {
        [a, b] if a > b => honest(question),
        _ => status(500, None),
    });
    let verdicts = judge.judge(&pairs(&[[2, 1], [1, 2], [9, 3]]), &mut Context::silent()).unwrap();
    assert_eq!(verdicts, [Verdict::Failure; 3]);
    let usage = judge.usage();
    assert_eq!((usage.answers, usage.unanswered, usage.unreadable), (3, 3, 0));
    // A try and three more.
    assert_eq!(usage.retries, 9);
    assert!(asked.lock().unwrap().iter().all(|(q, times)| *times == if numbers(q)[0] > numbers(q)[1] { 1 } else { 4 }));
}

#[test]
fn temporary_failures_are_retried() {
    let (mut judge, _) = judge(|question, before| match before {
        0 => status(429, None),
        1 => Ok(Reply { status: 200, retry_after: None, body: "<html>gateway</html>".to_owned() }),
        2 => Err(NoReply { reason: "timeout".to_owned() }),
        _ => honest(question),
    });
    assert_eq!(judge.judge(&pairs(&[[2, 1], [1, 2]]), &mut Context::silent()).unwrap(), [A, B]);
    assert_eq!((judge.usage().retries, judge.usage().unanswered), (12, 0));
}

#[test]
fn answers_that_cannot_be_read_are_failures_and_not_asked_again() {
    let (mut judge, asked) = judge(|_, _| says("I would rather not say."));
    assert_eq!(judge.judge(&pairs(&[[2, 1]]), &mut Context::silent()).unwrap(), [Verdict::Failure]);
    assert_eq!((judge.usage().unreadable, judge.usage().unanswered), (2, 0));
    assert!(asked.lock().unwrap().values().all(|times| *times == 1));
}

#[test]
fn a_request_that_is_bad_in_itself_is_not_repeated() {
    let (mut judge, asked) =
        judge(|question, _| if numbers(question).contains(&9) { status(400, None) } else { honest(question) });
    assert_eq!(judge.judge(&pairs(&[[9, 1], [2, 1]]), &mut Context::silent()).unwrap(), [Verdict::Failure, A]);
    assert!(asked.lock().unwrap().values().all(|times| *times == 1));
}

#[test]
fn retry_after_is_respected() {
    let wait = |retry_after: f64, longest: f64| {
        let (transport, _) = endpoint(
            move |question, before| {
                if before == 0 { status(429, Some(retry_after)) } else { honest(question) }
            },
        );
        let settings = JudgeSettings { longest_wait_seconds: longest, ..settings() };
        let mut judge = PairwiseJudge::with_transport(settings, transport).unwrap();
        let start = Instant::now();
        assert_eq!(judge.judge(&pairs(&[[2, 1]]), &mut Context::silent()).unwrap(), [A]);
        start.elapsed()
    };
    assert!(wait(0.3, 60.0) >= Duration::from_millis(300));
    assert!(wait(5000.0, 0.01) < Duration::from_secs(5));
}

#[test]
fn a_refusal_ends_the_work_at_once_and_keeps_the_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.jsonl");
    for refusal in [301, 401, 403, 404] {
        let _ = fs::remove_file(&path);
        let (transport, asked) =
            endpoint(
                move |question, _| if numbers(question)[0] > 50 { status(refusal, None) } else { honest(question) },
            );
        let settings = JudgeSettings { cache: Some(path.clone()), concurrency: 1, ..settings() };
        let mut judge = PairwiseJudge::with_transport(settings, transport).unwrap();
        let error = judge.judge(&pairs(&[[2, 1], [99, 1], [3, 1], [4, 1]]), &mut Context::silent()).unwrap_err();
        assert!(matches!(&error, EvalError::Refused { status, .. } if *status == refusal), "{error}");
        let message = error.to_string();
        assert!(message.contains(&format!("status {refusal}: not now, [key]")), "{message}");
        assert_eq!(asked.lock().unwrap().len(), 3);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}

#[test]
fn requests_to_an_unreachable_endpoint_end() {
    for down in [None, Some(429), Some(503)] {
        let (transport, asked) = endpoint(move |_, _| match down {
            None => Err(NoReply { reason: "connection refused, s3cret".to_owned() }),
            Some(code) => status(code, None),
        });
        let settings = JudgeSettings { give_up_after: 3, retries: 1, concurrency: 1, ..settings() };
        let mut judge = PairwiseJudge::with_transport(settings, transport).unwrap();
        let error =
            judge.judge(&pairs(&(0..50).map(|i| [i, i + 1]).collect::<Vec<_>>()), &mut Context::silent()).unwrap_err();
        assert!(matches!(error, EvalError::NoAnswers { requests: 3, .. }), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert!(asked.lock().unwrap().len() <= 5);
    }
    // Not a chat completion: the endpoint is not a judge.
    let (mut judge, _) = judge(|_, _| Ok(Reply { status: 200, retry_after: None, body: "hello".to_owned() }));
    let error = judge.judge(&pairs(&[[1, 2]]), &mut Context::silent()).unwrap_err();
    assert!(error.to_string().contains("not a chat completion: hello"), "{error}");
}

#[test]
fn nothing_is_asked_twice_after_a_stop_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let all: Vec<[i32; 2]> = (0..12).map(|i| [i, 20 - i]).collect();
    for moment in 0..30 {
        let cache = Some(folder.path().join(format!("{moment}.jsonl")));
        let (transport, first) = endpoint(|question, _| honest(question));
        let settings = JudgeSettings { cache, concurrency: 2, ..settings() };
        let mut judge = PairwiseJudge::with_transport(settings.clone(), transport).unwrap();
        match judge.judge(&pairs(&all), &mut Context::new(Stage::Judge, &mut StopAfter(moment))) {
            Ok(verdicts) => assert_eq!(verdicts.len(), 12),
            Err(error) => assert!(matches!(error, EvalError::Stopped(_)), "{error}"),
        }
        drop(judge);
        let (transport, second) = endpoint(|question, _| honest(question));
        // The endpoint has moved meanwhile.
        let settings = JudgeSettings { endpoint: "http://elsewhere/v1".to_owned(), ..settings };
        let mut judge = PairwiseJudge::with_transport(settings, transport).unwrap();
        let verdicts = judge.judge(&pairs(&all), &mut Context::silent()).unwrap();
        let expected: Vec<Verdict> = all
            .iter()
            .map(|[a, b]| {
                if a > b {
                    A
                } else if b > a {
                    B
                } else {
                    Verdict::Tie
                }
            })
            .collect();
        assert_eq!(verdicts, expected);
        let (first, second) = (first.lock().unwrap(), second.lock().unwrap());
        assert_eq!(first.len() + second.len(), 22, "moment {moment}: all once, but the identical pair");
        assert!(first.values().chain(second.values()).all(|times| *times == 1));
        assert_eq!(judge.usage().from_cache as usize, first.len());
        assert_eq!(judge.usage().cached_prompt_tokens as usize, 100 * first.len());
    }
}

#[test]
fn another_model_or_setting_is_another_question() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Some(folder.path().join("cache.jsonl"));
    let base = JudgeSettings { cache, ..settings() };
    let others = [
        base.clone(),
        JudgeSettings { model: "other".to_owned(), ..base.clone() },
        JudgeSettings { temperature: None, ..base.clone() },
        JudgeSettings { max_tokens: Some(9), ..base.clone() },
    ];
    for settings in others {
        let (transport, asked) = endpoint(|question, _| honest(question));
        PairwiseJudge::with_transport(settings, transport)
            .unwrap()
            .judge(&pairs(&[[1, 2]]), &mut Context::silent())
            .unwrap();
        assert_eq!(asked.lock().unwrap().len(), 2);
    }
    // Retries and the like make no difference.
    let (transport, asked) = endpoint(|question, _| honest(question));
    let settings = JudgeSettings { retries: 9, concurrency: 1, ..base };
    PairwiseJudge::with_transport(settings, transport)
        .unwrap()
        .judge(&pairs(&[[1, 2]]), &mut Context::silent())
        .unwrap();
    assert!(asked.lock().unwrap().is_empty());
}

#[test]
fn the_key_stays_out_of_cache_and_notes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cache.jsonl");
    let (transport, _) = endpoint(|question, _| match numbers(question) {
        [a, b] if a > b => says("Your key is s3cret.\nVerdict: A"),
        _ => status(500, None),
    });
    let settings = JudgeSettings { cache: Some(path.clone()), ..settings() };
    let mut judge = PairwiseJudge::with_transport(settings, transport).unwrap();
    let mut notes = Vec::new();
    let mut observer = observer_fn(|event: &Event<'_>| {
        if let Event::Note { text } = event {
            notes.push((*text).to_owned());
        }
        Control::Continue
    });
    judge.judge(&pairs(&[[2, 1]]), &mut Context::new(Stage::Judge, &mut observer)).unwrap();
    assert_eq!(notes, ["a request has no answer: status 500: not now, [key]"]);
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept.contains("Your key is [key].") && !kept.contains("s3cret"), "{kept}");
}

#[test]
fn requests_under_way_are_bounded() {
    let (under_way, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (transport, _) = endpoint({
        let most = Arc::clone(&most);
        move |question, _| {
            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            under_way.fetch_sub(1, Ordering::SeqCst);
            honest(question)
        }
    });
    let mut judge = PairwiseJudge::with_transport(JudgeSettings { concurrency: 3, ..settings() }, transport).unwrap();
    judge.judge(&pairs(&(0..20).map(|i| [i, i + 1]).collect::<Vec<_>>()), &mut Context::silent()).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[test]
fn the_additive_judge_grades_each_answer() {
    let (transport, asked) = endpoint(|question, _| match between(question, "[Answer]\n", "\n[End of answer]") {
        "9" => says("No score today."),
        answer => says(&format!("Score: {answer}\nEvaluation evidence: as asked.")),
    });
    let mut judge = AdditiveJudge::with_transport(settings(), transport).unwrap();
    let pairs = pairs(&[[5, 3], [0, 4], [2, 2], [9, 1], [7, 1]]);
    let scores = judge.scores(&pairs, &mut Context::silent()).unwrap();
    let some = |a, b| [Some(a), Some(b)];
    assert_eq!(scores, [some(5.0, 3.0), some(0.0, 4.0), some(2.0, 2.0), [None, Some(1.0)], [None, Some(1.0)]]);
    assert_eq!(
        judge.judge(&pairs, &mut Context::silent()).unwrap(),
        [A, B, Verdict::Tie, Verdict::Failure, Verdict::Failure]
    );
    // Equal answers to one question are one request, and the second call asked for nothing.
    assert_eq!(asked.lock().unwrap().values().sum::<usize>(), 9);
}

#[test]
fn a_reward_model_and_a_closure_judge() {
    let scorer = scorer_fn(|pairs, _| {
        let score = |text: &String| text.parse().unwrap_or(f64::NAN);
        Ok::<_, Infallible>(pairs.iter().map(|p| PairScores::from(p.responses.each_ref().map(score))).collect())
    });
    let mut all = pairs(&[[2, 1], [1, 2], [3, 3]]);
    all.push(Arc::new(Pair::from_text(PairId(9), "q", "none", "1")));
    assert_eq!(
        RewardJudge(scorer).judge(&all, &mut Context::silent()).unwrap(),
        [A, B, Verdict::Tie, Verdict::Failure]
    );
    let mut closure = judge_fn(|pairs, _| Ok::<_, Infallible>(vec![Verdict::Tie; pairs.len()]));
    assert_eq!(closure.judge(&all, &mut Context::silent()).unwrap(), [Verdict::Tie; 4]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// For any judge: honest, biased to one position, silent or unreadable on some answers.
    #[test]
    fn swapped_pairs_mirror_the_verdicts(all in vec([0i32..6, 0i32..6], 1..10), turn in 0usize..10) {
        let answer = |question: &str, _: usize| match numbers(question) {
            [0, _] => says("Verdict: A"),
            [_, 1] => says("Hm."),
            [2, 3] => status(400, None),
            _ => honest(question),
        };
        let verdicts = |pairs: &[Arc<Pair>]| judge(answer).0.judge(pairs, &mut Context::silent());
        let straight = pairs(&all);
        let swapped: Vec<_> = straight.iter().map(|pair| Arc::new(Pair::clone(pair).swapped())).collect();
        // All requests refused is an error, in either order.
        match (verdicts(&straight), verdicts(&swapped)) {
            (Ok(one), Ok(other)) => {
                prop_assert_eq!(&one, &other.iter().map(|v| v.swapped()).collect::<Vec<_>>());
                // Another order of the pairs is the same verdicts in that order.
                let turn = turn % straight.len();
                let (mut turned, mut expected) = (straight.clone(), one);
                turned.rotate_left(turn);
                expected.rotate_left(turn);
                prop_assert_eq!(verdicts(&turned).unwrap(), expected);
            }
            (Err(one), Err(other)) => {
                prop_assert!(matches!(one, EvalError::NoAnswers { .. }), "{}", one);
                prop_assert!(matches!(other, EvalError::NoAnswers { .. }), "{}", other);
            }
            (one, other) => prop_assert!(false, "{:?} {:?}", one, other),
        }
    }
}
