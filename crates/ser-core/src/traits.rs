//! Every trait by which the crates meet.
//!
//! A run reads pairs from a [`PairSource`], fits a [`Learner`] on the labelled ones with a [`PairLoss`], scores the
//! unlabelled ones with the same model as a [`Scorer`], selects by a [`StatusRule`] which of these pairs to train on,
//! fits again, and reports to an [`Observer`]. Then a [`Policy`], which is a [`Generator`], is trained by PPO on a
//! [`Reward`] such as that scorer, and a [`Judge`] compares its answers.
//!
//! Methods take `&mut self`; implementations are `Send` and need not be `Sync`, as tensors are not. The other inputs of a
//! call are in its [`Context`]: the seed, progress, and the request to stop. References and boxes of
//! implementations implement the traits too; closures do by way of [`scorer_fn`](crate::scorer_fn) and its siblings.
//! An implementation's error is any type that converts into [`BoxError`]: an enum, `BoxError` itself, `anyhow::Error`.

use std::path::Path;
use std::sync::Arc;

use ndarray::{Array2, ArrayView2};
use serde::{Deserialize, Serialize};

use crate::{
    Context, FitSummary, LearningStatus, Message, ObjectiveGradient, Pair, PairScores, PoolView, Preference, Response,
    Rollout, Sampling, Saving, Side, StepOutcome, Stopped, TokenEvaluation,
};

pub use crate::error::BoxError;
pub use crate::observe::Observer;
pub use crate::store::{PairStore, PreferenceStore};

/// A source of labelled pairs in a fixed order, such as a database or a service.
#[doc = include_str!("traits/pair_source.md")]
pub trait PairSource: Send {
    /// Why pairs could not be read.
    type Error: Into<BoxError> + Send + 'static;

    /// The next labelled pairs, at most `max`; an empty vector at the end.
    fn next_preferences(&mut self, max: usize) -> Result<Vec<Preference>, Self::Error>;
}

/// Whether a model can work on a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Screening {
    /// The model can score it and train on it.
    #[serde(alias = "fit")]
    Usable,
    /// It is over the length limit.
    TooLong,
    /// Its two texts are the same to the model, for example after truncation.
    Identical,
    /// One of its answers is empty to the model.
    Empty,
}

/// A reward model: scores both answers of pairs.
///
/// It takes pairs, not texts, so that an implementation can compute a shared prompt once.
#[doc = include_str!("traits/scorer.md")]
pub trait Scorer: Send {
    /// Why pairs could not be scored.
    type Error: Into<BoxError> + Send + 'static;

    /// The raw scores of both answers of each pair, in the order of `pairs`. Progress is in pairs.
    ///
    /// The same pair gets the same scores whichever pairs it is scored with, as far as the arithmetic allows.
    fn score(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<PairScores>, Self::Error>;

    /// Which pairs the model can work on, in the order of `pairs`. A run asks once about each pair, some thousands at a time,
    /// and leaves the others out and counts them. By default all are usable.
    fn screen(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Screening>, Self::Error> {
        let _ = cx;
        Ok(vec![Screening::Usable; pairs.len()])
    }

    /// [`score`](Scorer::score) for sampled answers; also returns the number of texts that were cut.
    ///
    /// A text longer than the model can read is cut at its end and not refused: an answer of a policy may fill the
    /// model's positions, and the end token of the template is then one too many. The default cuts nothing.
    fn score_truncated(
        &mut self,
        pairs: &[Arc<Pair>],
        cx: &mut Context<'_>,
    ) -> Result<(Vec<PairScores>, usize), Self::Error> {
        Ok((self.score(pairs, cx)?, 0))
    }
}

/// A reward model that is trained.
///
/// Contract with the loop: `fit` continues from the current weights; `snapshot` writes the weights, and all else that
/// makes up the model, into a folder that exists and is empty; `restore` loads exactly that state. The same weights,
/// preferences, loss and seed give the same result.
///
/// A learner whose trainings are long also implements [`training`](Learner::training): the loop then writes checkpoints
/// within a training and resumes it from the newest one.
#[doc = include_str!("traits/learner.md")]
pub trait Learner: Scorer {
    /// Trains on labelled pairs with the seed of the context. Progress and metrics are per optimizer step.
    ///
    /// If a stop is requested, it returns an error soon, and the weights may be in any state.
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        loss: &dyn PairLoss,
        cx: &mut Context<'_>,
    ) -> Result<FitSummary, Self::Error>;

    /// The training that [`fit`](Learner::fit) runs, as a [`Training`] that can be stopped and resumed between any two
    /// steps; `None`, the default, if this learner does not support that.
    ///
    /// It starts from the current weights and changes them in place. Run to its end it must leave the weights that `fit`
    /// leaves. When it is resumed, the learner has the same weights as at its first start.
    fn training<'a>(
        &'a mut self,
        data: &'a dyn PreferenceStore,
        loss: &'a dyn PairLoss,
        seed: u64,
    ) -> Result<Option<BoxedTraining<'a, Self::Error>>, Self::Error> {
        let _ = (data, loss, seed);
        Ok(None)
    }

    /// Writes the model's state into an empty folder.
    fn snapshot(&mut self, folder: &Path) -> Result<(), Self::Error>;

    /// Loads a state written by [`snapshot`](Learner::snapshot).
    fn restore(&mut self, folder: &Path) -> Result<(), Self::Error>;
}

