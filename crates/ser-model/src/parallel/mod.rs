//! A model's work shared among processes. Rank 0 runs the program; the other ranks compute for it.
//!
//! Rank 0 alone reads the data, takes the optimizer's steps, decides and writes. It sends the others messages, each followed by the
//! operations that it announces: a model to load, weights, pairs to score, or a part of a training step. So all processes
//! take the same decisions, and a run can be resumed with another number of processes.

mod message;
mod weights;
mod workers;

pub(crate) use message::{
    Message, ModelKind, ModelToLoad, PairShape, RolloutRequest, ScoreRequest, StepRequest, TextRequest, TrainedPart,
    Work, gather_bytes, pairs_of, receive, tokens_of,
};
pub(crate) use weights::{broadcast_into, sum_gradients};
pub use workers::Workers;
pub(crate) use workers::{SharedModel, compare_base, compare_versions};
