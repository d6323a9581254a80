//! Judges: who says which of two answers is the better one.

mod additive;
mod cache;
mod chat;
#[cfg(feature = "http")]
mod http;
mod pairwise;
mod prompt;
mod reply;
mod reward;
mod settings;
mod transport;
mod usage;

pub use additive::AdditiveJudge;
#[cfg(feature = "http")]
pub use http::Http;
pub use pairwise::PairwiseJudge;
pub use reward::RewardJudge;
pub use settings::{JudgeSettings, Prices};
pub use transport::{NoReply, Reply, Transport};
pub use usage::Usage;
