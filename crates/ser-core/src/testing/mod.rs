//! For tests: mock implementations of the traits, and requirements that some machines do not meet.

mod requirement;
mod table_policy;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use crate::{
    Context, Control, Event, EventRecord, FitSummary, Learner, Observer, Pair, PairLoss, PairScores, PreferenceStore,
    Scorer, Side,
};

pub use requirement::{REQUIRE, Requirement};
pub use table_policy::TablePolicy;

type ScoreAnswer = dyn FnMut(&Pair, Side) -> f64 + Send;

/// A learner whose scores are given by a function. It records the sizes of the sets it was fitted on.
pub struct MockLearner {
    score: Box<ScoreAnswer>,
    /// The number of preferences in each call of `fit`.
    pub fits: Vec<usize>,
}

impl MockLearner {
    /// Scores every answer with `score`.
    pub fn new(score: impl FnMut(&Pair, Side) -> f64 + Send + 'static) -> Self {
        MockLearner { score: Box::new(score), fits: Vec::new() }
    }
}

impl Scorer for MockLearner {
    type Error = Infallible;

    fn score(&mut self, pairs: &[Arc<Pair>], _cx: &mut Context<'_>) -> Result<Vec<PairScores>, Infallible> {
        Ok(pairs.iter().map(|p| PairScores::new((self.score)(p, Side::A), (self.score)(p, Side::B))).collect())
    }
}

impl Learner for MockLearner {
    fn fit(
        &mut self,
        data: &dyn PreferenceStore,
        _loss: &dyn PairLoss,
        _cx: &mut Context<'_>,
    ) -> Result<FitSummary, Infallible> {
        self.fits.push(data.len());
        Ok(FitSummary { steps: 1, loss: 0.0, accuracy: 1.0 })
    }

    fn snapshot(&mut self, _folder: &Path) -> Result<(), Infallible> {
        Ok(())
    }

    fn restore(&mut self, _folder: &Path) -> Result<(), Infallible> {
        Ok(())
    }
}

/// An observer that requests a stop after this many events.
#[derive(Clone, Copy, Debug)]
pub struct StopAfter(pub usize);

impl Observer for StopAfter {
    fn observe(&mut self, _event: &Event<'_>) -> Control {
        match self.0.checked_sub(1) {
            Some(left) => {
                self.0 = left;
                Control::Continue
            }
            None => Control::Stop,
        }
    }
}

/// An observer that keeps every event.
#[derive(Clone, Debug, Default)]
pub struct Recorder {
    /// The events, in order.
    pub events: Vec<EventRecord>,
}

impl Observer for Recorder {
    fn observe(&mut self, event: &Event<'_>) -> Control {
        self.events.push(event.to_owned());
        Control::Continue
    }
}
