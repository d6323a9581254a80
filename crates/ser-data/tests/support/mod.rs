//! Helpers of several tests.

use std::path::{Path, PathBuf};

use ser_core::testing::Requirement;

/// A file or folder below `shared`, the folder of data beside the workspace; `None`, after a report, if it is missing.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(name);
    if path.exists() {
        return Some(path);
    }
    Requirement::Shared.missing(format_args!("{} does not exist", path.display()));
    None
}
