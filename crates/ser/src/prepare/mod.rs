//! From preferences to the parts of a run: read, split, blind (step 0 of the method).

mod pairs_read;
mod ser_data;
mod split;

pub use pairs_read::PairsRead;
pub use ser_data::SerData;
pub use split::{PreparedData, count_rows, prepare, prepare_files};
