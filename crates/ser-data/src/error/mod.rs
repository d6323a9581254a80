//! Errors of this crate, and positions in files.

mod data_error;
mod position;
mod row_problem;

use std::path::Path;

pub use data_error::DataError;
pub use position::RowPosition;
pub use row_problem::RowProblem;

impl DataError {
    /// An I/O error on a path; a missing file has its own variant.
    pub(crate) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        if action == "read" && source.kind() == std::io::ErrorKind::NotFound {
            DataError::Missing { path: path.to_path_buf() }
        } else {
            DataError::Io { action, path: path.to_path_buf(), source }
        }
    }
}
