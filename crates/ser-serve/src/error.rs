//! Why a service cannot start or run.

use ser_status::StatusError;

/// Why a service cannot start or run. Errors of requests are answered to the client and are not among these.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// A setting that contradicts its meaning or another one.
    #[error("{field} is {value}; {expected}")]
    Setting {
        /// The field of [`ServeSettings`](crate::ServeSettings).
        field: &'static str,
        /// Its value.
        value: String,
        /// The values that it can have.
        expected: String,
    },
    /// Thresholds that contradict each other.
    #[error("thresholds")]
    Thresholds(#[source] StatusError),
    /// The operating system refused a thread or a socket.
    #[error("cannot {action}")]
    Io {
        /// The action.
        action: &'static str,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
}

impl ServeError {
    pub(crate) fn io(action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| ServeError::Io { action, source }
    }
}
