//! The connection to an endpoint.

/// Sends requests to a chat-completions endpoint. Several threads use it at once.
///
/// This crate provides `Http` (feature `http`).
pub trait Transport: Send + Sync {
    /// Posts a JSON body and waits for the reply. It does not retry; the judge does.
    ///
    /// # Errors
    /// [`NoReply`] if no complete reply came.
    fn post(&self, body: &str) -> Result<Reply, NoReply>;

    /// Removes secrets from a text of the endpoint, which may repeat the API key.
    fn redact(&self, text: String) -> String {
        text
    }
}

/// A reply, successful or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Seconds that the endpoint asks to wait (`Retry-After`).
    pub retry_after: Option<f64>,
    /// The body as text.
    pub body: String,
}

/// No reply: a timeout, or a connection that was refused or broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NoReply {
    /// The cause.
    pub reason: String,
}
