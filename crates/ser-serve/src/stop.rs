//! The request to stop.

use tokio::sync::watch;

/// Stops a running server from any thread. Clones stop the same server.
#[derive(Clone, Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// A handle that has not been used yet.
    pub fn new() -> Self {
        Stop(watch::Sender::new(false))
    }

    /// Requests the stop: no new connection is accepted, and accepted requests are answered.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }

    /// Waits for the request.
    pub(crate) async fn requested(self) {
        // The sender is `self`, so it exists while this waits.
        let _ = self.0.subscribe().wait_for(|stopped| *stopped).await;
    }
}

impl Default for Stop {
    fn default() -> Self {
        Stop::new()
    }
}
