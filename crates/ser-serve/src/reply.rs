//! Answers to requests that fail.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::queue::{Failure, Refused};
use crate::texts::Layout;

/// The seconds after which a client that found the queue full may try again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A status and one sentence.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Problem { status, message: message.into() }
    }

    /// A body that is JSON, but not what the path takes.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message)
    }

    /// A body that serde refuses: 400 if it is not JSON, 422 if it has other fields than expected.
    pub(crate) fn json(error: &serde_json::Error) -> Self {
        if error.is_data() {
            Problem::invalid(format!("the request's body has a wrong field: {error}"))
        } else {
            Problem::new(StatusCode::BAD_REQUEST, format!("the request's body is not JSON: {error}"))
        }
    }

    pub(crate) fn refused(refused: Refused) -> Self {
        let message = match refused {
            Refused::Full => "the queue is full; try again later",
            Refused::Closed => "the server stops",
        };
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub(crate) fn failure(failure: Failure, layout: &Layout) -> Self {
        match failure {
            Failure::TooLong(pair) => {
                Problem::invalid(format!("{} is longer than the model's length limit", layout.name(pair)))
            }
            Failure::Empty(pair) => Problem::invalid(format!("{} is empty to the model", layout.name(pair))),
            Failure::Unreadable(problem) => Problem::invalid(format!("the model cannot read a text: {problem}")),
            Failure::Model(problem) => {
                tracing::error!("the model failed: {problem}");
                Problem::new(StatusCode::INTERNAL_SERVER_ERROR, format!("the model failed: {problem}"))
            }
        }
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::BAD_REQUEST => "invalid_json",
            StatusCode::UNAUTHORIZED => "unauthorized",
            StatusCode::NOT_FOUND => "not_found",
            StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
            StatusCode::REQUEST_TIMEOUT => "timeout",
            StatusCode::PAYLOAD_TOO_LARGE => "too_large",
            StatusCode::SERVICE_UNAVAILABLE => "unavailable",
            status if status.is_server_error() => "model_failure",
            _ => "invalid_request",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let error = json!({"message": self.message, "type": self.kind(), "code": self.status.as_u16()});
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE => {
                response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            StatusCode::UNAUTHORIZED => {
                response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
