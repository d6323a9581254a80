//! Rollouts and evaluations for tests.

#![allow(dead_code)]

use ser_core::ndarray::Array1;
use ser_core::{Response, Rollout, TokenEvaluation};

/// A rollout of tokens 10, 11, ... that ended by itself.
pub(crate) fn rollout(log_probs: &[f64], reference: &[f64], values: &[f64]) -> Rollout {
    Rollout {
        prompt: 0,
        prompt_tokens: vec![1],
        response: Response { text: String::new(), tokens: (10..).take(log_probs.len()).collect(), finished: true },
        log_probs: Array1::from_vec(log_probs.to_vec()),
        reference_log_probs: Array1::from_vec(reference.to_vec()),
        values: Array1::from_vec(values.to_vec()),
        ..Rollout::default()
    }
}

pub(crate) fn evaluation(log_probs: &[f64], values: &[f64], entropies: &[f64]) -> TokenEvaluation {
    let [log_probs, values, entropies] = [log_probs, values, entropies].map(|row| Array1::from_vec(row.to_vec()));
    TokenEvaluation { log_probs, values, entropies }
}
