//! The decoder network: one forward pass over packed batches for every model family.

mod adapters;
mod attention;
mod decoder;
mod kernels;
mod layer;
mod linear;
mod load;
mod lora;
mod packed;
mod rope;

pub(crate) use attention::{Attention, AttentionInputs, Rows};
pub(crate) use decoder::{Entry, Network, RotaryTables};
pub(crate) use kernels::TokenLogProbs;
pub(crate) use layer::Layer;
pub(crate) use linear::{ForwardMode, Linear};
pub(crate) use load::{Loaded, load};
pub(crate) use lora::{AdapterDelta, BaseLinear};
pub(crate) use packed::{BatchRows, PackedBatch, pair_rows};
