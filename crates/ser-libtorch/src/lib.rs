#![doc = include_str!("../README.md")]

mod adamw;
mod attention;
mod bytes;
mod cpu;
mod cuda;
mod decode;
mod error;
mod ffi;
mod gpu;
mod gradients;
mod mapped;
mod process_group;
mod product;
mod random;
mod rows;
mod spinning;
mod upload;
mod varlen;

pub use adamw::{AdamWStep, fused_adamw};
pub use attention::{Segment, packed_attention};
pub use bytes::tensor_from_bytes;
pub use cpu::{end_process, instruction_set, kernels_enabled, threads};
pub use cuda::{free_memory, load_cuda, peak_memory, reset_peak_memory, synchronize};
pub use decode::{SlotRange, decode_attention};
pub use error::Error;
pub use gpu::{compile_gpu_kernels, load_gpu_kernels};
pub use gradients::{clear_gradients, gradients_norm, scale};
pub use mapped::MappedFile;
pub use process_group::ProcessGroup;
pub use product::{LoraUpdate, linear, lora_linear};
pub use random::{Dropout, RowRange, dropout, fill_normal, fill_uniform};
pub use rows::{log_probs, rms_norm, rotate, swiglu};
pub use spinning::limit_spinning;
pub use upload::upload;
pub use varlen::{VarlenSequences, varlen_attention};
