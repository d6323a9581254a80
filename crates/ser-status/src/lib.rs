#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod anchor;
mod audit;
mod balance;
mod binomial;
mod certify;
mod clustered;
mod error;
mod meaning;
mod pool;
mod quantiles;
mod rule;
mod schedule;
mod selection;
mod sum;
mod sweep;
mod thresholds;
mod top_share;

pub use anchor::{Anchor, FittedAnchor};
pub use audit::{Audit, AuditSettings, CheckedAudit, DeltaBin, Flips};
pub use balance::{Balance, CheckedBalance, Composition};
pub use binomial::{Interval, Proportion};
pub use certify::{Candidates, Certification, Certified, CheckedPrecisionTarget, Correction, PrecisionTarget, Trial};
pub use clustered::wilson_by_cluster;
pub use error::StatusError;
pub use pool::PoolCounts;
pub use quantiles::{PoolQuantiles, Quantiles};
pub use rule::{And, AuthorsCodeRule, LoopRule, LoopState, Or, PaperRule, Status1Rule, Status2Rule};
pub use schedule::{
    AuthorsCode, Automatic, Decision, IterationStats, Plan, Reason, Schedule, ScheduleSettings, Validation,
};
pub use selection::{Selected, select};
pub use sweep::{SweepPoint, sweep};
pub use thresholds::{CheckedThresholds, ConfidentAnswers, Thresholds};
pub use top_share::TopShare;
