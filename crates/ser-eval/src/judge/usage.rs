//! Requests, tokens and cost.

use serde::{Deserialize, Serialize};

use super::Prices;

/// Requests and tokens of a judge since its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Answers from the endpoint.
    pub answers: u64,
    /// Answers from the cache.
    pub from_cache: u64,
    /// Retries.
    pub retries: u64,
    /// Requests without an answer after all retries.
    pub unanswered: u64,
    /// Answers, including cached ones, in which no verdict could be read.
    pub unreadable: u64,
    /// Answers, including cached ones, that ended at the token limit.
    #[serde(default)]
    pub cut_off: u64,
    /// Prompt tokens of answers from the endpoint, as it counts them.
    pub prompt_tokens: u64,
    /// Completion tokens of answers from the endpoint.
    pub completion_tokens: u64,
    /// Prompt tokens of answers from the cache.
    pub cached_prompt_tokens: u64,
    /// Completion tokens of answers from the cache.
    pub cached_completion_tokens: u64,
}

impl Usage {
    /// The cost of the tokens from the endpoint; cached answers cost nothing.
    pub fn cost(&self, prices: Prices) -> f64 {
        let per_token = |price: f64| price / 1e6;
        self.prompt_tokens as f64 * per_token(prices.prompt_per_million)
            + self.completion_tokens as f64 * per_token(prices.completion_per_million)
    }
}
