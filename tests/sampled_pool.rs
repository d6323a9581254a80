//! A pool from prompts: pairs of sampled answers as stages of a run.

#![allow(clippy::unwrap_used)]

mod support;

use std::convert::Infallible;
use std::fmt;

use ser::{Context, Control, Event, Generator, Message, Response, Sampling, observer_fn};
use ser::{Error, Observers, PoolSampling, RunFolder, SelfEvolution, sample_pool};
use support::{data, settings};

/// Answers with the prompt and a number; for some prompts it has few different answers.
#[derive(Default)]
struct Echo {
    calls: usize,
    asked: usize,
    fails_at: Option<usize>,
}

#[derive(Debug)]
struct Tired;

impl fmt::Display for Tired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("too tired")
    }
}

impl std::error::Error for Tired {}

impl Generator for Echo {
    type Error = Tired;

    fn generate(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        _cx: &mut Context<'_>,
    ) -> Result<Vec<Vec<Response>>, Tired> {
        if self.fails_at == Some(self.calls) {
            return Err(Tired);
        }
        self.calls += 1;
        self.asked += prompts.len();
        let of = |prompt: &Vec<Message>, sample: usize| {
            let text = match prompt[0].content.as_str() {
                "mute" => " ".to_owned(),
                "one word" => ["yes", "yes "][sample].to_owned(),
                "slow" if self.calls % 2 == 1 => "yes".to_owned(),
                other => format!("{other}: {}", sampling.seed.wrapping_add(sample as u64) % 1000),
            };
            Response { text, tokens: Vec::new(), finished: true }
        };
        Ok(prompts.iter().map(|prompt| (0..sampling.samples_per_prompt).map(|i| of(prompt, i)).collect()).collect())
    }
}

fn prompts(n: usize) -> Vec<Vec<Message>> {
    let mut prompts: Vec<_> = (0..n).map(|i| vec![Message::user(format!("prompt {i}"))]).collect();
    for (index, text) in [(1, "mute"), (3, "one word"), (4, "slow")] {
        prompts[index] = vec![Message::user(text)];
    }
    prompts
}

fn lend<'a>(generator: &'a mut Echo) -> impl FnOnce() -> Result<&'a mut Echo, Infallible> {
    move || Ok(generator)
}

#[test]
fn two_different_answers_each_or_left_out_and_counted() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunFolder::open(root.path().join("run"), false).unwrap();
    let mut echo = Echo::default();
    let sample = |echo: &mut Echo, run: &mut RunFolder| {
        sample_pool(lend(echo), &prompts(300), &PoolSampling::default(), 1000, run, &mut Observers::new())
    };
    let pool = sample(&mut echo, &mut run).unwrap();
    assert_eq!(pool.pairs.len(), 298);
    let left_out: Vec<_> = pool.left_out.iter().map(|c| (c.name.as_str(), c.count)).collect();
    assert_eq!(left_out, [("prompts: two answers the same", 1), ("prompts: an empty answer", 1)]);
    assert_eq!(echo.asked, 256 + 3 + 2 + 44, "only the prompts without two answers are asked again");
    let ids: Vec<u64> = pool.pairs.iter().take(4).map(|pair| pair.id.0).collect();
    assert_eq!(ids, [1000, 1002, 1004, 1005], "the id of a pair is its prompt's index");
    assert!(pool.pairs.iter().all(|pair| pair.responses[0] != pair.responses[1]));
    assert_eq!(pool.pairs[2].prompt, [Message::user("slow")]);

    // Finished stages are read, so no generator is made.
    drop(run);
    let mut run = RunFolder::open(root.path().join("run"), true).unwrap();
    let none = || -> Result<Echo, Tired> { Err(Tired) };
    let again = sample_pool(none, &prompts(300), &PoolSampling::default(), 1000, &mut run, &mut Observers::new());
    assert_eq!(again.unwrap(), pool);
    let error = sample_pool(none, &prompts(299), &PoolSampling::default(), 1000, &mut run, &mut Observers::new());
    assert!(error.unwrap_err().to_string().contains("`prompts.prompts` was 300 and is now 299"));
}

