//! Training: settings, the optimizer step, learning-rate schedules, loss scaling, gradient checkpointing, checkpoints.
//!
//! [`Stepper`] is the one optimizer step of this crate. Reward model, SFT and DPO are [`Objective`]s of one [`Trainer`],
//! which takes it for them; the policy, whose epochs are PPO's, takes it directly.

mod adafactor;
mod checkpointing;
mod loss_scale;
mod objective;
mod optimizer;
mod pair_loss;
mod schedule;
mod settings;
mod state;
mod stepper;
mod trainer;

pub use adafactor::AdafactorSettings;
pub use schedule::Scheduler;
pub use settings::{Optim, TrainingSettings};
pub use trainer::Trainer;

pub(crate) use checkpointing::CheckpointedForward;
pub(crate) use objective::{Metrics, Objective, StepInputs, StepPosition, StepSums};
pub(crate) use optimizer::Parameter;
pub(crate) use pair_loss::{ScoredPair, backward_scores, pair_loss_gradient};
pub(crate) use stepper::Stepper;
pub(crate) use trainer::Draws;
