//! Texts to tokens with the tokenizer and chat template of a Hugging Face folder.

mod chat_template;
mod class;
mod folder;
mod incremental;
mod pair_tokenizer;
mod train;

pub use incremental::IncrementalDecoder;
pub use pair_tokenizer::{PairTokenizer, TokenizedConversation, TokenizedResponse};
pub use train::train_tokenizer;
