//! The causal language model: a decoder with its LM head and its tokenizer.

mod base;
mod causal_lm;
mod generation;
#[cfg(test)]
pub(crate) mod golden;
mod shared;
mod token_rows;
mod trained;

pub use base::{BaseSettings, fresh_base};
pub use causal_lm::{CausalLm, CausalLmSettings};

pub(crate) use token_rows::{ForwardOptions, TokenRows};
