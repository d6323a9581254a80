#![doc = include_str!("../../../README.md")]

mod baselines;
mod checkpoint;
#[cfg(feature = "config")]
pub mod config;
mod durable;
mod error;
mod evaluation;
mod evolution;
mod filter;
mod guards;
mod left_out;
mod lesson;
mod manifest;
mod metrics_log;
mod model_selection;
mod observers;
mod policy;
mod pool;
mod prepare;
#[cfg(feature = "progress")]
mod progress;
mod report;
mod reward_report;
mod rounds;
mod run_data;
mod run_folder;
mod sampled_pool;
mod scores_file;
mod seeds;
mod settings;
mod stages;
mod stop;
mod training;

pub use error::Error;
pub use evolution::{Outcome, SelfEvolution};
pub use left_out::PairsRead;
pub use metrics_log::MetricsLog;
pub use observers::Observers;
pub use policy::{KeptAnswer, PolicyRunSettings, PolicyStep, PpoTraining, ScorerReward, write_policy_report};
pub use prepare::{Prepared, count_rows, prepare, prepare_files};
#[cfg(feature = "progress")]
pub use progress::Progress;
pub use report::write_report;
pub use reward_report::{TrainedReward, score_held_out, write_reward_report};
pub use run_data::SerData;
pub use run_folder::RunFolder;
pub use sampled_pool::{PoolSampling, SampledPool, sample_pool};
pub use seeds::seed_for;
pub use settings::{Baselines, Carry, Guards, LoopSettings, ModelSelection, WarmStart};
pub use training::{Fit, fit_in, train_in};

pub use ser_core as core;
pub use ser_data as data;
pub use ser_eval as eval;
pub use ser_loss as loss;
#[cfg(feature = "libtorch")]
pub use ser_model as model;
pub use ser_ppo as ppo;
pub use ser_status as status;
