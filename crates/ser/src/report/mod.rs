//! Reports of runs: `report.json` and `report.html`.

mod label_noise;
mod policy;
mod reward;
mod self_evolution;
mod write;

pub use policy::write_policy_report;
pub use reward::{TrainedReward, score_held_out, write_reward_report};
pub(crate) use self_evolution::{Findings, report};
pub use write::{redraw_report, write_report};