/// The inputs of a pairwise loss for one pair, besides its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairTarget {
    /// Weight, at least 0: the gradient of a pair of weight 0.5 counts half in its optimizer step (see [`PairLoss`]).
    pub weight: f64,
    /// The margin that the data asks for, in units of raw scores.
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
    /// d value / d score, of shape `[pairs, 2]`: the preferred answer in column 0, the other one in column 1.
    pub gradient: Array2<f64>,
}

/// A loss over the raw scores of a batch of pairs.
///
/// The loss of a batch is the mean of the losses of its pairs weighted by the targets' weights,
/// `sum(w_i * l_i) / sum(w_i)`, and 0 with a gradient of 0 if all weights are 0. A common factor of the weights has no
/// effect, so a trainer multiplies value and gradient by `sum(w_i) / n`, where n is the number of pairs of its optimizer
/// step, and adds up the batches of the step. The result is `sum(w_i * l_i) / n` over all pairs of the step, however they
/// are cut into batches: with batches of one pair, too, a pair of weight 0.5 moves the weights half as far.
#[doc = include_str!("traits/pair_loss.md")]
pub trait PairLoss: Send + Sync {
    /// Value and gradient for `scores` of shape `[pairs, 2]` (the preferred answer in column 0, the other one in
    /// column 1) and as many `targets`.
    fn evaluate(&self, scores: ArrayView2<'_, f64>, targets: &[PairTarget]) -> Result<LossOutput, BoxError>;
}

/// Gives each pair of a scored pool its learning status (Eq. 3).
#[doc = include_str!("traits/status_rule.md")]
pub trait StatusRule: Send + Sync {
    /// Why no status can be given, for example thresholds that contradict each other.
    type Error: Into<BoxError> + Send + 'static;

    /// One status per pair, in the pool's order. NaN and infinite scores get [`LearningStatus::Stop`].
    fn classify(&self, pool: &PoolView<'_>) -> Result<Vec<LearningStatus>, Self::Error>;
}

/// Answers prompts.
#[doc = include_str!("traits/generator.md")]
pub trait Generator: Send {
    /// Why prompts could not be answered.
    type Error: Into<BoxError> + Send + 'static;

    /// `sampling.samples_per_prompt` answers for each prompt, in the order of `prompts`. Progress is in answers; the seed
    /// is that of `sampling`.
    fn generate(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Vec<Response>>, Self::Error>;
}

/// Rewards answers, each with one number.
///
/// A reward model is a reward by way of its scores (`ser::ScorerReward`); a closure by way of
/// [`reward_fn`](crate::reward_fn). It reads texts, so it may use another tokenizer than the policy, or none.
#[doc = include_str!("traits/reward.md")]
pub trait Reward: Send {
    /// Why answers could not be rewarded.
    type Error: Into<BoxError> + Send + 'static;

    /// One finite number per prompt and answer, in order. Progress is in answers.
    fn reward(&mut self, answers: &[(&[Message], &str)], cx: &mut Context<'_>) -> Result<Vec<f64>, Self::Error>;
}

/// The objective of a mini-batch: takes the policy's present evaluation of each of its rollouts, and returns the
/// derivative of the loss by each, in the same order.
pub type Objective<'a> = dyn FnMut(&[TokenEvaluation]) -> Result<Vec<ObjectiveGradient>, BoxError> + 'a;

/// A generator that PPO can train.
///
/// Contract with the trainer: a step is one [`rollout`](Policy::rollout), then optimizer steps of one or more
/// [`accumulate`](Policy::accumulate) and one [`step`](Policy::step) each. `snapshot` writes weights, value head,
/// optimizer state and all else that later draws depend on into a folder that exists and is empty; `restore` loads
/// exactly that state. Accumulated gradients are not included. The same state and the same calls give the same result.
///
/// `ser_core::testing::TablePolicy` is a small implementation in plain Rust.
#[doc = include_str!("traits/policy.md")]
pub trait Policy: Generator {
    /// Samples one answer per prompt, with log-probabilities of policy and reference and values, and with the KL
    /// divergence of the whole distributions if `full_kl`. Progress is in answers.
    fn rollout(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        full_kl: bool,
        cx: &mut Context<'_>,
    ) -> Result<Vec<Rollout>, Self::Error>;

