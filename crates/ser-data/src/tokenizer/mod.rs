//! Tokenization with the tokenizer and chat template of a Hugging Face folder.

mod build;
mod chat_template;
mod class;
mod folder;
mod incremental;
mod notes;
mod pair_tokenizer;
mod responses;
mod token_counts;
mod train;
mod turns;
mod written;

pub use incremental::IncrementalDecoder;
pub use pair_tokenizer::{PairTokenizer, has_chat_template};
pub use responses::{TokenizedConversation, TokenizedResponse};
pub use token_counts::TokenCounts;
pub use train::train_tokenizer;
