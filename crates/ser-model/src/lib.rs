#![doc = include_str!("../README.md")]

mod adapters;
mod attention;
mod base;
mod config;
mod device;
mod error;
mod family;
mod layer;
mod lora;
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

pub use base::{BaseSettings, make_base};
pub use config::{LlamaShape, NetworkConfig};
pub use device::{Device, DeviceChoice, Precision, set_threads};
pub use error::ModelError;
pub use lora::{LoraBias, LoraSettings};
pub use optimizer::TrainingSettings;
pub use reward::{RewardModel, RewardModelSettings};
pub use rope::RopeScaling;
pub use schedule::Scheduler;
pub use sft::{CausalExample, CausalModel};
pub use targets::TargetModules;
