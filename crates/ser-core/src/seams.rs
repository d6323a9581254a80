//! The seams: every trait by which the crates meet.
//!
//! A run of the method reads pairs from a [`PairSource`], fits a [`Learner`] on the labelled ones with a
//! [`PairLoss`], lets the same model score the rest as a [`Scorer`], asks a [`StatusRule`] which scores to trust,
//! fits again, and tells an [`Observer`] how it goes. Then a [`Policy`], which is a [`Generator`], is steered by
//! that scorer, and a [`Judge`] compares its answers.
//!
//! Methods take `&mut self` and implementors are `Send`, not `Sync`: a tensor is not. Closures implement the traits
//! of one method.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Control, Event, LearningStatus, Message, ObjectiveGradient, Pair, PairProbabilities, PairScores, Preference,
    Response, Rollout, Sampling, Side, TokenEvaluation,
};

/// An error of an implementation that this workspace knows nothing of.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Pairs from anywhere, in a fixed order.
pub trait PairSource: Send {
    /// Why pairs could not be read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The next labelled pairs, at most `max`; an empty vector at the end.
    fn next_preferences(&mut self, max: usize) -> Result<Vec<Preference>, Self::Error>;
}

/// What an implementation says of a pair before a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Screening {
    /// It can be scored and trained on.
    Fit,
    /// It is over the length limit.
    TooLong,
    /// Its two texts are the same to the model (after truncation, say).
    Identical,
    /// One of its answers is empty to the model.
    Empty,
}

/// A reward model: scores both answers of pairs.
///
/// It takes pairs, not texts, so that an implementation can compute a shared prompt once.
pub trait Scorer: Send {
    /// Why pairs could not be scored.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The raw scores of each pair's answers, in the order of `pairs`.
    ///
    /// The same pair gets the same scores whatever stands beside it, as far as the arithmetic allows.
    fn score(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<PairScores>, Self::Error>;

    /// Which pairs it can work on. A run asks once and leaves the others out, counted.
    fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, Self::Error> {
        Ok(vec![Screening::Fit; pairs.len()])
    }

    /// [`score`](Scorer::score), with progress. An implementation that is slow reports as it goes, and stops when told.
    fn score_observed(
        &mut self,
        pairs: &[Arc<Pair>],
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<Vec<PairScores>, Self::Error> {
        let _ = (stage, observer);
        self.score(pairs)
    }
}

/// What came of a fit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitSummary {
    /// Optimizer steps taken.
    pub steps: u64,
    /// Mean loss over the last epoch.
    pub loss: f64,
    /// Share of the last epoch's pairs whose preferred answer scored strictly higher, as they were trained on.
    pub accuracy: f64,
}

/// A reward model that learns.
///
/// The loop's contract: `fit` continues from the current weights; `snapshot` writes them, and whatever else makes
/// the model what it is, into a folder that exists and is empty; `restore` brings exactly that state back. The
/// same weights, preferences, loss and seed give the same result.
pub trait Learner: Scorer {
    /// Trains on labelled pairs, telling `observer` how it goes under the name `stage`. If the observer says stop,
    /// it returns an error soon, and the weights may be anything.
    fn fit(
        &mut self,
        preferences: &[Preference],
        loss: &dyn PairLoss,
        seed: u64,
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<FitSummary, <Self as Scorer>::Error>;

    /// Writes the model's state into an empty folder.
    fn snapshot(&mut self, folder: &Path) -> Result<(), <Self as Scorer>::Error>;

    /// Brings back a state written by [`snapshot`](Learner::snapshot).
    fn restore(&mut self, folder: &Path) -> Result<(), <Self as Scorer>::Error>;
}

/// What a pairwise loss knows of one pair besides its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairTarget {
    /// Weight, at least 0.
    pub weight: f64,
    /// The margin the data asks for, in raw score units.
    pub margin: Option<f64>,
    /// Probability that the preferred answer is the better one; 1 for a hard label.
    pub probability: f64,
}

impl From<&Preference> for PairTarget {
    fn from(p: &Preference) -> Self {
        PairTarget { weight: p.weight, margin: p.margin, probability: p.probability }
    }
}

/// The value of a loss over a batch and its derivative by every score.
#[derive(Clone, Debug, PartialEq)]
pub struct LossOutput {
    /// The batch's loss.
    pub value: f64,
    /// d value / d [r_preferred, r_other], per pair.
    pub gradient: Vec<[f64; 2]>,
}

/// A loss over the raw scores of a batch of pairs.
pub trait PairLoss: Send + Sync {
    /// Value and gradient for `scores` ([r_preferred, r_other] per pair) and as many `targets`.
    fn evaluate(&self, scores: &[[f64; 2]], targets: &[PairTarget]) -> Result<LossOutput, BoxError>;
}

/// Says which self-labelled pairs to trust (Eq. 3).
pub trait StatusRule: Send + Sync {
    /// Why nothing can be said (thresholds that contradict each other, say).
    type Error: std::error::Error + Send + Sync + 'static;

