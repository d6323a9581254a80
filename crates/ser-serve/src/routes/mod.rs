//! Paths, and their common parts: the key, limits, counters.

mod adapter;
mod openrlhf;
mod rewards;
mod vllm;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::reply::Problem;
use crate::state::Shared;

type App = State<Arc<Shared>>;

/// All paths of a server.
pub(crate) fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/get_reward", post(openrlhf::get_reward))
        .route("/classify", post(vllm::classify))
        .route("/v1/classify", post(vllm::classify))
        .route("/score", post(vllm::score))
        .route("/v1/score", post(vllm::score))
        .route("/v1/rewards", post(rewards::rewards))
        .route("/v1/adapter", post(adapter::change))
        .route("/v1/models", get(models))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is no such path"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path does not take this method")
        })
        .layer(DefaultBodyLimit::max(shared.settings.settings.request_bytes))
        .layer(from_fn_with_state(Arc::clone(shared), around))
        .with_state(Arc::clone(shared))
}

/// Counts a request for as long as it lives, also if its client leaves.
struct Active(Arc<Shared>);

impl Active {
    fn new(shared: Arc<Shared>) -> Self {
        shared.active.fetch_add(1, Ordering::SeqCst);
        Active(shared)
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn around(State(shared): App, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let active = Active::new(Arc::clone(&shared));
    let path = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let response = if path == "/health" || has_key(&shared, &request) {
        next.run(request).await
    } else {
        let message = "the API key is missing or wrong; give it as the header Authorization: Bearer KEY";
        Problem::new(StatusCode::UNAUTHORIZED, message).into_response()
    };
    shared.metrics.request(&path, response.status().as_u16(), start.elapsed());
    tracing::debug!(path, status = response.status().as_u16(), "request");
    drop(active);
    response
}

fn has_key(shared: &Shared, request: &Request) -> bool {
    let Some(key) = &shared.settings.settings.api_key else { return true };
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some((scheme, given)) = given.and_then(|value| value.split_once(' ')) else { return false };
    scheme.eq_ignore_ascii_case("bearer") && key.matches(given.trim())
}

async fn models(State(shared): App) -> Json<Value> {
    let model = json!({"id": &*shared.queue.model(), "object": "model", "created": 0, "owned_by": "ser"});
    Json(json!({"object": "list", "data": [model]}))
}

async fn health(State(shared): App) -> Json<Value> {
    Json(json!({"status": "ok", "waiting_pairs": shared.queue.waiting()}))
}

async fn metrics(State(shared): App) -> Response {
    let text = shared.metrics.text(&shared.queue);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
