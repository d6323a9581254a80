//! Rank 0's connection to the processes that compute for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ser_libtorch::ProcessGroup;

use super::message::{Message, ModelToLoad, Work, send};
use super::weights::fingerprint;
use crate::ModelError;
use crate::network::Network;

/// The processes that compute for this one, which has rank 0. They run [`work`](crate::work) until the last clone of this is
/// dropped.
///
/// A model shares its work with them after [`RewardModel::share_with`](crate::RewardModel::share_with). If one of them ends,
/// the next operation is an error, after which none of the processes can go on: end this one, and resume its run.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    size: usize,
    /// The number of the next model.
    next: AtomicU64,
    connection: Arc<Mutex<Connection>>,
    /// Tells the others that this process is alive while it has nothing for them to compute.
    heartbeat: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Connection {
    group: ProcessGroup,
    /// Whether the others wait for a message, and not for an operation of an exchange that failed.
    ready: bool,
}

impl Workers {
    /// The other processes of a group of more than one.
    ///
    /// # Errors
    /// A process that is not rank 0, or is alone; other versions of this library; a process that ended.
    pub fn new(group: ProcessGroup) -> Result<Self, ModelError> {
        let (rank, size) = (group.rank(), group.size());
        if rank != 0 || size < 2 {
            return Err(ModelError::Workers(format!("rank {rank} of {size} has no other ranks to compute for it")));
        }
        compare_versions(&group)?;
        // Several messages within the time after which the others give up.
        let interval = (group.timeout() / 4).max(Duration::from_millis(100));
        let connection = Arc::new(Mutex::new(Connection { group, ready: true }));
        let (stop, stopped) = channel();
        let shared = Arc::clone(&connection);
        let thread = std::thread::Builder::new().name("ser-heartbeat".into()).spawn(move || {
            while stopped.recv_timeout(interval) == Err(RecvTimeoutError::Timeout) {
                let mut connection = shared.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(error) = send(&connection.group, &Message::Wait) {
                    // The next exchange reports it, too.
                    connection.ready = false;
                    tracing::warn!(%error, "the other ranks cannot be reached");
                    return;
                }
            }
        });
        let thread = thread.map_err(|error| ModelError::Workers(format!("a thread cannot be started: {error}")))?;
        Ok(Workers(Arc::new(Shared { size, next: AtomicU64::new(0), connection, heartbeat: Some((stop, thread)) })))
    }

    /// The number of processes, this one included.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// Sends a message and runs the operations that belong to it. No other message comes between them. The inner result is that
    /// of the work, such as a request to stop; after an outer error the processes no longer agree on what comes next.
    fn exchange<T>(
        &self,
        message: &Message<&Work>,
        operations: impl FnOnce(&ProcessGroup) -> Result<Result<T, ModelError>, ModelError>,
    ) -> Result<T, ModelError> {
        let mut connection = self.0.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.ready {
            return Err(ModelError::Workers(
                "the other ranks cannot be reached any more; start all of them again, with --resume to continue a run"
                    .into(),
            ));
        }
        connection.ready = false;
        send(&connection.group, message)?;
        let result = operations(&connection.group)?;
        connection.ready = true;
        result
    }
}

/// A model that the other processes have too, until this is dropped.
#[derive(Debug)]
pub(crate) struct SharedModel {
    workers: Workers,
    number: u64,
}

impl SharedModel {
    /// Lets the other processes load a model, whose base model must be that of `network`.
    pub(crate) fn new(workers: &Workers, load: ModelToLoad, network: &Network) -> Result<Self, ModelError> {
        let number = workers.0.next.fetch_add(1, Ordering::Relaxed);
        workers.exchange(&Message::Load(number, load), |group| compare_base(group, network).map(Ok))?;
        Ok(SharedModel { workers: workers.clone(), number })
    }

    /// The number of processes, this one included.
    pub(crate) fn size(&self) -> usize {
        self.workers.size()
    }

    /// Lets the other processes take part in some work of the model: sends it and runs the operations that belong to it. The inner
    /// result is that of the work, such as a request to stop; after an outer error the processes no longer agree on what comes
    /// next.
    pub(crate) fn exchange<T>(
        &self,
        work: &Work,
        operations: impl FnOnce(&ProcessGroup) -> Result<Result<T, ModelError>, ModelError>,
    ) -> Result<T, ModelError> {
        self.workers.exchange(&Message::Work(self.number, work), operations)
    }
}

impl Drop for SharedModel {
    fn drop(&mut self) {
        // Processes that cannot be reached have no model either.
        let _ = self.workers.exchange(&Message::Drop(self.number), |_| Ok(Ok(())));
    }
}

/// An error if a process has another base model.
pub(crate) fn compare_base(group: &ProcessGroup, network: &Network) -> Result<(), ModelError> {
    Ok(group.require_equal(&[("base models", fingerprint(network)?)])?)
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.heartbeat.take() {
            drop(stop);
            // It ends at once, or after the message that it is sending.
            let _ = thread.join();
        }
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if connection.ready {
            // A process that ended needs no message.
            let _ = send(&connection.group, &Message::End);
        }
    }
}

/// An error if a process runs another version of this library.
pub(crate) fn compare_versions(group: &ProcessGroup) -> Result<(), ModelError> {
    let version = env!("CARGO_PKG_VERSION").bytes().fold(0i64, |value, byte| (value << 8) | i64::from(byte));
    Ok(group.require_equal(&[("versions of this program", version)])?)
}
