#![doc = include_str!("../README.md")]

mod accuracy;
mod bootstrap;
mod calibration;
mod error;
mod html;
mod length_control;
mod report;
mod win_rate;

pub use accuracy::{Evaluation, SubsetAccuracy, accuracy_by_subset, chosen_first, correct};
pub use bootstrap::{Bootstrap, Estimate};
pub use calibration::{Binning, Calibration, ReliabilityBin};
pub use error::EvalError;
pub use length_control::length_controlled;
pub use report::{
    Baseline, BaselineKind, Comparison, Count, Curve, DataCounts, DeltaBin, PolicyReport, PolicyStage, PolicyTraining,
    Report, Round, Sample, SampleAnswer, Selection, StageTime, Timing,
};
pub use win_rate::VerdictCounts;
