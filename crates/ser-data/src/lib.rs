#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod blind;
pub mod corpus;
mod data_names;
mod error;
#[cfg(feature = "hub")]
pub mod hub;
mod index;
#[cfg(feature = "tokenizers")]
mod jinja;
mod lengths;
mod plan;
mod preference_counts;
mod prompt_key;
mod read;
mod reservoir;
mod shuffle;
mod split;
mod text;
mod tokenized;
#[cfg(feature = "tokenizers")]
mod tokenizer;
mod write;

pub use blind::{GoldLabels, blind, blind_preference};
pub use error::{DataError, RowPosition, RowProblem};
#[cfg(feature = "index")]
pub use index::{IndexSplit, IndexSummary, IndexedPair, TokenIndex};
pub use index::{PairIndex, PairIndexSummary};
pub use lengths::LengthCounts;
pub use plan::{balance, plan_batches, plan_batches_by_length};
pub use preference_counts::PreferenceCounts;
pub use prompt_key::{PromptKey, prompt_clusters};
pub use read::{
    Layout, OnBadRow, PairOrigin, PreferenceFile, ReadSettings, ReadSummary, SkippedRow, data_files, data_size,
    html_to_text, read_prompts,
};
pub use reservoir::Reservoir;
pub use shuffle::ShuffledOrder;
pub use split::{Split, SplitPart, SplitSettings, split, split_keys};
pub use text::{TemplateDate, TemplateKind, TextSettings, authors_code_prompt, authors_code_text};
pub use tokenized::TokenizedPair;
#[cfg(feature = "tokenizers")]
pub use tokenizer::{
    IncrementalDecoder, PairTokenizer, TokenCounts, TokenizedConversation, TokenizedResponse, has_chat_template,
    train_tokenizer,
};
pub use write::PreferenceWriter;
