//! Many questions to a model behind an endpoint: cached, retried, several at once.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use ser_core::{Control, Event, Observer};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::cache::{Answer, Cache};
use super::reply::{Outcome, outcome};
use super::{JudgeSettings, Transport, Usage};
use crate::EvalError;

/// How soon a request to stop is heard.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

/// A model, the way to it, and all it has said.
pub(super) struct Chat {
    settings: JudgeSettings,
    transport: Box<dyn Transport>,
    cache: Option<Cache>,
    known: HashMap<String, Answer>,
    usage: Usage,
}

/// A request and the hash by which its answer is kept. Where it goes is no part of it, so an endpoint may move.
struct Request {
    key: String,
    body: String,
}

/// The body of a request; its JSON is what is hashed.
#[derive(Serialize)]
struct Body<'b> {
    model: &'b str,
    messages: [Turn<'b>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Turn<'b> {
    role: &'static str,
    content: &'b str,
}

/// What one pass over the requests has come to.
#[derive(Default)]
struct Tally {
    done: u64,
    /// Requests in a row that found the endpoint down.
    down: u32,
    last_reason: Option<String>,
}

impl Chat {
    pub(super) fn new(settings: JudgeSettings, transport: Box<dyn Transport>) -> Result<Self, EvalError> {
        settings.check()?;
        let (cache, known) = match &settings.cache {
            Some(path) => Cache::open(path).map(|(cache, known)| (Some(cache), known))?,
            None => (None, HashMap::new()),
        };
        Ok(Chat { settings, transport, cache, known, usage: Usage::default() })
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// What `read` makes of each prompt's answer; none where no answer came, or none that can be read. Each answer is kept
    /// as it comes, so after an error, a stop or a kill the same call asks for the others only.
    pub(super) fn ask<T>(
        &mut self,
        prompts: &[String],
        read: fn(&str) -> Option<T>,
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Option<T>>, EvalError> {
        let requests = prompts.iter().map(|prompt| self.request(prompt)).collect::<Result<Vec<_>, _>>()?;
        let mut seen = HashSet::new();
        let (known, open): (Vec<&Request>, Vec<&Request>) = requests
            .iter()
            .filter(|request| seen.insert(request.key.as_str()))
            .partition(|request| self.known.contains_key(&request.key));
        for answer in known.iter().filter_map(|request| self.known.get(&request.key)) {
            self.usage.from_cache += 1;
            self.usage.cached_prompt_tokens += answer.prompt_tokens;
            self.usage.cached_completion_tokens += answer.completion_tokens;
        }
        if !open.is_empty() {
            self.ask_all(&open, stage, observer)?;
        }
        let answers = requests.iter().map(|request| {
            let answer = self.known.get(&request.key)?;
            let reading = read(&answer.answer);
            self.usage.unreadable += u64::from(reading.is_none());
            reading
        });
        Ok(answers.collect())
    }

    fn request(&self, prompt: &str) -> Result<Request, EvalError> {
        let JudgeSettings { model, temperature, max_tokens, .. } = &self.settings;
        let messages = [Turn { role: "user", content: prompt }];
        let body = Body { model, messages, temperature: *temperature, max_tokens: *max_tokens };
        let body =
            serde_json::to_string(&body).map_err(|error| EvalError::Unserializable { reason: error.to_string() })?;
        Ok(Request { key: format!("{:x}", Sha256::digest(&body)), body })
    }

    /// Sends requests from several threads; this one keeps the answers and tells the observer.
    fn ask_all(&mut self, open: &[&Request], stage: &str, observer: &mut dyn Observer) -> Result<(), EvalError> {
        let total = Some(open.len() as u64);
        if observer.observe(&Event::Started { stage, total, unit: "requests" }) == Control::Stop {
            return Err(EvalError::Stopped);
        }
        let Chat { settings, transport, cache, known, usage } = self;
        let (settings, transport) = (&*settings, &**transport);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        // Without room for waiting: no thread runs ahead of what is decided here.
        let (sender, receiver) = mpsc::sync_channel(0);
        let mut tally = Tally::default();
        let mut ended = Ok(());
        thread::scope(|scope| {
            for _ in 0..settings.concurrency.min(open.len()) {
                let (sender, next, stop) = (sender.clone(), &next, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let Some(&request) = open.get(next.fetch_add(1, Ordering::SeqCst)) else { break };
                        let (outcome, retries) = send(request, settings, transport, stop);
                        if matches!(outcome, Outcome::Refused { .. }) {
                            stop.store(true, Ordering::SeqCst);
                        }
                        // Whoever does not listen any more needs no answer.
                        let _ = sender.send((request, outcome, retries));
                    }
                });
            }
            drop(sender);
            loop {
                match receiver.recv_timeout(LISTEN_EVERY) {
                    Ok((request, outcome, retries)) => {
                        usage.retries += u64::from(retries);
                        let kept = match &outcome {
                            Outcome::Answered(answer) => keep(request, answer, cache.as_mut(), known, usage),
                            _ => Ok(()),
                        };
                        let result = kept.and_then(|()| tally.note(outcome, settings, usage, observer));
                        // The first error counts; answers under way are still kept.
                        if ended.is_ok() && result.is_err() {
                            ended = result;
                            stop.store(true, Ordering::SeqCst);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                let going = observer.observe(&Event::Advanced { stage, done: tally.done });
                if going == Control::Stop && ended.is_ok() {
                    ended = Err(EvalError::Stopped);
                    stop.store(true, Ordering::SeqCst);
                }
            }
        });
        ended?;
        // One reply among many that are missing is a verdict on the request; none at all is one on the endpoint.
        if let Some(reason) = tally.last_reason.filter(|_| known.is_empty()) {
            return Err(EvalError::NoAnswers { requests: open.len() as u64, reason });
        }
        let _ = observer.observe(&Event::Finished { stage });
        Ok(())
    }
}

fn keep(
    request: &Request,
    answer: &Answer,
    cache: Option<&mut Cache>,
    known: &mut HashMap<String, Answer>,
    usage: &mut Usage,
) -> Result<(), EvalError> {
    usage.answers += 1;
    usage.prompt_tokens += answer.prompt_tokens;
    usage.completion_tokens += answer.completion_tokens;
    known.insert(request.key.clone(), answer.clone());
    cache.map_or(Ok(()), |cache| cache.keep(&request.key, answer))
}

impl Tally {
    /// Counts an outcome; an error if it means that asking on is of no use.
    fn note(
        &mut self,
        outcome: Outcome,
        settings: &JudgeSettings,
        usage: &mut Usage,
        observer: &mut dyn Observer,
    ) -> Result<(), EvalError> {
        let (reason, down) = match outcome {
            Outcome::Answered(_) => {
                self.done += 1;
                self.down = 0;
                return Ok(());
            }
            // The work is ending, and this request was not done.
            Outcome::Stopped => return Ok(()),
            Outcome::Refused { status, reason } => return Err(EvalError::Refused { status, reason }),
            Outcome::Unanswered { reason } => (reason, false),
            Outcome::Down { reason } => (reason, true),
        };
        self.done += 1;
        usage.unanswered += 1;
        self.down = if down { self.down + 1 } else { 0 };
        if self.last_reason.is_none() {
            let text = format!("a request stays without an answer: {reason}");
            let _ = observer.observe(&Event::Note { text: &text });
        }
        if self.down >= settings.give_up_after {
            return Err(EvalError::NoAnswers { requests: u64::from(self.down), reason });
        }
        self.last_reason = Some(reason);
        Ok(())
    }
}

/// Sends a request until it has an outcome; says how many tries there were after the first.
fn send(request: &Request, settings: &JudgeSettings, transport: &dyn Transport, stop: &AtomicBool) -> (Outcome, u32) {
    for tries in 0.. {
        let (result, retry_after) = outcome(transport, &request.body);
        let again = result.is_err() && tries < settings.retries;
        match result {
            Ok(outcome) => return (outcome, tries),
            Err(outcome) if !again => return (outcome, tries),
            Err(_) => {}
        }
        if !wait(pause(request, tries, retry_after, settings), stop) {
            return (Outcome::Stopped, tries);
        }
    }
    (Outcome::Stopped, settings.retries)
}

/// How long to wait after so many further tries.
fn pause(request: &Request, tries: u32, retry_after: Option<f64>, settings: &JudgeSettings) -> Duration {
    let doubled = settings.first_wait_seconds * f64::from(tries.min(60)).exp2();
    // Jitter from the request's own hash: it differs between requests and tries, and needs no generator.
    let place = 2 * (tries as usize % 32);
    let byte = request.key.get(place..place + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let backoff = doubled.min(settings.longest_wait_seconds) * (1.0 - f64::from(byte) / 512.0);
    let asked = retry_after.filter(|seconds| seconds.is_finite()).unwrap_or(0.0);
    Duration::try_from_secs_f64(backoff.max(asked).min(settings.longest_wait_seconds)).unwrap_or_default()
}

/// Waits; false if told to stop meanwhile.
fn wait(time: Duration, stop: &AtomicBool) -> bool {
    let end = Instant::now() + time;
    while !stop.load(Ordering::SeqCst) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        thread::sleep(left.min(LISTEN_EVERY));
    }
    false
}
