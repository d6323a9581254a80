#![doc = include_str!("../README.md")]

mod closures;
mod clusters;
mod generation;
mod observe;
mod pair;
mod preference;
mod score;
mod seams;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
mod training;

pub use clusters::{ClusterIndex, Clusters};
pub use generation::{ObjectiveGradient, Response, Rollout, Sampling, TokenEvaluation};
pub use observe::{Control, Event, Silent, StepOutcome};
pub use pair::{Message, Pair, PairId, RawText, Role, Side};
pub use preference::{Origin, Preference, PseudoLabel};
pub use score::{PairProbabilities, PairScores, Probability, RawScore};
pub use seams::{
    BoxError, BoxedTraining, Generator, Judge, Learner, LossOutput, Objective, Observer, PairLoss, PairSource,
    PairTarget, Policy, PreferenceTraining, Reward, Scorer, Screening, StatusRule, Training, Verdict,
};
pub use status::LearningStatus;
pub use training::{FitSummary, Saving};
