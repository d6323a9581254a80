//! `ser judge` against an endpoint that misbehaves: counts, cache, resume, and no key anywhere.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use support::chat_server::{ChatServer, Does, Request};
use support::ser;

const KEY: &str = "sk-Very/Secret+0815";

fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    text.split_once(from).unwrap().1.split_once(to).unwrap().0
}

/// The qualities of the answers in a question: each text begins with its quality.
fn qualities(question: &str) -> [u32; 2] {
    ["A", "B"].map(|name| {
        let answer = between(question, &format!("[Answer {name}]\n"), "\n[End");
        answer.split(' ').next().unwrap().parse().unwrap()
    })
}

fn honest(question: &str) -> Does {
    let [a, b] = qualities(question);
    let choice = if a > b {
        "A"
    } else if b > a {
        "B"
    } else {
        "tie"
    };
    Does::Says(format!("The better one is clear.\nVerdict: {choice}"))
}

/// Two files of `n` answers: of every ten, ours is better in 6, worse in 3, as good in 1.
fn files(folder: &Path, n: usize) {
    let (mut ours, mut theirs) = (String::new(), String::new());
    for i in 0..n {
        let quality = match i % 10 {
            0..6 => [8, 2],
            6..9 => [1, 7],
            _ => [5, 5],
        };
        ours += &format!(
            "{}\n",
            serde_json::json!({"prompt": format!("prompt {i}"), "answer": format!("{} ours", quality[0])})
        );
        let row = serde_json::json!({"response": format!("{} theirs, longer", quality[1]), "prompt": format!("prompt {i}"), "more": 1});
        // Another order: rows are matched by prompt.
        theirs = format!("{row}\n{theirs}");
    }
    fs::write(folder.join("ours.jsonl"), ours).unwrap();
    fs::write(folder.join("theirs.jsonl"), theirs).unwrap();
}

fn command(folder: &Path, server: &ChatServer, more: &[&str]) -> Command {
    let mut command = ser("judge");
    command.current_dir(folder).args(["ours.jsonl", "theirs.jsonl", "--endpoint", &server.endpoint]);
    command.args(["--judge-model", "judge", "--first-wait", "0.01", "--json"]).args(more);
    command.env("JUDGE_KEY", KEY).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn judge(folder: &Path, server: &ChatServer, more: &[&str]) -> Output {
    command(folder, server, more).output().unwrap()
}

fn metrics(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Wins, ties, losses, contradictions, failures.
fn counts(metrics: &Value) -> [u64; 5] {
    ["wins", "ties", "losses", "contradictions", "failures"]
        .map(|name| metrics["comparison"]["counts"][name].as_u64().unwrap())
}

/// Slow, 429, 500, garbage, broken connections; and the key is repeated wherever it can be.
fn difficult(request: &Request) -> Does {
    assert_eq!(request.authorization.as_deref(), Some(concat!("Bearer ", "sk-Very/Secret+0815")));
    let shown = format!("your key {KEY} \\ sk-Very\\/Secret+0815");
    let index: usize = between(&request.question, "prompt ", "\n").parse().unwrap();
    match (index % 6, request.before) {
        (0, 0) => Does::Replies(429, "retry-after: 0.05\r\n", format!("{{\"error\": {{\"message\": \"{shown}\"}}}}")),
        (1, 0 | 1) => Does::Replies(500, "", format!("<h1>{shown}</h1>")),
        (2, 0) => Does::Replies(200, "", format!("no JSON, {shown}")),
        (3, 0) => Does::HangsUp,
        (4, _) => Does::After(Duration::from_millis(60), Box::new(honest(&request.question))),
        _ => match honest(&request.question) {
            Does::Says(text) => {
                // JSON may write a slash as \/, so the key is visible only after parsing.
                let body = serde_json::json!({"choices": [{"message": {"content": format!("{KEY} says: {text}")}}]});
                Does::Replies(200, "", body.to_string().replace('/', "\\/"))
            }
            other => other,
        },
    }
}

fn assert_no_key(folder: &Path, output: &Output) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = String::from_utf8(fs::read(&path).unwrap()).unwrap();
        assert!(!text.contains("Secret"), "{}", path.display());
    }
    let said = format!("{}{}", stderr(output), String::from_utf8_lossy(&output.stdout));
    assert!(!said.contains("Secret"), "{said}");
}

