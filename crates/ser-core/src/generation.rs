//! What generators and policies exchange with the rest.

use serde::{Deserialize, Serialize};

/// How answers are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// At most this many new tokens.
    pub max_new_tokens: usize,
    /// No end token before so many new tokens; 0 means no such limit.
    pub min_new_tokens: usize,
    /// Softmax temperature; 0 means greedy.
    pub temperature: f64,
    /// Only the k most probable tokens; 0 means all.
    pub top_k: usize,
    /// Only the most probable tokens whose mass reaches this share.
    pub top_p: f64,
    /// Divides the logits of tokens seen before (CTRL); 1 means none.
    pub repetition_penalty: f64,
    /// Answers for each prompt.
    pub samples_per_prompt: usize,
    /// Texts that end an answer; they are not part of it.
    pub stop: Vec<String>,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Sampling {
            max_new_tokens: 256,
            min_new_tokens: 0,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            repetition_penalty: 1.0,
            samples_per_prompt: 1,
            stop: Vec::new(),
            seed: 0,
        }
    }
}

/// One sampled answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The text, without the end token or stop text.
    pub text: String,
    /// Its tokens, the end token included where one was sampled.
    pub tokens: Vec<u32>,
    /// Whether it ended by itself (end token or stop text) rather than at the length limit.
    pub finished: bool,
}

/// A sampled answer with what PPO needs of it; arrays have one entry per response token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    /// Which of the prompts handed in.
    pub prompt: usize,
    /// The prompt's tokens.
    pub prompt_tokens: Vec<u32>,
    /// The answer.
    pub response: Response,
    /// So many of its first tokens could not be end tokens ([`Sampling::min_new_tokens`]). There, policy and reference are
    /// the distributions without end tokens, which is what was sampled from.
    pub min_new_tokens: usize,
    /// log pi_old(token) under the policy that sampled.
    pub log_probs: Vec<f64>,
    /// log pi_ref(token) under the reference.
    pub reference_log_probs: Vec<f64>,
    /// KL(policy || reference) of each token's whole next-token distribution in nats, where it was asked for.
    pub full_kl: Option<Vec<f64>>,
    /// V(state) before each token.
    pub values: Vec<f64>,
}

/// The policy as it is now, on a rollout's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvaluation {
    /// log pi(token), `[T]`.
    pub log_probs: Vec<f64>,
    /// V(state), `[T]`.
    pub values: Vec<f64>,
    /// Entropy of the next-token distribution in nats, `[T]`.
    pub entropies: Vec<f64>,
}

/// The derivative of an objective to be minimised by each entry of a [`TokenEvaluation`].
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveGradient {
    /// By log pi(token), `[T]`.
    pub log_probs: Vec<f64>,
    /// By V(state), `[T]`.
    pub values: Vec<f64>,
    /// By the entropy, `[T]`.
    pub entropies: Vec<f64>,
}
