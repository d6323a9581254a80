//! What long work tells its caller, and how the caller stops it.

use crate::Observer;

/// Something that happened in long work.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A stage begins.
    Started {
        /// The stage's name, as a person reads it: `train loop 1`.
        stage: &'a str,
        /// How many units of work, where known.
        total: Option<u64>,
        /// What a unit is: `pairs`, `steps`.
        unit: &'a str,
    },
    /// A stage has done this many units in all.
    Advanced {
        /// The stage's name.
        stage: &'a str,
        /// Units done since its start.
        done: u64,
    },
    /// Figures of one step, under the field's names (TRL's: `loss`, `accuracy`, `margin`, ...).
    Metrics {
        /// The stage's name.
        stage: &'a str,
        /// The step, from 1.
        step: u64,
        /// Name and value.
        values: &'a [(&'a str, f64)],
    },
    /// A stage has ended.
    Finished {
        /// The stage's name.
        stage: &'a str,
    },
    /// A sentence for the person who watches.
    Note {
        /// The sentence.
        text: &'a str,
    },
}

/// What a step of a training has to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepOutcome {
    /// Figures under the field's names (TRL's), as [`Event::Metrics`] takes them.
    pub values: Vec<(&'static str, f64)>,
    /// Sentences for the person who watches: warnings, say.
    pub notes: Vec<String>,
}

/// What an [`Observer`] answers: whether the work goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Control {
    /// Go on.
    Continue,
    /// Stop at the next place where nothing is lost.
    Stop,
}

/// An observer that hears nothing and lets everything go on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&mut self, _event: &Event<'_>) -> Control {
        Control::Continue
    }
}
