//! The queue between requests and the thread that scores.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ser_core::{Pair, PairScores};
use tokio::sync::oneshot;

/// The scores of a request's pairs, in order.
pub(crate) type Outcome = Result<Vec<PairScores>, Failure>;

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
    reply: oneshot::Sender<Outcome>,
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

#[derive(Default)]
struct Jobs {
    /// In order of arrival. A job stays until all of its scores are there or its client has left.
    jobs: VecDeque<Job>,
    waiting: usize,
    cancelled: u64,
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
    /// A queue in which at most `limit` pairs wait.
    pub(crate) fn new(limit: usize) -> Self {
        Queue { jobs: Mutex::default(), changed: Condvar::new(), limit }
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
            let _ = reply.send(Ok(Vec::new()));
        } else {
            let scores = Vec::with_capacity(pairs.len());
            jobs.jobs.push_back(Job { id, pairs: pairs.into(), cut_long, taken: 0, scores, reply });
        }
        drop(jobs);
        self.changed.notify_one();
        Ok(Ticket { id, outcome, queue: Arc::clone(self) })
    }

    /// The next pairs, of one request or several, in order of arrival; waits for them. `None` if the queue is closed and
    /// empty.
    pub(crate) fn take(&self, max_pairs: usize, max_bytes: usize) -> Option<Vec<Part>> {
        let mut jobs = self.lock();
        while jobs.waiting == 0 {
            if jobs.closed {
                return None;
            }
            jobs = self.changed.wait(jobs).unwrap_or_else(PoisonError::into_inner);
        }
        let (mut parts, mut count, mut bytes) = (Vec::new(), 0, 0);
        'jobs: for job in jobs.jobs.iter_mut().filter(|job| job.waiting() > 0) {
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
        Some(parts)
    }

    /// Stores the scores of a part, and answers its request if they are the last ones, or if there are none.
    pub(crate) fn finish(&self, part: &Part, outcome: Outcome) {
        let mut jobs = self.lock();
        let Some(job) = jobs.position(part.id).and_then(|at| jobs.jobs.get_mut(at)) else { return };
        let answer = match outcome {
            Ok(scores) => {
                job.scores.extend(scores);
                if job.scores.len() < job.pairs.len() {
                    return;
                }
                Ok(std::mem::take(&mut job.scores))
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

    /// Number of requests whose clients left before the answer.
    pub(crate) fn cancelled(&self) -> u64 {
        self.lock().cancelled
    }
}

/// A request in the queue. Dropped before its answer, it is removed from the queue.
pub(crate) struct Ticket {
    id: u64,
    outcome: oneshot::Receiver<Outcome>,
    queue: Arc<Queue>,
}

impl Ticket {
    /// Waits for the scores.
    pub(crate) async fn outcome(mut self) -> Outcome {
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
mod tests {
    use ser_core::PairId;

    use super::*;

    fn pairs(n: usize) -> Vec<Arc<Pair>> {
        (0..n).map(|i| Arc::new(Pair::from_text(PairId(i as u64), "1234", "123", "123"))).collect()
    }

    fn sizes(parts: Option<Vec<Part>>) -> Vec<(u64, usize, usize)> {
        parts.unwrap().iter().map(|part| (part.id, part.first, part.pairs.len())).collect()
    }

    #[test]
    fn batches_cross_requests_and_split_them() {
        let queue = Arc::new(Queue::new(100));
        let _tickets = [3, 1, 4].map(|n| queue.submit(pairs(n), false).unwrap());
        assert_eq!(queue.waiting(), 8);
        assert_eq!(sizes(queue.take(5, 1000)), [(0, 0, 3), (1, 0, 1), (2, 0, 1)]);
        // 10 bytes a pair: two fit into 25 bytes.
        assert_eq!(sizes(queue.take(5, 25)), [(2, 1, 2)]);
        // A pair over the limit is a batch of its own.
        assert_eq!(sizes(queue.take(5, 1)), [(2, 3, 1)]);
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn a_request_whose_client_left_is_dropped() {
        let queue = Arc::new(Queue::new(4));
        let first = queue.submit(pairs(3), false).unwrap();
        assert_eq!(queue.submit(pairs(2), false).err(), Some(Refused::Full));
        drop(first);
        assert_eq!((queue.waiting(), queue.cancelled()), (0, 1));
        let second = queue.submit(pairs(4), false).unwrap();
        let parts = queue.take(2, 1000).unwrap();
        drop(second);
        // Scores of a request whose client left are dropped.
        queue.finish(&parts[0], Ok(vec![PairScores::new(0.0, 0.0); 2]));
        assert_eq!(queue.waiting(), 0);
        queue.close();
        assert_eq!(queue.submit(pairs(1), false).err(), Some(Refused::Closed));
        assert!(queue.take(2, 1000).is_none());
    }

    #[test]
    fn a_failed_part_answers_the_request_at_once() {
        let queue = Arc::new(Queue::new(10));
        let mut ticket = queue.submit(pairs(4), false).unwrap();
        let parts = queue.take(2, 1000).unwrap();
        queue.finish(&parts[0], Err(Failure::TooLong(1)));
        assert_eq!(ticket.outcome.try_recv().unwrap(), Err(Failure::TooLong(1)));
        assert_eq!(queue.waiting(), 0);
    }
}
