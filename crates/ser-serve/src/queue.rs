//! The queue between requests and the thread that scores.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ser_core::{Pair, PairScores};
use tokio::sync::oneshot;

/// The scores of a request's pairs, in order.
pub(crate) type Outcome = Result<Vec<PairScores>, Failure>;

/// The scores of a whole request, all by one model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scored {
    pub(crate) scores: Vec<PairScores>,
    /// The model's name.
    pub(crate) model: Arc<str>,
}

/// Most changes of the adapter that wait.
const MOST_CHANGES: usize = 16;

/// A change of the adapter. It takes effect between the requests before and those after it.
pub(crate) struct Change {
    /// The new adapter's name.
    pub(crate) name: String,
    reply: oneshot::Sender<Result<(), String>>,
}

impl Change {
    /// Whether the client that asked for it has left.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Work of the thread that scores.
pub(crate) enum Work {
    /// Pairs of one request or several.
    Score(Vec<Part>),
    /// Another adapter for the requests after it.
    Change(Change),
}

/// Why the pairs of a request have no scores.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Failure {
    /// This pair is over the model's length limit.
    TooLong(usize),
    /// This pair has a text without tokens.
    Empty(usize),
    /// The model cannot read the texts, for example because its chat template refuses them.
    Unreadable(String),
    /// The model failed.
    Model(String),
}

/// Why a request is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many pairs wait.
    Full,
    /// The server stops.
    Closed,
}

struct Job {
    id: u64,
    pairs: Arc<[Arc<Pair>]>,
    cut_long: bool,
    /// Number of pairs that batches have taken.
    taken: usize,
    scores: Vec<PairScores>,
    reply: oneshot::Sender<Result<Scored, Failure>>,
}

impl Job {
    fn waiting(&self) -> usize {
        self.pairs.len() - self.taken
    }
}

/// Pairs of one job in a batch.
pub(crate) struct Part {
    id: u64,
    /// The index of the first pair in its request.
    pub(crate) first: usize,
    pub(crate) pairs: Vec<Arc<Pair>>,
    /// Whether texts over the length limit are scored without their end, and not refused.
    pub(crate) cut_long: bool,
}

struct Jobs {
    /// In order of arrival. A job stays until all of its scores are there or its client has left.
    jobs: VecDeque<Job>,
    /// In order of arrival, with ids among those of the jobs.
    changes: VecDeque<(u64, Change)>,
    /// The name of the model that scores.
    model: Arc<str>,
    waiting: usize,
    cancelled: u64,
    changed: u64,
    next_id: u64,
    closed: bool,
}

impl Jobs {
    fn position(&self, id: u64) -> Option<usize> {
        self.jobs.iter().position(|job| job.id == id)
    }

    fn remove(&mut self, id: u64) -> Option<Job> {
        let job = self.position(id).and_then(|at| self.jobs.remove(at))?;
        self.waiting -= job.waiting();
        Some(job)
    }
}

/// A bounded queue of requests.
pub(crate) struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
    limit: usize,
}

