#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod advantages;
mod diagnose;
mod error;
mod gae;
mod kl;
mod kl_controller;
mod masked;
mod objective;
mod plan;
mod reward;
mod scaling;
mod scheduler;
mod settings;
mod statistics;
mod surrogate;

pub use advantages::{ObjectiveStatistics, PreparedStep, ScoredRollout, Targets, token_rewards};
pub use diagnose::{DiagnosisSettings, Warning, diagnose};
pub use error::PpoError;
pub use gae::{gae, returns};
pub use kl::{KlEstimator, KlPenalty, full_kl};
pub use kl_controller::{AdaptiveKl, KlControl, KlController};
pub use masked::{MaskedRow, masked_mean, masked_var, masked_whiten};
pub use objective::{MiniBatchLoss, TargetedRollout};
pub use plan::ResponseLength;
pub use scaling::{RewardScaling, RunningMoments, ScoreNormalization};
pub use scheduler::LearningRateScheduler;
pub use settings::{Ppo, PpoSettings};
pub use statistics::StepStatistics;
pub use surrogate::{TokenLoss, clipped_surrogate, clipped_value_loss, probability_ratio};
