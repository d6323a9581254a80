//! Counters in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::queue::Queue;

/// The upper ends of the buckets of request times, in seconds.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

#[derive(Default)]
struct Counts {
    /// Requests by path and status code.
    requests: BTreeMap<(String, u16), u64>,
    buckets: [u64; BUCKETS.len()],
    request_seconds: f64,
    batches: u64,
    pairs: u64,
    scoring_seconds: f64,
    truncated: u64,
}

/// The counters of a server.
#[derive(Default)]
pub(crate) struct Metrics(Mutex<Counts>);

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn request(&self, path: &str, code: u16, time: Duration) {
        let mut counts = self.lock();
        let seconds = time.as_secs_f64();
        *counts.requests.entry((path.to_owned(), code)).or_default() += 1;
        counts.request_seconds += seconds;
        for (count, end) in counts.buckets.iter_mut().zip(BUCKETS) {
            *count += u64::from(seconds <= end);
        }
    }

    pub(crate) fn batch(&self, pairs: usize, time: Duration) {
        let mut counts = self.lock();
        counts.batches += 1;
        counts.pairs += pairs as u64;
        counts.scoring_seconds += time.as_secs_f64();
    }

    pub(crate) fn truncated(&self, texts: usize) {
        self.lock().truncated += texts as u64;
    }

    /// All counters as text.
    pub(crate) fn text(&self, queue: &Queue) -> String {
        let (waiting, cancelled, changes) = (queue.waiting(), queue.cancelled(), queue.changes());
        let counts = self.lock();
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, lines: &[(String, String)]| {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP ser_serve_{name} {help}\n# TYPE ser_serve_{name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(text, "ser_serve_{name}{labels} {value}");
            }
        };
        let one = |value: &dyn ToString| vec![(String::new(), value.to_string())];
        let requests: Vec<_> = counts
            .requests
            .iter()
            .map(|((path, code), n)| (format!("{{path=\"{path}\",code=\"{code}\"}}"), n.to_string()))
            .collect();
        metric("requests_total", "counter", "Requests by path and status code.", &requests);
        let total: u64 = counts.requests.values().sum();
        let ends = BUCKETS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        let values = counts.buckets.iter().chain([&total]);
        let mut times: Vec<_> =
            ends.zip(values).map(|(end, n)| (format!("_bucket{{le=\"{end}\"}}"), n.to_string())).collect();
        times.push(("_sum".to_owned(), counts.request_seconds.to_string()));
        times.push(("_count".to_owned(), total.to_string()));
        metric("request_seconds", "histogram", "Times from a request's head to its answer.", &times);
        metric("batches_total", "counter", "Batches scored.", &one(&counts.batches));
        metric("pairs_total", "counter", "Pairs scored; a single text is a pair with itself.", &one(&counts.pairs));
        metric("scoring_seconds_total", "counter", "Time spent in the model.", &one(&counts.scoring_seconds));
        metric("truncated_total", "counter", "Pairs scored without their end.", &one(&counts.truncated));
        metric("cancelled_total", "counter", "Requests whose client left before the answer.", &one(&cancelled));
        metric("adapter_changes_total", "counter", "Changes of the adapter.", &one(&changes));
        metric("waiting_pairs", "gauge", "Pairs in the queue.", &one(&waiting));
        text
    }
}