    /// Evaluates the policy on a mini-batch, calls `objective` once for the gradient by all of the evaluations, and
    /// adds `weight` times the gradient by the weights to the accumulated gradients.
    fn accumulate(
        &mut self,
        mini_batch: &[&Rollout],
        weight: f64,
        objective: &mut Objective<'_>,
    ) -> Result<(), Self::Error>;

    /// Takes one optimizer step along the accumulated gradients and clears them. Returns their norm; infinity if they
    /// overflowed half precision and the step was skipped.
    fn step(&mut self, learning_rate: f64) -> Result<f64, Self::Error>;

    /// The ids of the tokens that end an answer; may be empty.
    fn end_tokens(&self) -> Vec<u32>;

    /// Writes the policy's state into an empty folder.
    fn snapshot(&mut self, folder: &Path) -> Result<(), Self::Error>;

    /// Loads a state written by [`snapshot`](Policy::snapshot).
    fn restore(&mut self, folder: &Path) -> Result<(), Self::Error>;
}

/// A training of a reward model, of SFT, DPO or PPO that can be stopped and resumed between any two steps.
///
/// Contract: steps are counted from 0; `snapshot` writes everything the later steps depend on into a folder that exists
/// and is empty; `restore` loads exactly that state, into a training that was made with the same settings and data. The
/// same state gives the same next step, to the last bit where the arithmetic allows.
#[doc = include_str!("traits/training.md")]
pub trait Training: Send {
    /// Why a step failed, or a state could not be written or read.
    type Error: Into<BoxError> + Send + 'static;

    /// The number of steps done.
    fn done(&self) -> u64;

    /// The number of steps in all.
    fn total(&self) -> u64;

    /// Takes the next step.
    fn step(&mut self) -> Result<StepOutcome, Self::Error>;

    /// When checkpoints are written, and how many are kept.
    fn saving(&self) -> Saving {
        Saving::default()
    }

    /// Takes all steps that are left, without checkpoints, and reports each.
    ///
    /// # Errors
    /// The training's own errors; [`Stopped`] if a stop was requested before the end.
    fn run(&mut self, cx: &mut Context<'_>) -> Result<(), Self::Error>
    where
        Self::Error: From<Stopped>,
    {
        let total = self.total();
        cx.resume(self.done(), Some(total), "steps")?;
        while self.done() < total {
            let outcome = self.step()?;
            cx.step(self.done(), &outcome)?;
        }
        Ok(())
    }

    /// Writes the training's state into an empty folder.
    fn snapshot(&mut self, folder: &Path) -> Result<(), Self::Error>;

    /// Loads a state written by [`snapshot`](Training::snapshot).
    fn restore(&mut self, folder: &Path) -> Result<(), Self::Error>;

    /// Writes the result into an empty folder: by default a snapshot.
    fn save(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.snapshot(folder)
    }

    /// Loads what [`save`](Training::save) wrote; the training is then done.
    fn load(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.restore(folder)
    }
}

/// A training on preferences, as [`Learner::training`] returns it.
pub trait PreferenceTraining: Training {
    /// The summary of the last epoch so far; once all steps are done, that of the training.
    fn summary(&self) -> FitSummary;
}

/// A boxed training on preferences.
pub type BoxedTraining<'a, E> = Box<dyn PreferenceTraining<Error = E> + 'a>;

/// The outcome of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// One answer is better.
    Prefers(Side),
    /// Neither is better.
    Tie,
    /// The judge contradicts itself: asked in both orders, it prefers one answer in the first and not the same in the
    /// second. Counts as a tie.
    Contradiction,
    /// No verdict: the judge gave no answer, or none that can be read. Counted apart from wins, ties and losses.
    Failure,
}

impl Verdict {
    /// The verdict on the same pair with A and B swapped.
    pub fn swapped(self) -> Self {
        match self {
            Verdict::Prefers(side) => Verdict::Prefers(side.other()),
            same => same,
        }
    }
}

/// Compares the two answers of pairs.
#[doc = include_str!("traits/judge.md")]
pub trait Judge: Send {
    /// Why the judge does not work.
    type Error: Into<BoxError> + Send + 'static;

    /// One verdict per pair, in order. A pair that cannot be judged is a [`Verdict::Failure`]; an error means that the
    /// judge as a whole does not work.
    fn judge(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Vec<Verdict>, Self::Error>;
}
