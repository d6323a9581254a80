//! The error of implementations.

/// An error of an implementation that this workspace does not know.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
