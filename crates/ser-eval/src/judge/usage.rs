//! What asking has cost.

use serde::{Deserialize, Serialize};

use super::Prices;

/// Requests and tokens of a judge since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Answers that the endpoint gave.
    pub answers: u64,
    /// Answers taken from the cache.
    pub from_cache: u64,
    /// Tries beyond a request's first.
    pub retries: u64,
    /// Requests without an answer after all tries.
    pub unanswered: u64,
    /// Answers, cached ones included, in which no verdict could be read.
    pub unreadable: u64,
    /// Answers, cached ones included, that ended at the token limit.
    #[serde(default)]
    pub cut_off: u64,
    /// Tokens sent, as the endpoint counts them, in requests it answered now.
    pub prompt_tokens: u64,
    /// Tokens answered now.
    pub completion_tokens: u64,
    /// Tokens sent in requests whose answers came from the cache.
    pub cached_prompt_tokens: u64,
    /// Tokens answered in answers that came from the cache.
    pub cached_completion_tokens: u64,
}

impl Usage {
    /// What the tokens of now cost: the cached ones were paid for before.
    pub fn cost(&self, prices: Prices) -> f64 {
        let per_token = |price: f64| price / 1e6;
        self.prompt_tokens as f64 * per_token(prices.prompt_per_million)
            + self.completion_tokens as f64 * per_token(prices.completion_per_million)
    }
}
