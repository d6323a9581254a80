//! Observers: several as one, metrics in a file, progress for people.

mod metrics_log;
mod observers;
#[cfg(feature = "progress")]
mod progress;

pub use metrics_log::MetricsLog;
pub use observers::Observers;
#[cfg(feature = "progress")]
pub use progress::Progress;
