//! Many concurrent questions to a model behind an endpoint, with a cache and retries.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use ser_core::Context;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::cache::{Answer, Cache};
use super::evidence::Reading;
use super::reply::{RequestOutcome, excerpt, outcome};
use super::{JudgeSettings, Transport, Usage};
use crate::EvalError;

/// Interval at which a waiting thread checks for a stop request.
const LISTEN_EVERY: Duration = Duration::from_millis(100);

/// A model, its transport and cache, and the usage so far.
pub(super) struct Chat {
    settings: JudgeSettings,
    transport: Box<dyn Transport>,
    cache: Option<Cache>,
    known: HashMap<String, Answer>,
    usage: Usage,
    unreadable: Vec<String>,
}

/// Number of unreadable replies that are shown.
const SAMPLES: usize = 2;

/// A question to the model, and the answers it judges.
pub(super) struct Question<'a> {
    pub(super) system: Option<String>,
    pub(super) user: String,
    /// Text that a reply repeats from these is not a verdict.
    pub(super) answers: Vec<&'a str>,
}

/// A request and its hash, the key of the cache. The endpoint is not hashed, so it may change.
struct Request {
    key: String,
    body: String,
}

/// The body of a request; its JSON is hashed.
#[derive(Serialize)]
struct Body<'b> {
    model: &'b str,
    messages: Vec<Turn<'b>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

#[derive(Serialize)]
struct Turn<'b> {
    role: &'static str,
    content: &'b str,
}

/// The state of one pass over the requests.
#[derive(Default)]
struct Tally {
    done: u64,
    /// Consecutive requests that found the endpoint down.
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
        Ok(Chat { settings, transport, cache, known, usage: Usage::default(), unreadable: Vec::new() })
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    pub(super) fn settings(&self) -> &JudgeSettings {
        &self.settings
    }

    /// Excerpts of the first unreadable replies.
    pub(super) fn unreadable_samples(&self) -> &[String] {
        &self.unreadable
    }

