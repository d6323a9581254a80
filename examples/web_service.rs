//! A web service that runs self-evolution, with progress and cancellation over HTTP.
//!
//! ```sh
//! cargo run --release --example web_service -- runs/service &
//! curl -X POST localhost:3000/run       # start, or continue a stopped run
//! curl localhost:3000/run               # the latest event, or the result
//! curl -X DELETE localhost:3000/run     # stop; everything finished is saved
//! ```
//!
//! A run computes for a long time, so it has a thread of its own (`spawn_blocking`). Its observer sends the latest event
//! to the handlers, and reads from them whether to stop.
#![allow(clippy::print_stdout)]

#[path = "embed_custom_model.rs"]
mod embed_custom_model;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use ser::{BoxError, Control, Error, Event, EventRecord, Observer, SelfEvolution};
use serde::Serialize;

use embed_custom_model::{HashedLinear, corpus, settings};

/// What `GET /run` answers.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Status {
    #[default]
    Idle,
    Running {
        event: Option<EventRecord>,
    },
    Stopped,
    Failed {
        error: String,
    },
    Finished {
        iteration: u32,
        report: PathBuf,
    },
}

/// The service: one run folder, and the state of its run.
#[derive(Clone)]
struct Service {
    folder: Arc<PathBuf>,
    pairs: usize,
    status: Arc<Mutex<Status>>,
    stop: Arc<AtomicBool>,
}

impl Service {
    fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs to the end, on a thread that may block.
    fn run(self) {
        let work = || -> Result<Status, BoxError> {
            let data = corpus(self.pairs)?.data;
            let evolution = SelfEvolution::new(settings()).observer(self.clone()).resume(true);
            match evolution.run(&mut HashedLinear::new(), data, self.folder.as_path()) {
                Ok(outcome) => Ok(Status::Finished { iteration: outcome.iteration, report: outcome.html }),
                Err(Error::Interrupted { .. }) => Ok(Status::Stopped),
                Err(error) => Err(error.into()),
            }
        };
        let status = work().unwrap_or_else(|error| Status::Failed { error: error.to_string() });
        *self.status() = status;
    }
}

impl Observer for Service {
    fn observe(&mut self, event: &Event<'_>) -> Control {
        *self.status() = Status::Running { event: Some(event.to_owned()) };
        if self.stop.load(Ordering::Relaxed) { Control::Stop } else { Control::Continue }
    }
}

async fn start(State(service): State<Service>) -> StatusCode {
    let mut status = service.status();
    if matches!(*status, Status::Running { .. }) {
        return StatusCode::CONFLICT;
    }
    *status = Status::Running { event: None };
    drop(status);
    service.stop.store(false, Ordering::Relaxed);
    tokio::task::spawn_blocking(move || service.run());
    StatusCode::ACCEPTED
}

async fn show(State(service): State<Service>) -> Json<Status> {
    Json(service.status().clone())
}

async fn stop(State(service): State<Service>) -> StatusCode {
    service.stop.store(true, Ordering::Relaxed);
    StatusCode::ACCEPTED
}

/// The routes of the service. Its runs use the built-in corpus with so many pairs.
pub(crate) fn router(folder: PathBuf, pairs: usize) -> Router {
    let service = Service { folder: folder.into(), pairs, status: Arc::default(), stop: Arc::default() };
    Router::new().route("/run", get(show).post(start).delete(stop)).with_state(service)
}

#[allow(dead_code, reason = "the test serves `router`")]
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "runs/service".to_owned());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("listening on {}", listener.local_addr()?);
    Ok(axum::serve(listener, router(folder.into(), 4000)).await?)
}
