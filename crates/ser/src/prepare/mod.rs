//! From preferences to the parts of a run: read, split, blind (step 0 of the method).

mod blinded;
mod files;
mod pairs_read;
mod ser_data;
mod split;

pub use files::{count_rows, prepare_files, prepare_indexed};
pub use pairs_read::PairsRead;
pub(crate) use ser_data::DataFingerprints;
pub use ser_data::SerData;
pub use split::{PreparedData, prepare, prepare_sets};

/// Pairs that are read at a time, where a whole set is read.
pub(crate) const CHUNK: usize = 8192;