#[test]
fn a_killed_run_continues_and_ends_the_same() {
    let root = tempfile::tempdir().unwrap();
    let sample = |echo: &mut Echo, name: &str| {
        let mut run = RunFolder::open(root.path().join(name), true).unwrap();
        sample_pool(lend(echo), &prompts(600), &PoolSampling::default(), 0, &mut run, &mut Observers::new())
    };
    let whole = sample(&mut Echo::default(), "whole").unwrap();
    let error = sample(&mut Echo { fails_at: Some(3), ..Echo::default() }, "died").unwrap_err();
    assert!(support::chain(&error).contains("too tired"), "{error}");
    let mut rest = Echo::default();
    assert_eq!(sample(&mut rest, "died").unwrap(), whole);
    assert_eq!(rest.asked, 600 - 256, "the first stage was kept");
}

#[test]
fn a_stop_and_unusable_settings() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunFolder::open(root.path().join("run"), false).unwrap();
    let mut observers = Observers::new();
    observers.push(observer_fn(|event| match event {
        Event::Advanced { .. } => Control::Stop,
        _ => Control::Continue,
    }));
    let mut echo = Echo::default();
    let stopped = sample_pool(lend(&mut echo), &prompts(600), &PoolSampling::default(), 0, &mut run, &mut observers);
    assert!(matches!(stopped, Err(Error::Interrupted { .. })));
    assert!(run.is_done("pool/0000.jsonl") && !run.is_done("pool/0001.jsonl"));
    let greedy = Sampling { temperature: 0.0, ..Sampling::default() };
    let error = PoolSampling { sampling: greedy, ..PoolSampling::default() }.check().unwrap_err().to_string();
    assert!(error.contains("sampling.temperature") && error.contains("greedy"), "{error}");
}

#[test]
fn the_loop_runs_on_a_pool_of_prompts_alone() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunFolder::open(root.path().join("run"), false).unwrap();
    let mut data = data(5);
    data.pool = [].into();
    data.gold = None;
    let pool = sample_pool(
        lend(&mut Echo::default()),
        &prompts(90),
        &PoolSampling::default(),
        data.free_id().unwrap(),
        &mut run,
        &mut Observers::new(),
    )
    .unwrap();
    data.add_to_pool(pool).unwrap();
    let mut model = support::Linear::default();
    let outcome = SelfEvolution::new(settings()).run_in(&mut model, data, &mut run).unwrap();
    let pool = outcome.report.data.splits.iter().find(|count| count.name == "pool").unwrap();
    assert_eq!(pool.count, 88);
    assert!(outcome.report.data.left_out.iter().any(|count| count.name == "prompts: an empty answer"));
}

#[test]
fn prompts_of_the_test_and_validation_sets_stay_out_of_the_pool() {
    let prompt = |data: &ser::SerData, index: usize| data.test.read_all().unwrap()[index].pair.prompt.clone();
    let mut data = data(6);
    let asked = vec![
        prompt(&data, 0),
        vec![Message::user("a question of its own")],
        data.validation.read_all().unwrap()[3].pair.prompt.clone(),
        prompt(&data, 1),
    ];
    let rows = data.counts.rows;
    assert_eq!(data.without_held_out(asked.clone()).unwrap(), [asked[1].clone()]);
    let count = |data: &ser::SerData| -> u64 {
        let name = "prompts: in the test or validation set";
        data.counts.left_out.iter().filter(|count| count.name == name).map(|count| count.count).sum()
    };
    assert_eq!((count(&data), data.counts.rows - rows), (3, 3));

    // Sampled pairs with such prompts are left out too.
    let root = tempfile::tempdir().unwrap();
    let mut run = RunFolder::open(root.path().join("run"), false).unwrap();
    let (mut echo, first) = (Echo::default(), data.free_id().unwrap());
    let pool =
        sample_pool(lend(&mut echo), &asked, &PoolSampling::default(), first, &mut run, &mut Observers::new()).unwrap();
    assert_eq!(pool.pairs.len(), 4);
    data.pool = [].into();
    data.add_to_pool(pool).unwrap();
    let prompts: Vec<_> = data.pool.read_all().unwrap().iter().map(|pair| pair.prompt.clone()).collect();
    assert_eq!(prompts, [asked[1].clone()]);
    assert_eq!((count(&data), data.counts.rows - rows), (6, 7));
}
