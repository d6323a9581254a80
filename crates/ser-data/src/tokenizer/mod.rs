//! Texts to tokens with the tokenizer and chat template of a Hugging Face folder.

mod chat_template;
mod folder;
mod incremental;
mod pair_tokenizer;
mod python_json;
mod train;

pub use incremental::IncrementalDecoder;
pub use pair_tokenizer::{PairTokenizer, TokenizedConversation, TokenizedResponse, has_chat_template};
pub use train::train_tokenizer;
