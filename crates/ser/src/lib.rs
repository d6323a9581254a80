#![doc = include_str!("../../../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(doctest, feature = "config", feature = "libtorch"))]
#[doc = include_str!("../../../docs/library.md")]
mod library_page {}

#[cfg(feature = "config")]
pub mod config;
mod crash;
mod error;
mod evaluate;
mod iteration;
mod label;
#[cfg(all(feature = "libtorch", feature = "config"))]
mod language_models;
mod observe;
mod policy;
mod pool;
mod prepare;
#[cfg(feature = "config")]
mod procedure;
mod report;
mod run_folder;
mod seeds;
mod self_evolution;
mod settings;
mod training;

pub use error::{Error, LabelError};
pub use evaluate::{TestPairs, TestResult};
pub use label::label_rows;
#[cfg(all(feature = "libtorch", feature = "config"))]
pub use language_models::{
    BenchReport, BenchSettings, ConfiguredReward, LanguageModels, Work, WorkResult, adapter_folder, bench, fetched,
    prepare_reward, prompts_that_fit, reward_of, train_dpo, trained_language_model, trained_reward, untrained_reward,
};
#[cfg(feature = "progress")]
pub use observe::Progress;
pub use observe::{MetricsLog, Observers};
pub use policy::{KeptAnswer, PolicyRunSettings, PolicyStep, PpoTraining, ScorerReward, WordReward};
pub use pool::{PoolSampling, SampledPool, sample_pool};
pub use prepare::{
    PairsRead, PreparedData, SerData, count_rows, prepare, prepare_files, prepare_indexed, prepare_sets,
};
#[cfg(feature = "config")]
pub use procedure::{Models, ModelsFn, Procedure, ProcedureData, ProcedureRun, models_fn};
pub use report::{
    TrainedReward, redraw_report, score_held_out, write_policy_report, write_report, write_reward_report,
};
pub use run_folder::RunFolder;
pub use seeds::seed_for;
pub use self_evolution::{Outcome, SelfEvolution};
pub use settings::{Baselines, DriftLimits, LoopSettings, ModelSelection, PoolReuse, WarmStart};
pub use training::{Fit, fit_in, train_in};

pub use ser_core::*;
pub use ser_data as data;
pub use ser_eval as eval;
#[cfg(feature = "linear")]
pub use ser_linear as linear;
pub use ser_loss as loss;
#[cfg(feature = "libtorch")]
pub use ser_model as model;
pub use ser_ppo as ppo;
pub use ser_status as status;
