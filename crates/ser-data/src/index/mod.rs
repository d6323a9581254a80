//! A dataset on disk, as pairs or as tokens: built once, then accessed at random without loading.

mod folder;
mod pairs;
mod source;
#[cfg(feature = "index")]
mod tokens;

pub use pairs::{PairIndex, PairIndexSummary};
#[cfg(feature = "index")]
pub use tokens::{IndexSplit, IndexSummary, IndexedPair, TokenIndex};
