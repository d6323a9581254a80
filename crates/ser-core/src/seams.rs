//! The seams: every trait by which the crates meet.
//!
//! A run of the method reads pairs from a [`PairSource`], fits a [`Learner`] on the labelled ones with a
//! [`PairLoss`], lets the same model score the rest as a [`Scorer`], asks a [`StatusRule`] which scores to trust,
//! fits again, and tells an [`Observer`] how it goes. Then a [`Policy`], which is a [`Generator`], is steered by
//! that scorer, or by any other [`Reward`], and a [`Judge`] compares its answers.
//!
//! Methods take `&mut self` and implementors are `Send`, not `Sync`: a tensor is not. Closures implement the traits
//! of one method.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    Control, Event, FitSummary, LearningStatus, Message, ObjectiveGradient, Pair, PairProbabilities, PairScores,
    Preference, Response, Rollout, Sampling, Saving, Side, StepOutcome, TokenEvaluation,
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

    /// [`score`](Scorer::score) for sampled answers, with the number of texts that were cut.
    ///
    /// A text longer than the model can read is cut at its end instead of being refused: an answer of a policy may fill
    /// the model's positions, and the end token of the template is then one too many. The default cuts nothing.
    fn score_truncated(&mut self, pairs: &[Arc<Pair>]) -> Result<(Vec<PairScores>, usize), Self::Error> {
        Ok((self.score(pairs)?, 0))
    }
}

/// A reward model that learns.
///
/// The loop's contract: `fit` continues from the current weights; `snapshot` writes them, and whatever else makes
/// the model what it is, into a folder that exists and is empty; `restore` brings exactly that state back. The
/// same weights, preferences, loss and seed give the same result.
///
/// A learner whose trainings are long also implements [`training`](Learner::training): the loop then writes checkpoints
/// within a training and resumes it from the newest one.
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

    /// The training that [`fit`](Learner::fit) runs, as a [`Training`] that can be stopped and resumed between any two
    /// steps; `None` if this learner cannot do that, as by default.
    ///
    /// It starts from the current weights and changes them in place; run to its end it must leave the weights that `fit`
    /// leaves. When it is resumed, the learner holds the same weights as when it was first made.
    fn training<'a>(
        &'a mut self,
        preferences: &'a [Preference],
        loss: &'a dyn PairLoss,
        seed: u64,
    ) -> Result<Option<BoxedTraining<'a, <Self as Scorer>::Error>>, <Self as Scorer>::Error> {
        let _ = (preferences, loss, seed);
        Ok(None)
    }

    /// Writes the model's state into an empty folder.
    fn snapshot(&mut self, folder: &Path) -> Result<(), <Self as Scorer>::Error>;

    /// Brings back a state written by [`snapshot`](Learner::snapshot).
    fn restore(&mut self, folder: &Path) -> Result<(), <Self as Scorer>::Error>;
}

/// What a pairwise loss knows of one pair besides its scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairTarget {
    /// Weight, at least 0: the gradient of a pair of weight 0.5 counts half in its optimizer step (see [`PairLoss`]).
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
///
/// The loss of a batch is the mean of the losses of its pairs weighted by the targets' weights,
/// `sum(w_i * l_i) / sum(w_i)`, and 0 with a gradient of 0 if all weights are 0. It says nothing of the weights' common
/// factor, so a trainer multiplies value and gradient by `sum(w_i) / n`, where n is the number of pairs of its optimizer
/// step, and adds up the batches of the step. The result is `sum(w_i * l_i) / n` over all pairs of the step, however they
/// are cut into batches: with batches of one pair, too, a pair of weight 0.5 moves the weights half as far.
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

    /// [`generate`](Generator::generate), with progress in answers. An implementation that is slow reports as it goes, and
    /// stops when told.
    fn generate_observed(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        stage: &str,
        observer: &mut dyn Observer,
    ) -> Result<Vec<Vec<Response>>, Self::Error> {
        let _ = (stage, observer);
        self.generate(prompts, sampling)
    }
}

/// Says what answers are worth.
///
/// A reward model is one by way of its scores; a closure from prompt and answer to a number is one as it stands. It
/// sees texts, so it may use another tokenizer than the policy, or none.
pub trait Reward: Send {
    /// Why answers could not be rewarded.
    type Error: std::error::Error + Send + Sync + 'static;

    /// One finite number per prompt and answer, in order.
    fn reward(&mut self, answers: &[(&[Message], &str)]) -> Result<Vec<f64>, Self::Error>;
}

/// A mini-batch's objective: from the policy as it is now on each of its rollouts to the derivative of the loss, one
/// for one and in order.
pub type Objective<'a> = dyn FnMut(&[TokenEvaluation]) -> Result<Vec<ObjectiveGradient>, BoxError> + 'a;

