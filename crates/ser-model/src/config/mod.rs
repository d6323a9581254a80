//! The settings of a network and its adapters: `config.json` of a Hugging Face folder, and LoRA settings.

mod family;
mod file;
mod lora;
mod network_config;
mod projections;
mod rope_scaling;
mod targets;
#[cfg(test)]
mod tests;

pub use lora::{LoraBias, LoraSettings, TargetModules};
pub use network_config::{LlamaShape, NetworkConfig};
pub use rope_scaling::RopeScaling;

pub(crate) use projections::{Projection, projections};
pub(crate) use targets::{LoraSpec, Targets};
