//! An endpoint that is a function, and judges over it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use ser_core::{Pair, PairId, Side, Verdict};
use ser_eval::{JudgeSettings, NoReply, PairwiseJudge, Reply, Transport};
use serde_json::Value;

pub(super) type Answer = Result<Reply, NoReply>;

/// An endpoint that answers by a function of the question and of how often it was asked before.
pub(super) struct Endpoint<F> {
    answer: F,
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl<F: Fn(&str, usize) -> Answer + Send + Sync> Transport for Endpoint<F> {
    fn post(&self, body: &str) -> Answer {
        let body: Value = serde_json::from_str(body).unwrap();
        let question = body["messages"][0]["content"].as_str().unwrap().to_owned();
        let before = {
            let mut asked = self.asked.lock().unwrap();
            let times = asked.entry(question.clone()).or_default();
            *times += 1;
            *times - 1
        };
        (self.answer)(&question, before)
    }

    fn redact(&self, text: String) -> String {
        text.replace("s3cret", "[key]")
    }
}

/// How often each question was asked.
pub(super) type Asked = Arc<Mutex<HashMap<String, usize>>>;

pub(super) fn endpoint(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> (Box<dyn Transport>, Asked) {
    let asked = Asked::default();
    (Box::new(Endpoint { answer, asked: Arc::clone(&asked) }), asked)
}

pub(super) fn says(content: &str) -> Answer {
    let usage = serde_json::json!({"prompt_tokens": 100, "completion_tokens": 10});
    let body = serde_json::json!({"choices": [{"message": {"role": "assistant", "content": content}}], "usage": usage});
    Ok(Reply { status: 200, retry_after: None, body: body.to_string() })
}

pub(super) fn status(status: u16, retry_after: Option<f64>) -> Answer {
    Ok(Reply { status, retry_after, body: "{\"error\": {\"message\": \"not now, s3cret\"}}".to_owned() })
}

pub(super) fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    text.split_once(from).unwrap().1.split_once(to).unwrap().0
}

/// The two numbers that the answers are.
pub(super) fn numbers(question: &str) -> [i32; 2] {
    ["A", "B"].map(|name| {
        between(question, &format!("[Answer {name}]\n"), &format!("\n[End of answer {name}]")).trim().parse().unwrap()
    })
}

/// Prefers the greater number.
pub(super) fn honest(question: &str) -> Answer {
    let [a, b] = numbers(question);
    says(match a.cmp(&b) {
        std::cmp::Ordering::Greater => "Greater.\nVerdict: A",
        std::cmp::Ordering::Less => "Greater.\nVerdict: B",
        std::cmp::Ordering::Equal => "Verdict: tie",
    })
}

pub(super) fn settings() -> JudgeSettings {
    JudgeSettings {
        endpoint: "http://unused".to_owned(),
        model: "judge".to_owned(),
        first_wait_seconds: 0.0,
        retries: 3,
        ..JudgeSettings::default()
    }
}

/// Pairs of numbers as answers.
pub(super) fn pairs(numbers: &[[i32; 2]]) -> Vec<Arc<Pair>> {
    let pair = |(i, [a, b]): (usize, &[i32; 2])| {
        Arc::new(Pair::from_text(PairId(i as u64), format!("question {i}"), a.to_string(), b.to_string()))
    };
    numbers.iter().enumerate().map(pair).collect()
}

pub(super) fn judge(answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static) -> (PairwiseJudge, Asked) {
    let (transport, asked) = endpoint(answer);
    (PairwiseJudge::with_transport(settings(), transport).unwrap(), asked)
}

pub(super) const A: Verdict = Verdict::Prefers(Side::A);
pub(super) const B: Verdict = Verdict::Prefers(Side::B);
