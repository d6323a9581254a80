//! Changing the adapter of the model that is served.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use crate::reply::Problem;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    adapter: String,
}

/// `POST /v1/adapter`. Answers once the new adapter scores.
pub(super) async fn change(State(shared): App, request: Request) -> Result<Json<Value>, Problem> {
    if !shared.has_adapters {
        let message = "the server was started without adapters to change to";
        return Err(Problem::new(StatusCode::NOT_FOUND, message));
    }
    let Body { adapter } = shared.read(request).await?;
    let outcome = shared.queue.submit_change(adapter.clone()).map_err(Problem::refused)?;
    match outcome.await {
        Ok(Ok(())) => Ok(Json(json!({"object": "adapter", "model": adapter}))),
        Ok(Err(problem)) => {
            let still = shared.queue.model();
            Err(Problem::invalid(format!(
                "the adapter {adapter:?} is not taken, and {still} scores as before: {problem}"
            )))
        }
        Err(_) => Err(Problem::refused(crate::queue::Refused::Closed)),
    }
}
