//! Files to labelled pairs, or to prompts alone.

mod container;
mod files;
mod layout;
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
mod source;
mod summary;
mod table_rows;
mod utf16;

pub use files::data_files;
#[cfg(feature = "hub")]
pub(crate) use files::{all_shards, drop_side_tables, is_data_file, one_split};
pub use layout::Layout;
pub use layouts::html_to_text;
pub use preference_file::PreferenceFile;
pub use prompts::read_prompts;
pub use row_problem::RowProblem;
pub use settings::{OnBadRow, PairOrigin, Place, ReadSettings, ReadSummary, SkippedRow};
