//! The state shared by all requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use crate::CheckedServeSettings;
use crate::metrics::Metrics;
use crate::queue::{Queue, Scored};
use crate::reply::Problem;
use crate::texts::Texts;

/// The state of a server.
pub(crate) struct Shared {
    pub(crate) queue: Arc<Queue>,
    pub(crate) metrics: Metrics,
    pub(crate) settings: CheckedServeSettings,
    /// Whether the model's adapter can be changed.
    pub(crate) has_adapters: bool,
    /// Number of requests that are read or answered.
    pub(crate) active: AtomicUsize,
    next_id: AtomicU64,
}

impl Shared {
    pub(crate) fn new(settings: CheckedServeSettings, has_adapters: bool) -> Self {
        let queue = Arc::new(Queue::new(settings.settings.queue_pairs, &settings.settings.model));
        let (active, next_id) = (AtomicUsize::new(0), AtomicU64::new(0));
        Shared { queue, metrics: Metrics::default(), settings, has_adapters, active, next_id }
    }

    /// Reads the JSON body of a request.
    pub(crate) async fn read<T: DeserializeOwned>(&self, request: Request) -> Result<T, Problem> {
        let settings = &self.settings.settings;
        let body = tokio::time::timeout(settings.body_timeout, Bytes::from_request(request, &()))
            .await
            .map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time"))?
            .map_err(|rejection| match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the request's body is over {} bytes", settings.request_bytes),
                ),
                _ => Problem::new(StatusCode::BAD_REQUEST, "the request's body is cut off"),
            })?;
        serde_json::from_slice(&body).map_err(|error| Problem::json(&error))
    }

    /// An empty list of texts, whose pairs have ids of their own.
    pub(crate) fn texts(&self) -> Texts {
        let most = self.settings.settings.request_texts as u64;
        Texts::new(self.next_id.fetch_add(most, Ordering::Relaxed))
    }

    /// Checks the number of a request's texts before they become pairs.
    pub(crate) fn check_count(&self, texts: usize) -> Result<(), Problem> {
        let most = self.settings.settings.request_texts;
        if texts > most {
            let message = format!("the request has {texts} texts; at most {most} are taken");
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        Ok(())
    }

    /// The raw scores of all texts, by group, and the name of the model that scored them. The texts leave the queue if the
    /// client leaves.
    pub(crate) async fn score(&self, texts: Texts, cut_long: bool) -> Result<(Vec<Vec<f64>>, Arc<str>), Problem> {
        self.check_count(texts.len())?;
        let layout = texts.layout();
        let ticket = self.queue.submit(texts.pairs, cut_long).map_err(Problem::refused)?;
        match ticket.outcome().await {
            Ok(Scored { scores, model }) => Ok((layout.scores(&scores), model)),
            Err(failure) => Err(Problem::failure(failure, &layout)),
        }
    }

    /// An id for a reply, unique in this process.
    pub(crate) fn reply_id(&self, kind: &str) -> String {
        format!("{kind}-{:016x}", self.next_id.fetch_add(1, Ordering::Relaxed))
    }
}

/// The time in seconds since 1970, for replies.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
