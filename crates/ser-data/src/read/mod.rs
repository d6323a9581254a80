//! Files to labelled pairs, or to prompts alone.

mod files;
mod layouts;
mod non_finite;
mod open;
#[cfg(feature = "parquet")]
mod parquet_rows;
mod preference_file;
mod prompts;
mod row_problem;
mod rows;
mod settings;

pub use files::data_files;
#[cfg(feature = "hub")]
pub(crate) use files::{all_shards, is_data_file, one_split};
pub use layouts::html_to_text;
pub use preference_file::PreferenceFile;
pub use prompts::read_prompts;
pub use row_problem::RowProblem;
pub use settings::{Layout, OnBadRow, PairOrigin, Place, ReadSettings, ReadSummary, SkippedRow};
