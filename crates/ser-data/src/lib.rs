#![doc = include_str!("../README.md")]

pub mod corpus;
mod error;
mod plan;
mod text;
mod tokenized;
#[cfg(feature = "tokenizers")]
mod tokenizer;

pub use error::DataError;
pub use plan::{plan_batches, plan_batches_by_length};
pub use text::{TemplateKind, TextSettings, script_prompt, script_text};
pub use tokenized::TokenizedPair;
#[cfg(feature = "tokenizers")]
pub use tokenizer::{PairTokenizer, TokenizedResponse};
