#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod closures;
mod clusters;
mod context;
pub mod distributed;
pub mod durable;
mod error;
mod generation;
mod observe;
mod pair;
mod pool_view;
mod preference;
mod raw_score_serde;
mod retry_after;
mod score;
mod set;
mod stage;
mod status;
mod stop;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod training;
pub mod traits;
mod wrappers;

/// The version of ndarray whose arrays the traits take.
pub use ndarray;

pub use closures::{
    JudgeFn, LossFn, ObserverFn, RewardFn, RuleFn, ScorerFn, judge_fn, loss_fn, observer_fn, reward_fn, rule_fn,
    scorer_fn,
};
pub use clusters::{ClusterIndex, Clusters};
pub use context::Context;
pub use error::BoxError;
pub use generation::{ObjectiveGradient, Response, Rollout, Sampling, SamplingError, TokenEvaluation};
pub use observe::{Control, Event, EventRecord, Observer, OwnedEvent, Silent, StepOutcome, unix_time};
pub use pair::{Message, Pair, PairId, RawText, Role, Side};
pub use pool_view::{NoPairs, PoolView};
pub use preference::{Origin, Preference, PseudoLabel};
pub use retry_after::retry_after;
pub use score::{PairProbabilities, PairScores, Probability, RawScore, ScoreShapeError};
pub use set::{PairSet, PreferenceSet};
pub use stage::{Stage, StageModel};
pub use status::LearningStatus;
pub use stop::Stopped;
pub use store::{PairStore, PreferenceStore};
pub use training::{FitSummary, Saving};
pub use traits::{
    BoxedTraining, Generator, Judge, Learner, LossOutput, Objective, PairLoss, PairSource, PairTarget, Policy,
    PreferenceTraining, Reward, Scorer, Screening, StatusRule, Training, Verdict,
};
