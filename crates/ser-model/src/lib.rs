#![doc = include_str!("../README.md")]

mod adafactor;
mod adapters;
mod attention;
mod base;
mod checkpointing;
mod config;
mod device;
mod error;
mod family;
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
pub use config::{LlamaShape, NetworkConfig};
pub use device::{Device, DeviceChoice, Precision, set_threads};
pub use error::ModelError;
pub use lora::{LoraBias, LoraSettings};
pub use merge::{Merged, merge_adapter};
pub use optimizer::{Optim, TrainingSettings};
pub use reward::{RewardModel, RewardModelSettings};
pub use rope::RopeScaling;
pub use schedule::Scheduler;
pub use sft::{CausalExample, CausalModel};
pub use targets::TargetModules;