    /// One status per pair, in order. NaN and infinite scores get [`LearningStatus::Stop`].
    fn classify(&self, pairs: &[PairProbabilities]) -> Result<Vec<LearningStatus>, Self::Error>;
}

/// Answers prompts.
pub trait Generator: Send {
    /// Why no answer came.
    type Error: std::error::Error + Send + Sync + 'static;

    /// `sampling.samples_per_prompt` answers for each prompt, in the order of `prompts`.
    fn generate(&mut self, prompts: &[Vec<Message>], sampling: &Sampling) -> Result<Vec<Vec<Response>>, Self::Error>;
}

/// A generator that PPO can steer.
pub trait Policy: Generator {
    /// Samples one answer per prompt, with log-probabilities of policy and reference and values.
    fn rollout(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
    ) -> Result<Vec<Rollout>, <Self as Generator>::Error>;

    /// One optimizer step on `batch`: evaluates the policy on each rollout, asks `objective` (rollout's place in
    /// `batch`, evaluation) for the gradient, and descends the mean.
    #[allow(clippy::type_complexity)]
    fn update(
        &mut self,
        batch: &[&Rollout],
        objective: &mut dyn FnMut(usize, &TokenEvaluation) -> Result<ObjectiveGradient, BoxError>,
    ) -> Result<(), <Self as Generator>::Error>;
}

/// A comparison's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// One answer is better.
    Prefers(Side),
    /// Neither is.
    Tie,
    /// The judge contradicts itself: asked in both orders, it prefers one answer in the first and not the same in the
    /// second. Counts as a tie.
    Contradiction,
    /// No verdict: the judge gave no answer, or none that can be read. Counted apart, neither win, tie nor loss.
    Failure,
}

impl Verdict {
    /// The verdict on the same pair with A and B changed about.
    pub fn swapped(self) -> Self {
        match self {
            Verdict::Prefers(side) => Verdict::Prefers(side.other()),
            same => same,
        }
    }
}

/// Compares the two answers of pairs.
pub trait Judge: Send {
    /// Why no verdict came.
    type Error: std::error::Error + Send + Sync + 'static;

    /// One verdict per pair, in order. A pair that cannot be judged is a [`Verdict::Failure`]; an error means that the
    /// judge as a whole does not work.
    fn judge(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Verdict>, Self::Error>;

    /// [`judge`](Judge::judge), with progress. An implementation that is slow reports as it goes, and stops when told.
    fn judge_observed(
        &mut self,
        pairs: &[Arc<Pair>],
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Verdict>, Self::Error> {
        let _ = (stage, observer);
        self.judge(pairs)
    }
}

/// Hears how long work goes, and may stop it.
pub trait Observer: Send {
    /// Called often: it should return at once.
    fn observe(&mut self, event: &Event<'_>) -> Control;
}

impl<F, E> Scorer for F
where
    F: FnMut(&[Arc<Pair>]) -> Result<Vec<PairScores>, E> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    type Error = E;

    fn score(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<PairScores>, E> {
        self(pairs)
    }
}

impl<F, E> StatusRule for F
where
    F: Fn(&[PairProbabilities]) -> Result<Vec<LearningStatus>, E> + Send + Sync,
    E: std::error::Error + Send + Sync + 'static,
{
    type Error = E;

    fn classify(&self, pairs: &[PairProbabilities]) -> Result<Vec<LearningStatus>, E> {
        self(pairs)
    }
}

impl<F> PairLoss for F
where
    F: Fn(&[[f64; 2]], &[PairTarget]) -> Result<LossOutput, BoxError> + Send + Sync,
{
    fn evaluate(&self, scores: &[[f64; 2]], targets: &[PairTarget]) -> Result<LossOutput, BoxError> {
        self(scores, targets)
    }
}

impl<F, E> Judge for F
where
    F: FnMut(&[Arc<Pair>]) -> Result<Vec<Verdict>, E> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    type Error = E;

    fn judge(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Verdict>, E> {
        self(pairs)
    }
}

impl<F> Observer for F
where
    F: FnMut(&Event<'_>) -> Control + Send,
{
    fn observe(&mut self, event: &Event<'_>) -> Control {
        self(event)
    }
}
