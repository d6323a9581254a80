//! Errors of this crate.

use std::path::{Path, PathBuf};

use ser_core::{BoxError, Stopped};

/// Why a linear reward model could not be made, trained, saved or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinearError {
    /// A setting cannot be used.
    #[error("{field} is {value}; it must be {expected}")]
    Setting {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// The values that are accepted.
        expected: &'static str,
    },
    /// Features could not be computed.
    #[error("features could not be computed")]
    Features(#[source] BoxError),
    /// Features do not have the shape that their source promises.
    #[error("features have the shape {found:?}; {expected:?} was expected (pairs, answers, features of all views)")]
    Shape {
        /// The shape.
        found: Vec<usize>,
        /// The shape that was expected.
        expected: [usize; 3],
    },
    /// A feature is NaN or infinite.
    #[error("feature {feature} of pair {pair} is {value}; features must be finite")]
    NotFinite {
        /// The pair's id.
        pair: u64,
        /// The feature's index.
        feature: usize,
        /// Its value.
        value: f32,
    },
    /// There are no pairs to fit on.
    #[error("there are no pairs to fit {what} on; give at least one")]
    NoPairs {
        /// The part that is fitted.
        what: &'static str,
    },
    /// A model that is not fitted cannot score or be saved.
    #[error("the model has no representation yet; call fit_representation or fit before it scores or is saved")]
    Unfitted,
    /// The loss failed.
    #[error("the loss could not be evaluated")]
    Loss(#[source] BoxError),
    /// The loss or its gradient is not finite.
    #[error("the loss is {value} after {iterations} iterations; lower the scores' scale or raise l2")]
    Diverged {
        /// The loss.
        value: f64,
        /// L-BFGS iterations so far.
        iterations: usize,
    },
    /// Training preferences could not be read.
    #[error("training preferences could not be read")]
    Preferences(#[source] BoxError),
    /// A file could not be read or written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The contents of a file are not as expected.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The problem, and the remedy.
        problem: String,
    },
    /// The work was stopped on request.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl LinearError {
    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> LinearError + '_ {
        move |source| LinearError::File { path: path.to_owned(), source }
    }

    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> LinearError {
        LinearError::Damaged { path: path.to_owned(), problem: problem.into() }
    }
}
