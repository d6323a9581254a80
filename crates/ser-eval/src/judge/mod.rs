//! Judges compare two answers.

mod additive;
mod cache;
mod chat;
mod evidence;
#[cfg(feature = "http")]
mod http;
mod pairwise;
mod prompt;
mod reply;
mod reward;
mod score;
mod settings;
mod thoughts;
mod transport;
mod usage;
mod verdict;

pub use additive::AdditiveJudge;
#[cfg(feature = "http")]
pub use http::Http;
pub use pairwise::PairwiseJudge;
pub use reward::RewardJudge;
pub use settings::{JudgeSettings, Prices, Rubric};
pub use transport::{NoReply, Reply, Transport};
pub use usage::Usage;
