#![doc = include_str!("../README.md")]

mod adapter;
mod adapters;
mod attention;
mod base;
mod config;
mod device;
mod error;
mod layer;
mod lora;
mod network;
mod optimizer;
mod packed;
mod reward;
mod rope;
mod schedule;
mod seeds;
mod sft;
mod source;
mod weights;

pub use base::{BaseSettings, make_base};
pub use config::{LlamaShape, NetworkConfig};
pub use device::{Device, DeviceChoice, Precision, set_threads};
pub use error::ModelError;
pub use lora::LoraSettings;
pub use optimizer::TrainingSettings;
pub use reward::{RewardModel, RewardModelSettings};
pub use rope::RopeScaling;
pub use schedule::Scheduler;
pub use sft::{CausalExample, CausalModel};
