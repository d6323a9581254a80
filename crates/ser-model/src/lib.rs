#![doc = include_str!("../README.md")]

mod adafactor;
mod adapters;
mod attention;
mod base;
mod causal;
mod checkpointing;
mod config;
mod device;
mod error;
mod family;
mod generate;
#[cfg(test)]
mod golden;
mod layer;
mod layer_map;
mod lora;
mod merge;
mod network;
mod optimizer;
mod packed;
mod peft;
mod product;
mod reward;
mod rope;
mod schedule;
mod seeds;
mod sft;
mod source;
mod targets;
mod weights;
mod writer;

pub use adafactor::AdafactorSettings;
pub use base::{BaseSettings, make_base};
pub use causal::{CausalLm, CausalLmSettings};
pub use config::{LlamaShape, NetworkConfig};
pub use device::{Device, DeviceChoice, Precision, set_threads};
pub use error::ModelError;
pub use generate::{GenerateOptions, SampledAnswer, TextPiece};
pub use lora::{LoraBias, LoraSettings};
pub use merge::{Merged, merge_adapter};
pub use optimizer::{Optim, TrainingSettings};
pub use reward::{RewardModel, RewardModelSettings};
pub use rope::RopeScaling;
pub use schedule::Scheduler;
pub use sft::CausalExample;
pub use targets::TargetModules;
