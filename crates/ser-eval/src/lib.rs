#![doc = include_str!("../README.md")]

mod accuracy;
mod bootstrap;
mod calibration;
mod error;
mod html;
mod report;

pub use accuracy::{Evaluation, SubsetAccuracy, accuracy_by_subset, chosen_first, correct};
pub use bootstrap::{Bootstrap, Estimate};
pub use calibration::{Binning, Calibration, ReliabilityBin};
pub use error::EvalError;
pub use report::{Baseline, BaselineKind, Count, DataCounts, DeltaBin, Report, Round, Selection, StageTime, Timing};