#[test]
fn counts_are_right_whatever_happens_and_the_key_is_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path(), 40);
    let server = ChatServer::start(difficult);
    let key = ["--api-key-env", "JUDGE_KEY", "--verdicts", "verdicts.jsonl"];
    let output =
        judge(folder.path(), &server, &[&key[..], &["--prompt-price", "10", "--completion-price", "20"]].concat());
    let first = metrics(&output);
    // 24 of 40 win, 12 lose, 4 tie.
    assert_eq!(counts(&first), [24, 4, 12, 0, 0]);
    assert_eq!(first["comparison"]["policy"], "ours");
    assert!((first["comparison"]["win_rate"]["value"].as_f64().unwrap() - 0.65).abs() < 1e-12);
    assert_eq!(first["usage"]["answers"], 80);
    // Prompts by index: 7 of 0..40 are 0 to 3 modulo 6 each, asked in two orders; status 500 comes twice.
    assert_eq!(first["usage"]["retries"], 2 * (7 + 2 * 7 + 7 + 7));
    // The six prompts that are 4 modulo 6 have token counts, in two orders.
    assert_eq!(first["usage"]["prompt_tokens"], 12 * 2 * 6);
    assert!((first["cost"].as_f64().unwrap() - (144.0 * 10.0 + 36.0 * 20.0) / 1e6).abs() < 1e-12);
    assert_no_key(folder.path(), &output);
    let verdicts = fs::read_to_string(folder.path().join("verdicts.jsonl")).unwrap();
    assert_eq!(verdicts.lines().count(), 40);
    assert_eq!(serde_json::from_str::<Value>(verdicts.lines().next().unwrap()).unwrap()["verdict"]["prefers"], "a");

    // Again: nothing is asked, and all metrics are the same.
    let asked = server.asked();
    let again = metrics(&judge(folder.path(), &server, &key));
    assert_eq!(server.asked(), asked);
    assert_eq!(again["comparison"], first["comparison"]);
    assert_eq!((&again["usage"]["answers"], &again["usage"]["from_cache"]), (&Value::from(0), &Value::from(80)));
}

#[test]
fn a_killed_judge_continues_from_its_cache() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path(), 30);
    let server =
        ChatServer::start(|request| Does::After(Duration::from_millis(20), Box::new(honest(&request.question))));
    let cache = folder.path().join("judge_cache.jsonl");
    let mut kills = 0;
    for wait in [40, 60, 110, 160] {
        let mut child = command(folder.path(), &server, &["--concurrency", "3"]).spawn().unwrap();
        thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        kills += 1;
        child.wait().unwrap();
    }
    let kept = fs::read_to_string(&cache).map_or(0, |text| text.matches('\n').count());
    let metrics = metrics(&judge(folder.path(), &server, &["--concurrency", "3"]));
    assert_eq!(counts(&metrics), [18, 3, 9, 0, 0]);
    assert_eq!(metrics["usage"]["from_cache"].as_u64().unwrap() as usize, kept);
    // Only requests that were under way when the process died are repeated.
    let twice: usize = server.asked().values().map(|times| times - 1).sum();
    assert!(twice <= 3 * kills, "{twice}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path(), 30);
    let server =
        ChatServer::start(|request| Does::After(Duration::from_millis(40), Box::new(honest(&request.question))));
    let mut child = command(folder.path(), &server, &["--concurrency", "2"]).spawn().unwrap();
    while server.asked().len() < 6 && child.try_wait().unwrap().is_none() {
        thread::sleep(Duration::from_millis(5));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(stderr(&output).contains("The same command continues from here."), "{}", stderr(&output));
    let metrics = metrics(&judge(folder.path(), &server, &["--concurrency", "2"]));
    assert_eq!(counts(&metrics), [18, 3, 9, 0, 0]);
    // Requests that were under way are not repeated either.
    assert!(server.asked().values().all(|times| *times == 1));
}

#[test]
fn one_order_only_and_garbage_are_failures_counted_apart() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path(), 10);
    // Ours first is answered; theirs first is not, or not readably.
    for garbage in [true, false] {
        let server = ChatServer::start(move |request| {
            let ours_first = between(&request.question, "[Answer A]\n", "\n[End").ends_with("ours");
            match (ours_first, garbage) {
                (true, _) => honest(&request.question),
                (false, true) => Does::Says("\u{fffd}#!".to_owned()),
                (false, false) => Does::Replies(500, "", String::new()),
            }
        });
        let cache = format!("cache-{garbage}.jsonl");
        let output = judge(folder.path(), &server, &["--retries", "1", "--cache", &cache]);
        // No pair has a verdict: the metrics are printed, and the exit code is not 0.
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
        assert!(stderr(&output).contains("none of the 10 pairs could be judged"), "{}", stderr(&output));
        let metrics: Value = serde_json::from_slice(&output.stdout).unwrap();
        let samples = metrics["unreadable_samples"].as_array().unwrap();
        assert_eq!(samples.len(), usize::from(garbage), "the same reply is shown once: {samples:?}");
        assert_eq!(counts(&metrics), [0, 0, 0, 0, 10]);
        assert!(metrics["comparison"].get("win_rate").is_none());
        let usage = &metrics["usage"];
        let apart = [usage["unreadable"].as_u64().unwrap(), usage["unanswered"].as_u64().unwrap()];
        assert_eq!(apart, if garbage { [10, 0] } else { [0, 10] });
    }
    // The judge prefers the first answer: the two orders disagree, which is a tie.
    let server = ChatServer::start(|_| Does::Says("Verdict: A".to_owned()));
    let output = judge(folder.path(), &server, &["--cache", "biased.jsonl"]);
    assert!(
        stderr(&output).contains("warning: ours against theirs: the judge contradicted itself on 10 pairs (100.0 %")
    );
    let biased = metrics(&output);
    assert_eq!(biased["comparison"]["contradiction_rate"], 1.0);
    assert_eq!(counts(&biased), [0, 10, 0, 10, 0]);
    assert_eq!(biased["comparison"]["win_rate"]["value"], 0.5);
}

