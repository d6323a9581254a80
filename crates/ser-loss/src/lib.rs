#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod batch;
mod dpo;
mod error;
mod kernel;
mod pairwise;
mod settings;

pub use dpo::{DpoKind, DpoLoss, DpoOutput, DpoSettings};
pub use error::LossError;
pub use kernel::{Kernel, hinge, log_sigmoid_loss};
pub use pairwise::{LossKind, PairwiseLoss};
pub use settings::LossSettings;
