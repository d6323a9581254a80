//! The request to stop: an observer returns [`Control::Stop`](crate::Control::Stop), and the methods of
//! [`Context`](crate::Context) then return [`Stopped`].

/// The work was stopped because an observer asked for it.
///
/// It converts into [`BoxError`](crate::BoxError), [`std::io::Error`] and `anyhow::Error`; an error type of your own
/// needs `#[from] Stopped` so that `cx.advance(n)?` compiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stopped on request")]
pub struct Stopped;

impl From<Stopped> for std::io::Error {
    fn from(stopped: Stopped) -> Self {
        std::io::Error::other(stopped)
    }
}
