//! The files of a model: a folder with safetensors, read and written, JSON and the record of a training's texts; or one
//! GGUF file.

mod fields;
#[cfg(feature = "gguf")]
mod gguf;
mod layer_map;
mod model_files;
mod source;
mod text_record;
mod weights;
mod writer;

#[cfg(feature = "gguf")]
pub use gguf::GgufFile;
pub use model_files::{has_chat_template, load_tokenizer};
pub use text_record::{ResolvedText, TextRecord, TextRequest};

pub(crate) use fields::Fields;
pub(crate) use layer_map::{LayerMap, WeightSizes};
pub(crate) use model_files::ModelFiles;
pub(crate) use source::{AdapterSource, Checkpoint, Fresh, FreshAdapter, Initial, TensorSource, weight_prefix};
pub(crate) use weights::Weights;
pub(crate) use writer::{Bytes, plan_shards, save, save_bytes, save_index, shard_name, write_json};
