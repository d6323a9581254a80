//! Reads files of labelled pairs, or of prompts alone.

mod container;
mod describe;
mod files;
mod layout;
mod layouts;
mod non_finite;
mod open;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod preference_file;
mod prompts;
mod rows;
mod settings;
mod source;
mod summary;
mod table_rows;
mod utf16;

pub use files::{data_files, data_size};
pub use layout::Layout;
pub use layouts::html_to_text;
pub use preference_file::PreferenceFile;
pub use prompts::read_prompts;
pub use settings::{OnBadRow, PairOrigin, ReadSettings, ReadSummary, SkippedRow};