#[test]
fn thoughts_and_parts_are_read_and_unreadable_replies_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path(), 10);
    let server = ChatServer::start(|request| {
        let Does::Says(verdict) = honest(&request.question) else { panic!() };
        let index: usize = between(&request.question, "prompt ", "\n").parse().unwrap();
        let reply = |content: Value, reason: &str| {
            let choice = serde_json::json!({"message": {"content": content}, "finish_reason": reason});
            Does::Replies(200, "", serde_json::json!({ "choices": [choice] }).to_string())
        };
        match index {
            // The thoughts end at the token limit, before any verdict.
            0 => reply("<think>Perhaps\nVerdict: A\nbut".into(), "length"),
            1 => reply(format!("I cannot say, {}", qualities(&request.question)[0]).into(), "stop"),
            2 => reply(serde_json::json!([{"type": "text", "text": verdict}]), "stop"),
            _ => reply(format!("<think>At first\nVerdict: B\n</think>\n{verdict}").into(), "stop"),
        }
    });
    let output = judge(folder.path(), &server, &["--concurrency", "1"]);
    let metrics = metrics(&output);
    assert_eq!(counts(&metrics), [4, 1, 3, 0, 2]);
    let usage = &metrics["usage"];
    assert_eq!((&usage["unreadable"], &usage["cut_off"]), (&Value::from(4), &Value::from(2)));
    let samples = metrics["unreadable_samples"].as_array().unwrap();
    assert_eq!(samples.len(), 2);
    assert_eq!(samples[0], "<think>Perhaps Verdict: A but (cut off by the token limit)");
    assert!(stderr(&output).contains("2 replies were cut off at --max-tokens 512"), "{}", stderr(&output));
    for sample in samples {
        assert!(stderr(&output).contains(sample.as_str().unwrap()), "{}", stderr(&output));
    }
}

#[test]
fn the_additive_judge_and_the_table() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path(), 10);
    let server = ChatServer::start(|request| {
        let quality: f64 = between(&request.question, "[Answer]\n", " ").parse().unwrap();
        Does::Says(format!("Score: {}\nEvaluation evidence: none.", quality / 2.0))
    });
    let metrics = metrics(&judge(folder.path(), &server, &["--judge", "additive"]));
    assert_eq!(counts(&metrics), [6, 1, 3, 0, 0]);
    assert_eq!(metrics["mean_scores"], serde_json::json!([2.8, 1.9]));
    let mut command = command(folder.path(), &server, &["--judge", "additive"]);
    // Without --json there is a table.
    let arguments: Vec<_> = command.get_args().skip(1).filter(|a| *a != "--json").map(ToOwned::to_owned).collect();
    command = ser("judge");
    let output = command.args(arguments).current_dir(folder.path()).output().unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    for text in ["ours vs theirs", "65.0 %", "judge: additive, judge", "mean scores: 2.80 and 1.90"] {
        assert!(table.contains(text), "{table}");
    }
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
}