    /// The parsed reply to each question; none if no reply came or nothing could be read in it. The first [`SAMPLES`]
    /// unreadable replies are reported as notes. Each reply is stored at once, so after an error, a stop or a
    /// kill the same call asks only the remaining questions.
    pub(super) fn ask<T>(
        &mut self,
        questions: &[Question<'_>],
        read: impl Fn(&Reading<'_>) -> Option<T>,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Option<T>>, EvalError> {
        let requests = questions.iter().map(|question| self.request(question)).collect::<Result<Vec<_>, _>>()?;
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
            self.ask_all(&open, cx)?;
        }
        let Chat { known, usage, unreadable, .. } = self;
        let readings = requests.iter().zip(questions).map(|(request, question)| {
            let Answer { answer, cut, .. } = known.get(&request.key)?;
            let reading = Reading::read(answer, *cut, &question.answers, &read);
            usage.cut_off += u64::from(*cut);
            if reading.is_none() {
                usage.unreadable += 1;
                let sample = if answer.trim().is_empty() { "(an empty reply)".to_owned() } else { excerpt(answer) };
                let sample = if *cut { format!("{sample} (cut off by the token limit)") } else { sample };
                if unreadable.len() < SAMPLES && !unreadable.contains(&sample) {
                    cx.note(&format!("no verdict can be read in a reply: {sample}"));
                    unreadable.push(sample);
                }
            }
            reading
        });
        Ok(readings.collect())
    }

    fn request(&self, question: &Question<'_>) -> Result<Request, EvalError> {
        let JudgeSettings { model, temperature, top_p, max_tokens, .. } = &self.settings;
        let system = question.system.iter().map(|content| Turn { role: "system", content });
        let messages = system.chain([Turn { role: "user", content: &question.user }]).collect();
        let body = Body { model, messages, temperature: *temperature, top_p: *top_p, max_tokens: *max_tokens };
        let body =
            serde_json::to_string(&body).map_err(|error| EvalError::Unserializable { reason: error.to_string() })?;
        Ok(Request { key: format!("{:x}", Sha256::digest(&body)), body })
    }

    /// Sends requests from several threads; the calling thread stores the answers and reports progress.
    fn ask_all(&mut self, open: &[&Request], cx: &mut Context<'_>) -> Result<(), EvalError> {
        let _span = tracing::debug_span!("judge", requests = open.len(), model = self.settings.model).entered();
        cx.start(Some(open.len() as u64), "requests")?;
        let Chat { settings, transport, cache, known, usage, .. } = self;
        let (settings, transport) = (&*settings, &**transport);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        // A rendezvous channel: no thread runs ahead of the decisions made here.
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
                        if matches!(outcome, RequestOutcome::Refused { .. }) {
                            stop.store(true, Ordering::SeqCst);
                        }
                        // The receiver is gone: the answer is not needed.
                        let _ = sender.send((request, outcome, retries));
                    }
                });
            }
            drop(sender);
            loop {
                let before = tally.done;
                match receiver.recv_timeout(LISTEN_EVERY) {
                    Ok((request, outcome, retries)) => {
                        usage.retries += u64::from(retries);
                        let kept = match &outcome {
                            RequestOutcome::Answered(answer) => keep(request, answer, cache.as_mut(), known, usage),
                            _ => Ok(()),
                        };
                        let result = kept.and_then(|()| tally.note(outcome, settings, usage, cx));
                        // The first error is returned; answers under way are still stored.
                        if ended.is_ok() && result.is_err() {
                            ended = result;
                            stop.store(true, Ordering::SeqCst);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                if let (Err(stopped), Ok(())) = (cx.advance(tally.done - before), &ended) {
                    ended = Err(stopped.into());
                    stop.store(true, Ordering::SeqCst);
                }
            }
        });
        ended?;
        // If some requests were answered, the missing ones fail; if none was, the endpoint does.
        if let Some(reason) = tally.last_reason.filter(|_| known.is_empty()) {
            return Err(EvalError::NoAnswers { requests: open.len() as u64, reason });
        }
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
    /// Counts an outcome; an error if further requests are useless.
    fn note(
        &mut self,
        outcome: RequestOutcome,
        settings: &JudgeSettings,
        usage: &mut Usage,
        cx: &mut Context<'_>,
    ) -> Result<(), EvalError> {
        let (reason, down) = match outcome {
            RequestOutcome::Answered(_) => {
                self.done += 1;
                self.down = 0;
                return Ok(());
            }
            // The work is ending, and this request was not sent.
            RequestOutcome::Stopped => return Ok(()),
            RequestOutcome::Refused { status, reason } => return Err(EvalError::Refused { status, reason }),
            RequestOutcome::Unanswered { reason } => (reason, false),
            RequestOutcome::Down { reason } => (reason, true),
        };
        self.done += 1;
        usage.unanswered += 1;
        self.down = if down { self.down + 1 } else { 0 };
        if self.last_reason.is_none() {
            tracing::warn!(%reason, "a judge's request has no answer");
            cx.note(&format!("a request has no answer: {reason}"));
        }
        if self.down >= settings.give_up_after {
            return Err(EvalError::NoAnswers { requests: u64::from(self.down), reason });
        }
        self.last_reason = Some(reason);
        Ok(())
    }
}

/// Sends a request until it has an outcome; returns the number of retries too.
fn send(
    request: &Request,
    settings: &JudgeSettings,
    transport: &dyn Transport,
    stop: &AtomicBool,
) -> (RequestOutcome, u32) {
    for tries in 0.. {
        let (result, retry_after) = outcome(transport, &request.body);
        let again = result.is_err() && tries < settings.retries;
        let failure = match result {
            Ok(outcome) => return (outcome, tries),
            Err(outcome) if !again => return (outcome, tries),
            Err(outcome) => outcome,
        };
        let pause = pause(request, tries, retry_after, settings);
        tracing::debug!(?failure, retry = tries + 1, wait_seconds = pause.as_secs_f64(), "retrying a judge's request");
        if !wait(pause, stop) {
            return (RequestOutcome::Stopped, tries);
        }
    }
    (RequestOutcome::Stopped, settings.retries)
}

/// The wait before a retry.
fn pause(request: &Request, tries: u32, retry_after: Option<f64>, settings: &JudgeSettings) -> Duration {
    let doubled = settings.first_wait_seconds * f64::from(tries.min(60)).exp2();
    // The jitter comes from the request's hash: it differs between requests and tries without a random generator.
    let index = 2 * (tries as usize % 32);
    let byte = request.key.get(index..index + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok()).unwrap_or(0);
    let backoff = doubled.min(settings.longest_wait_seconds) * (1.0 - f64::from(byte) / 512.0);
    let asked = retry_after.filter(|seconds| seconds.is_finite()).unwrap_or(0.0);
    Duration::try_from_secs_f64(backoff.max(asked).min(settings.longest_wait_seconds)).unwrap_or_default()
}

/// Waits; false if stopped meanwhile.
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
