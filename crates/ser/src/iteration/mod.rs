//! The iterations of self-evolution: the model labels the pool, a selection of the labels is trained on, and again
//! (steps 2 to 7 of the method).

mod baselines;
mod drift;
mod filter;
mod held_out;
mod learner_stages;
mod loop_end;
mod model_selection;
mod run;
mod selection_step;
mod types;

pub(crate) use baselines::Comparison;
pub(crate) use drift::DriftMonitor;
pub(crate) use filter::{CustomRule, status_of};
pub(crate) use held_out::{HeldOut, Scored};
pub(crate) use learner_stages::{LearnerStages, score_in_chunks};
pub(crate) use loop_end::LoopEnd;
pub(crate) use model_selection::{Chosen, choose};
pub(crate) use types::{Iteration, Iterations, LoopInputs, Selection};
