//! All features of a source as one view.

use std::sync::Arc;

use ndarray::Array3;
use ser_core::{Context, Pair, Screening};

use crate::Features;

/// Features of another source with all views joined: a model over it has one head, over the principal components of all
/// features together.
#[derive(Clone, Debug)]
pub struct SingleView<F>(pub F);

impl<F: Features> Features for SingleView<F> {
    type Error = F::Error;

    fn view_sizes(&self) -> Vec<usize> {
        vec![self.0.view_sizes().iter().sum()]
    }

    fn identity(&self) -> String {
        self.0.identity()
    }

    fn features(&mut self, pairs: &[Arc<Pair>], cx: &mut Context<'_>) -> Result<Array3<f32>, F::Error> {
        self.0.features(pairs, cx)
    }

    fn screen(&mut self, pairs: &[Arc<Pair>]) -> Result<Vec<Screening>, F::Error> {
        self.0.screen(pairs)
    }
}
