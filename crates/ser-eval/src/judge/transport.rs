//! The way to an endpoint and back.

/// Carries a request to a chat-completions endpoint. Several threads use it at once.
///
/// The crate's own is `Http` (feature `http`).
pub trait Transport: Send + Sync {
    /// Posts a JSON body and waits for the reply. No retries: those are the judge's.
    ///
    /// # Errors
    /// [`NoReply`] where no whole reply came.
    fn post(&self, body: &str) -> Result<Reply, NoReply>;

    /// A text from the endpoint without what must never be kept: an endpoint may repeat the API key.
    fn redact(&self, text: String) -> String {
        text
    }
}

/// A reply, good or bad.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// Seconds that the endpoint asks to wait (`Retry-After`).
    pub retry_after: Option<f64>,
    /// The body as text.
    pub body: String,
}

/// No reply: a timeout, a connection refused or broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NoReply {
    /// What happened.
    pub reason: String,
}