impl Queue {
    /// A queue in which at most `limit` pairs wait, for the model of this name.
    pub(crate) fn new(limit: usize, model: &str) -> Self {
        let jobs = Jobs {
            jobs: VecDeque::new(),
            changes: VecDeque::new(),
            model: model.into(),
            waiting: 0,
            cancelled: 0,
            changed: 0,
            next_id: 0,
            closed: false,
        };
        Queue { jobs: Mutex::new(jobs), changed: Condvar::new(), limit }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a request.
    pub(crate) fn submit(self: &Arc<Self>, pairs: Vec<Arc<Pair>>, cut_long: bool) -> Result<Ticket, Refused> {
        let (reply, outcome) = oneshot::channel();
        let mut jobs = self.lock();
        if jobs.closed {
            return Err(Refused::Closed);
        }
        if jobs.waiting + pairs.len() > self.limit {
            return Err(Refused::Full);
        }
        let id = jobs.next_id;
        jobs.next_id += 1;
        jobs.waiting += pairs.len();
        if pairs.is_empty() {
            let _ = reply.send(Ok(Scored { scores: Vec::new(), model: Arc::clone(&jobs.model) }));
        } else {
            let scores = Vec::with_capacity(pairs.len());
            jobs.jobs.push_back(Job { id, pairs: pairs.into(), cut_long, taken: 0, scores, reply });
        }
        drop(jobs);
        self.changed.notify_one();
        Ok(Ticket { id, outcome, queue: Arc::clone(self) })
    }

    /// Asks for another adapter. The receiver gets the problem, if there is one, as a sentence.
    pub(crate) fn submit_change(&self, name: String) -> Result<oneshot::Receiver<Result<(), String>>, Refused> {
        let (reply, outcome) = oneshot::channel();
        let mut jobs = self.lock();
        if jobs.closed {
            return Err(Refused::Closed);
        }
        if jobs.changes.len() >= MOST_CHANGES {
            return Err(Refused::Full);
        }
        let id = jobs.next_id;
        jobs.next_id += 1;
        jobs.changes.push_back((id, Change { name, reply }));
        drop(jobs);
        self.changed.notify_one();
        Ok(outcome)
    }

    /// Answers a change. If it was made, the following requests are scored by the model of its name.
    pub(crate) fn finish_change(&self, change: Change, result: Result<(), String>) {
        if result.is_ok() {
            let mut jobs = self.lock();
            jobs.model = change.name.as_str().into();
            jobs.changed += 1;
        }
        let _ = change.reply.send(result);
    }

    /// The next pairs, of one request or several, in order of arrival, or a change of the adapter, once every request before
    /// it is scored; waits for them. `None` if the queue is closed and empty.
    pub(crate) fn take(&self, max_pairs: usize, max_bytes: usize) -> Option<Work> {
        let mut jobs = self.lock();
        while jobs.waiting == 0 && jobs.changes.is_empty() {
            if jobs.closed {
                return None;
            }
            jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        let change = jobs.changes.front().map_or(u64::MAX, |(id, _)| *id);
        if !jobs.jobs.iter().any(|job| job.id < change && job.waiting() > 0) {
            return jobs.changes.pop_front().map(|(_, change)| Work::Change(change));
        }
        let (mut parts, mut count, mut bytes) = (Vec::new(), 0, 0);
        'jobs: for job in jobs.jobs.iter_mut().filter(|job| job.id < change && job.waiting() > 0) {
            let mut part = Part { id: job.id, first: job.taken, pairs: Vec::new(), cut_long: job.cut_long };
            for pair in job.pairs.iter().skip(job.taken) {
                let size = text_bytes(pair);
                if count > 0 && (count == max_pairs || bytes + size > max_bytes) {
                    if !part.pairs.is_empty() {
                        parts.push(part);
                    }
                    break 'jobs;
                }
                part.pairs.push(Arc::clone(pair));
                job.taken += 1;
                count += 1;
                bytes += size;
            }
            parts.push(part);
        }
        jobs.waiting -= count;
        Some(Work::Score(parts))
    }

    /// Stores the scores of a part, and answers its request if they are the last ones, or if there are none.
    pub(crate) fn finish(&self, part: &Part, outcome: Outcome) {
        let mut jobs = self.lock();
        let model = Arc::clone(&jobs.model);
        let Some(job) = jobs.position(part.id).and_then(|at| jobs.jobs.get_mut(at)) else { return };
        let answer = match outcome {
            Ok(scores) => {
                job.scores.extend(scores);
                if job.scores.len() < job.pairs.len() {
                    return;
                }
                let scores = std::mem::take(&mut job.scores);
                Ok(Scored { scores, model })
            }
            Err(failure) => Err(failure),
        };
        if let Some(job) = jobs.remove(part.id) {
            let _ = job.reply.send(answer);
        }
    }

    /// Accepts nothing more; waiting pairs are still scored.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Number of pairs that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().waiting
    }

    /// The name of the model that scores.
    pub(crate) fn model(&self) -> Arc<str> {
        Arc::clone(&self.lock().model)
    }

    /// Number of changes of the adapter.
    pub(crate) fn changes(&self) -> u64 {
        self.lock().changed
    }

    /// Number of requests whose clients left before the answer.
    pub(crate) fn cancelled(&self) -> u64 {
        self.lock().cancelled
    }
}

/// A request in the queue. Dropped before its answer, it is removed from the queue.
pub(crate) struct Ticket {
    id: u64,
    outcome: oneshot::Receiver<Result<Scored, Failure>>,
    queue: Arc<Queue>,
}

impl Ticket {
    /// Waits for the scores.
    pub(crate) async fn outcome(mut self) -> Result<Scored, Failure> {
        (&mut self.outcome).await.unwrap_or_else(|_| Err(Failure::Model("the scoring thread ended".to_owned())))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut jobs = self.queue.lock();
        if jobs.remove(self.id).is_some() {
            jobs.cancelled += 1;
        }
    }
}

fn text_bytes(pair: &Pair) -> usize {
    let [a, b] = &pair.responses;
    pair.prompt.iter().map(|message| message.content.len()).sum::<usize>() + a.len() + b.len()
}

#[cfg(test)]
mod tests;
