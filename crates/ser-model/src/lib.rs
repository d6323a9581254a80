#![doc = include_str!("../README.md")]

mod activations;
mod adapter;
mod any_reward;
mod checkpoint;
mod config;
mod device;
mod dpo;
mod error;
mod generate;
mod hidden_states;
mod language_model;
mod linear_reward;
mod network;
mod parallel;
mod policy;
mod reward;
mod seeds;
mod settings;
mod sft;
mod throughput;
mod train;
mod worker;

pub use activations::{ActivationFormat, ActivationSettings};
pub use adapter::{Merged, merge_adapter};
pub use any_reward::AnyRewardModel;
#[cfg(feature = "gguf")]
pub use checkpoint::GgufFile;
pub use checkpoint::{ResolvedText, TextRecord, TextRequest, has_chat_template, load_tokenizer};
pub use config::{LlamaShape, LoraBias, LoraSettings, NetworkConfig, RopeScaling, TargetModules};
pub use device::{Device, DeviceChoice, Precision, set_threads};
pub use dpo::{DpoTraining, DpoTrainingSettings};
pub use error::ModelError;
pub use generate::{GenerateOptions, SampledAnswer, TextPiece, check_sampling};
pub use hidden_states::{HiddenStates, HiddenStatesSettings};
pub use language_model::{BaseSettings, CausalLm, CausalLmSettings, fresh_base};
pub use linear_reward::{LinearRewardModel, LinearRewardModelSettings};
pub use parallel::Workers;
pub use policy::{PolicyModel, PolicySettings};
pub use reward::{RewardModel, RewardModelSettings, RewardTraining};
pub use ser_libtorch::ProcessGroup;
pub use sft::{CausalExample, LossTurns, SftExamples, SftSettings, SftTraining, make_base, sft_examples};
pub use throughput::{MatrixRate, Throughput, reward_training_throughput, scoring_throughput};
pub use train::{AdafactorSettings, Optim, Scheduler, Trainer, TrainingSettings};
pub use worker::work;