/// A generator that PPO can steer.
///
/// The trainer's contract: a step is one [`rollout`](Policy::rollout), then optimizer steps of one or more
/// [`accumulate`](Policy::accumulate) and one [`step`](Policy::step) each. `snapshot` writes weights, value head,
/// optimizer state and whatever later draws depend on into a folder that exists and is empty; `restore` brings exactly
/// that state back. Gradients that wait for their step are no part of it. The same state and the same calls give the
/// same result.
pub trait Policy: Generator {
    /// Samples one answer per prompt, with log-probabilities of policy and reference and values, and with the KL
    /// divergence of whole distributions if `full_kl`.
    fn rollout(
        &mut self,
        prompts: &[Vec<Message>],
        sampling: &Sampling,
        full_kl: bool,
    ) -> Result<Vec<Rollout>, <Self as Generator>::Error>;

    /// Evaluates the policy on a mini-batch, asks `objective` once for the gradient by all of the evaluations, and
    /// adds `weight` times the gradient by the weights to those that wait.
    fn accumulate(
        &mut self,
        mini_batch: &[&Rollout],
        weight: f64,
        objective: &mut Objective<'_>,
    ) -> Result<(), <Self as Generator>::Error>;

    /// One optimizer step along the accumulated gradients, which it clears. Returns their norm; infinity if they overflowed
    /// half precision and the step was left out.
    fn step(&mut self, learning_rate: f64) -> Result<f64, <Self as Generator>::Error>;

    /// The ids that end an answer; may be empty.
    fn end_tokens(&self) -> Vec<u32>;

    /// Writes the policy's state into an empty folder.
    fn snapshot(&mut self, folder: &Path) -> Result<(), <Self as Generator>::Error>;

    /// Brings back a state written by [`snapshot`](Policy::snapshot).
    fn restore(&mut self, folder: &Path) -> Result<(), <Self as Generator>::Error>;
}

/// A training that goes step by step and can stop and be resumed between any two steps: reward model, SFT, DPO, PPO.
///
/// Its contract: steps are counted from 0; `snapshot` writes everything the later steps depend on into a folder that
/// exists and is empty, and `restore` brings exactly that state back, into a training that was made with the same
/// settings and data. The same state gives the same next step, to the last bit where the arithmetic allows.
pub trait Training: Send {
    /// Why a step failed, or a state could not be written or read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// How many steps are done.
    fn done(&self) -> u64;

    /// How many there are in all.
    fn total(&self) -> u64;

    /// Takes the next step.
    fn step(&mut self) -> Result<StepOutcome, Self::Error>;

    /// When checkpoints are written, and how many are kept.
    fn saving(&self) -> Saving {
        Saving::default()
    }

    /// [`step`](Training::step), reported to an observer under the name of the stage.
    fn step_observed(&mut self, stage: &str, observer: &mut dyn Observer) -> Result<Control, Self::Error> {
        let outcome = self.step()?;
        let step = self.done();
        let mut stop = false;
        for text in &outcome.notes {
            stop |= observer.observe(&Event::Note { text }) == Control::Stop;
        }
        stop |= observer.observe(&Event::Metrics { stage, step, values: &outcome.values }) == Control::Stop;
        stop |= observer.observe(&Event::Advanced { stage, done: step }) == Control::Stop;
        Ok(if stop { Control::Stop } else { Control::Continue })
    }

    /// Takes all steps that are left, without checkpoints. [`Control::Stop`] if the observer stopped it before the end.
    fn run(&mut self, stage: &str, observer: &mut dyn Observer) -> Result<Control, Self::Error> {
        let total = self.total();
        if observer.observe(&Event::Started { stage, total: Some(total), unit: "steps" }) == Control::Stop {
            return Ok(Control::Stop);
        }
        while self.done() < total {
            if self.step_observed(stage, observer)? == Control::Stop {
                return Ok(Control::Stop);
            }
        }
        let _ = observer.observe(&Event::Finished { stage });
        Ok(Control::Continue)
    }

    /// Writes the training's state into an empty folder.
    fn snapshot(&mut self, folder: &Path) -> Result<(), Self::Error>;

    /// Brings back a state written by [`snapshot`](Training::snapshot).
    fn restore(&mut self, folder: &Path) -> Result<(), Self::Error>;

    /// Writes what came of it into an empty folder: the same as a snapshot, unless less will do.
    fn save(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.snapshot(folder)
    }

    /// Brings back what [`save`](Training::save) wrote; the training is then done.
    fn load(&mut self, folder: &Path) -> Result<(), Self::Error> {
        self.restore(folder)
    }
}

/// A training on preferences, as [`Learner::training`] returns it.
pub trait PreferenceTraining: Training {
    /// The summary of the last epoch so far; once all steps are done, that of the training.
    fn summary(&self) -> FitSummary;
}

/// A training on preferences, of whatever type.
pub type BoxedTraining<'a, E> = Box<dyn PreferenceTraining<Error = E> + 'a>;

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