#[test]
fn bad_input_is_named_before_anything_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let server = ChatServer::start(|_| Does::HangsUp);
    let good = "{\"prompt\": \"p\", \"answer\": \"a\"}\n";
    let complains = |ours: &str, theirs: &str, more: &[&str], about: &str| {
        fs::write(folder.path().join("ours.jsonl"), ours).unwrap();
        fs::write(folder.path().join("theirs.jsonl"), theirs).unwrap();
        let output = judge(folder.path(), &server, more);
        let said = stderr(&output);
        assert!(!output.status.success() && said.contains(about), "wanted {about:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    };
    complains("", good, &[], "ours.jsonl has no answers");
    complains(good, "\n\n", &[], "theirs.jsonl has no answers");
    complains(&format!("{good}{{\"prompt\": "), good, &[], "ours.jsonl line 2 is not an answer");
    complains(good, "{\"answer\": \"a\"}", &[], "theirs.jsonl line 1 has no \"prompt\"");
    complains("{\"prompt\": \"p\"}", good, &[], "ours.jsonl line 1 has neither \"answer\" nor \"response\"");
    complains("{\"prompt\": 3, \"answer\": \"a\"}", good, &[], "must be a text, or a list of messages");
    complains("{\"prompt\": \"p\", \"answer\": \"a\", \"response\": \"b\"}", good, &[], "leave one out");
    complains(&good.repeat(2), good, &[], "ours.jsonl has the same prompt twice, on lines 1 and 2");
    let other = "{\"prompt\": \"q\", \"answer\": \"a\"}\n";
    complains(&format!("{good}{other}"), good, &[], "theirs.jsonl has nothing for the prompt of ours.jsonl line 2");
    complains(good, other, &["--common"], "have no prompt in common");
    let with_id = |prompt: &str| format!("{{\"id\": 7, \"prompt\": \"{prompt}\", \"answer\": \"a\"}}\n");
    complains(&with_id("p"), &with_id("q"), &[], "have the same id, but not the same prompt");
    complains(&with_id("p").repeat(2), &with_id("p"), &[], "has the id 7 twice, on lines 1 and 2");
    complains(good, good, &["--concurrency", "0"], "judge.concurrency is 0");
    complains(good, good, &["--api-key-env", "NO_SUCH_VARIABLE"], "NO_SUCH_VARIABLE is not set");
    // The key itself, given by mistake, is not repeated.
    complains(good, good, &["--api-key-env", KEY], "judge.api_key_env is not the name of a variable");
    fs::write(folder.path().join("judge_cache.jsonl"), "garbage\n").unwrap();
    let theirs = "{\"prompt\": \"p\", \"answer\": \"b\"}\n";
    complains(good, theirs, &[], "judge_cache.jsonl line 1 is not a judge's answer");
    assert_eq!(fs::read_to_string(folder.path().join("judge_cache.jsonl")).unwrap(), "garbage\n");
    assert!(server.asked().is_empty());
}

#[test]
fn an_unreachable_endpoint_is_named() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path(), 20);
    let server =
        ChatServer::start(|_| Does::Replies(401, "", format!("{{\"error\": {{\"message\": \"bad key {KEY}\"}}}}")));
    let output = judge(folder.path(), &server, &["--api-key-env", "JUDGE_KEY"]);
    assert!(stderr(&output).contains("status 401: bad key [key]"), "{}", stderr(&output));
    assert_no_key(folder.path(), &output);
    let mut gone = ChatServer::start(|_| Does::HangsUp);
    gone.endpoint = "http://127.0.0.1:9/v1".to_owned();
    let output = judge(folder.path(), &gone, &["--retries", "1"]);
    let said = stderr(&output);
    assert!(!output.status.success() && said.contains("left 8 requests without an answer"), "{said}");
}
