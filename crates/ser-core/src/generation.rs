//! Prompts, answers and rollouts: the data that generators and policies take and return.

use ndarray::Array1;
use serde::{Deserialize, Serialize};

/// How answers are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// The largest number of new tokens.
    pub max_new_tokens: usize,
    /// The number of new tokens before which no end token is sampled; 0 for no limit.
    pub min_new_tokens: usize,
    /// Softmax temperature; 0 means greedy.
    pub temperature: f64,
    /// Sample among the k most probable tokens; 0 for all.
    pub top_k: usize,
    /// Sample among the most probable tokens whose probabilities add up to this share.
    pub top_p: f64,
    /// The logits of tokens that occurred before are divided by this (CTRL); 1 for no penalty.
    pub repetition_penalty: f64,
    /// The number of answers per prompt.
    pub samples_per_prompt: usize,
    /// Texts that end an answer, and are not part of it.
    pub stop: Vec<String>,
    /// The seed of the draws.
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

/// A sampling setting that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}; {expected}")]
pub struct SamplingError {
    /// The field.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// The values that can be used.
    pub expected: &'static str,
}

impl Sampling {
    /// Checks the settings, as every generation does first.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), SamplingError> {
        let Sampling { max_new_tokens, min_new_tokens, temperature, top_p, repetition_penalty, .. } = *self;
        let bad = |field, value: String, expected| Err(SamplingError { field, value, expected });
        if max_new_tokens == 0 {
            return bad("max_new_tokens", "0".into(), "it must be at least 1");
        }
        if min_new_tokens > max_new_tokens {
            return bad("min_new_tokens", min_new_tokens.to_string(), "it must be at most max_new_tokens");
        }
        if !(temperature.is_finite() && temperature >= 0.0) {
            return bad("temperature", temperature.to_string(), "it must be 0 (greedy) or a finite number over 0");
        }
        if !(top_p > 0.0 && top_p <= 1.0) {
            return bad("top_p", top_p.to_string(), "it must be over 0 and at most 1");
        }
        if !(repetition_penalty.is_finite() && repetition_penalty > 0.0) {
            return bad("repetition_penalty", repetition_penalty.to_string(), "it must be a finite number over 0");
        }
        if self.samples_per_prompt == 0 {
            return bad("samples_per_prompt", "0".into(), "it must be at least 1");
        }
        if self.stop.iter().any(String::is_empty) {
            return bad("stop", "\"\"".into(), "an empty text would end every answer at once");
        }
        Ok(())
    }
}

/// One sampled answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// Its text, without the end token or stop text.
    pub text: String,
    /// Its tokens, with the end token where one was sampled.
    pub tokens: Vec<u32>,
    /// Whether it ended with an end token or stop text, and not at the length limit.
    pub finished: bool,
}

/// A sampled answer with the numbers that PPO needs; arrays have shape `[T]`, one entry per token of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rollout {
    /// The index of its prompt among those handed in.
    pub prompt: usize,
    /// The prompt's tokens.
    pub prompt_tokens: Vec<u32>,
    /// The answer.
    pub response: Response,
    /// The number of its first tokens that could not be end tokens ([`Sampling::min_new_tokens`]). For these, policy and
    /// reference are the distributions without end tokens, from which the tokens were sampled.
    pub min_new_tokens: usize,
    /// log pi_old(token) under the policy that sampled, in nats.
    pub log_probs: Array1<f64>,
    /// log pi_ref(token) under the reference, in nats.
    pub reference_log_probs: Array1<f64>,
    /// KL(policy || reference) of the whole next-token distribution of each token in nats, where it was asked for.
    pub full_kl: Option<Array1<f64>>,
    /// V(state) before each token.
    pub values: Array1<f64>,
}

/// The present policy on a rollout's tokens; arrays have shape `[T]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenEvaluation {
    /// log pi(token), in nats.
    pub log_probs: Array1<f64>,
    /// V(state).
    pub values: Array1<f64>,
    /// Entropy of the next-token distribution, in nats.
    pub entropies: Array1<f64>,
}

/// The derivative of an objective that is minimised by each entry of a [`TokenEvaluation`]; arrays have shape `[T]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectiveGradient {
    /// By log pi(token).
    pub log_probs: Array1<f64>,
    /// By V(state).
    pub values: Array1<f64>,
    /// By the entropy.
    pub entropies: Array1<f64>,
}

impl ObjectiveGradient {
    /// A gradient of zeros for this many tokens.
    pub fn zeros(tokens: usize) -> Self {
        let zeros = Array1::zeros(tokens);
        ObjectiveGradient { log_probs: zeros.clone(), values: zeros.clone(), entropies: zeros }
    }
}
