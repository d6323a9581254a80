//! The files of a model folder: safetensors read and written, JSON, and the record of a training's texts.

mod fields;
mod layer_map;
mod source;
mod text_record;
mod weights;
mod writer;

pub use text_record::{ResolvedText, TextRecord, TextRequest};

pub(crate) use fields::Fields;
pub(crate) use layer_map::{LayerMap, WeightSizes};
pub(crate) use source::{AdapterSource, Checkpoint, Fresh, FreshAdapter, Initial, TensorSource, weight_prefix};
pub(crate) use weights::Weights;
pub(crate) use writer::{Bytes, plan_shards, save, save_bytes, save_index, shard_name, write_json};
