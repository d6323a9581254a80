//! The hidden states as views of a linear model: a view for each depth, or one for all.

use std::sync::Arc;

use ndarray::Array3;
use ser_core::{BoxError, Context, Pair, Screening};
use ser_linear::{CachedFeatures, Features};

use crate::HiddenStates;

/// Where the states come from.
pub(super) enum States {
    /// Computed each time.
    Computed(Box<HiddenStates>),
    /// Computed once and kept in a file.
    Kept(Box<CachedFeatures<HiddenStates>>),
}

/// The states, with their views joined if there is no committee.
pub(super) struct Views {
    pub(super) states: States,
    pub(super) committee: bool,
}

impl Views {
    /// The network and its tokenizer.
    pub(super) fn hidden_states(&self) -> &HiddenStates {
        match &self.states {
            States::Computed(states) => states,
            States::Kept(states) => states.inner(),
        }
    }
}

impl Features for Views {
    type Error = BoxError;

    fn view_sizes(&self) -> Vec<usize> {
        let sizes = self.hidden_states().view_sizes();
        if self.committee { sizes } else { vec![sizes.iter().sum()] }
    }

    fn identity(&self) -> String {
        self.hidden_states().identity()
    }

    fn features(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Array3<f32>, BoxError> {
        match &mut self.states {
            States::Computed(states) => Ok(states.features(pairs, cx)?),
            States::Kept(states) => states.features(pairs, cx),
        }
    }

    fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, BoxError> {
        match &mut self.states {
            States::Computed(states) => Ok(states.screen(pairs)?),
            States::Kept(states) => states.screen(pairs),
        }
    }
}
