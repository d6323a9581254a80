//! The server: the scoring thread, and the sockets.

use std::future::IntoFuture;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use ser_core::{BoxError, Scorer};

use crate::scoring::{self, ChangeTo};
use crate::state::Shared;
use crate::{ServeError, ServeSettings, Stop};

/// Threads that read requests and write answers; the model's threads are its own.
const NETWORK_THREADS: usize = 2;
/// The interval at which a stopping server checks the number of active requests.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The time without an active request after which a stopping server closes connections on which no request came.
const QUIET_FOR: Duration = Duration::from_millis(500);

/// A scorer whose adapter can be changed while it is served.
pub trait ChangeAdapter: Scorer {
    /// Changes to the adapter of this name. After an error the scorer is as it was before.
    ///
    /// # Errors
    /// A name that is not that of an adapter, or an adapter that cannot be loaded; the client gets the sentence.
    fn change_adapter(&mut self, name: &str) -> Result<(), BoxError>;
}

/// A reward model as a service: owns the scorer, on a thread of its own.
///
/// Dropped, it scores what it accepted and ends the thread.
pub struct RewardServer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl RewardServer {
    /// Starts the thread that scores. No socket is opened yet.
    ///
    /// # Errors
    /// An unsound setting, or no thread.
    pub fn start<S: Scorer + 'static>(scorer: S, settings: ServeSettings) -> Result<Self, ServeError> {
        Self::start_with(scorer, None, settings)
    }

    /// As [`start`](Self::start), where requests to `/v1/adapter` change the adapter. Requests that came before such a request
    /// are scored by the adapter before it, those that come after by the new one; none is refused or waits longer for it than
    /// the adapter takes to load.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub fn start_with_adapters<S: ChangeAdapter + 'static>(
        scorer: S,
        settings: ServeSettings,
    ) -> Result<Self, ServeError> {
        Self::start_with(scorer, Some(S::change_adapter), settings)
    }

    fn start_with<S: Scorer + 'static>(
        mut scorer: S,
        change_to: Option<ChangeTo<S>>,
        settings: ServeSettings,
    ) -> Result<Self, ServeError> {
        let shared = Arc::new(Shared::new(settings.check()?, change_to.is_some()));
        let of_thread = Arc::clone(&shared);
        let score = move || {
            let settings = &of_thread.settings.settings;
            let batch = (settings.batch_pairs, settings.batch_bytes);
            scoring::run(&mut scorer, change_to, &of_thread.queue, batch, &of_thread.metrics);
        };
        let thread = std::thread::Builder::new()
            .name("ser-serve-score".to_owned())
            .spawn(score)
            .map_err(ServeError::io("start the scoring thread"))?;
        Ok(RewardServer { shared, thread: Some(thread) })
    }

    /// The paths of the service, to be served among others by a program that has a server of its own. They work for as long
    /// as this value exists.
    pub fn router(&self) -> Router {
        crate::routes::router(&self.shared)
    }

    /// Serves a socket until `stop` is used, then answers all requests that were accepted, and returns. Blocks; must not be
    /// called from within an asynchronous runtime.
    ///
    /// # Errors
    /// A socket or threads that the system refuses.
    pub fn run(self, listener: TcpListener, stop: &Stop) -> Result<(), ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(NETWORK_THREADS)
            .thread_name("ser-serve")
            .enable_all()
            .build()
            .map_err(ServeError::io("start the network threads"))?;
        let served = runtime.block_on(async {
            listener.set_nonblocking(true).map_err(ServeError::io("listen"))?;
            let listener = tokio::net::TcpListener::from_std(listener).map_err(ServeError::io("listen"))?;
            let serve = axum::serve(listener, self.router()).with_graceful_shutdown(stop.clone().requested());
            tokio::select! {
                served = serve.into_future() => served.map_err(ServeError::io("accept connections")),
                () = self.drained(stop.clone()) => Ok(()),
            }
        });
        // Connections that are still open have no request on them.
        runtime.shutdown_timeout(Duration::from_millis(100));
        served
    }

    /// Waits for the stop, and then for the end of all requests.
    async fn drained(&self, stop: Stop) {
        stop.requested().await;
        let mut quiet = Duration::ZERO;
        while quiet < QUIET_FOR {
            tokio::time::sleep(LOOK_EVERY).await;
            quiet = if self.shared.active.load(Ordering::SeqCst) == 0 { quiet + LOOK_EVERY } else { Duration::ZERO };
        }
    }
}

impl Drop for RewardServer {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(thread) = self.thread.take() {
            // The thread catches panics of the scorer.
            let _ = thread.join();
        }
    }
}
