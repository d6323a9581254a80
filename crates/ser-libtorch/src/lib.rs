#![doc = include_str!("../README.md")]

mod adamw;
mod attention;
mod bytes;
mod cuda;
mod decode;
mod error;
mod ffi;
mod mapped;
mod random;
mod threads;

pub use adamw::{AdamWStep, fused_adamw};
pub use attention::{Segment, packed_attention};
pub use bytes::tensor_from_bytes;
pub use cuda::{free_memory, load_cuda};
pub use decode::{Run, decode_attention, few_rows_linear};
pub use error::Error;
pub use mapped::MappedFile;
pub use random::{dropout, fill_normal, fill_uniform};
pub use threads::threads;
