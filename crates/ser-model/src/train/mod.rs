//! What all trainings share: settings, the optimizer step, learning-rate schedules, loss scaling, gradient checkpointing
//! and the state that a checkpoint holds.
//!
//! [`Stepper`] is the one optimizer step of this crate: the reward model, SFT and DPO take it through [`Trainer`], which
//! adds epochs, metrics and progress; the policy, whose epochs are PPO's, takes it directly.

mod adafactor;
mod checkpointing;
mod loss_scale;
mod optimizer;
mod schedule;
mod settings;
mod state;
mod stepper;
mod trainer;

pub use adafactor::AdafactorSettings;
pub use schedule::Scheduler;
pub use settings::{Optim, TrainingSettings};

pub(crate) use checkpointing::CheckpointedForward;
pub(crate) use optimizer::Parameter;
pub(crate) use state::{read_state, write_state};
pub(crate) use stepper::Stepper;
pub(crate) use trainer::{EpochOrder, Metrics, Progress, Trainer};
