//! The scored pool, as a status rule sees it.

use std::sync::Arc;

use crate::{BoxError, Pair, PairProbabilities, PairScores, PairStore};

/// A scored pool: the probabilities of every pair, and where the caller has them the raw scores and the pairs.
///
/// A rule by topic or length reads the pairs ([`pair`](PoolView::pair)); a rule by committee has the scores of the
/// other models by [`PairId`](crate::PairId).
#[derive(Clone, Copy)]
pub struct PoolView<'a> {
    probabilities: &'a [PairProbabilities],
    scores: Option<&'a [PairScores]>,
    pairs: Option<&'a dyn PairStore>,
}

impl<'a> PoolView<'a> {
    /// A pool with probabilities alone.
    pub fn new(probabilities: &'a [PairProbabilities]) -> Self {
        PoolView { probabilities, scores: None, pairs: None }
    }

    /// Adds the raw scores, in the order of the probabilities.
    #[must_use]
    pub fn with_scores(self, scores: &'a [PairScores]) -> Self {
        PoolView { scores: Some(scores), ..self }
    }

    /// Adds the pairs, in the order of the probabilities.
    #[must_use]
    pub fn with_pairs(self, pairs: &'a dyn PairStore) -> Self {
        PoolView { pairs: Some(pairs), ..self }
    }

    /// The number of pairs.
    pub fn len(&self) -> usize {
        self.probabilities.len()
    }

    /// Whether the pool has no pairs.
    pub fn is_empty(&self) -> bool {
        self.probabilities.is_empty()
    }

    /// The anchored probabilities of both answers, one entry per pair.
    pub fn probabilities(&self) -> &'a [PairProbabilities] {
        self.probabilities
    }

    /// The raw scores of both answers, one entry per pair; `None` where the caller has none.
    pub fn scores(&self) -> Option<&'a [PairScores]> {
        self.scores
    }

    /// The pairs; `None` where the caller has none.
    pub fn pairs(&self) -> Option<&'a dyn PairStore> {
        self.pairs
    }

    /// The pair at a position.
    ///
    /// # Errors
    /// [`NoPairs`] where the caller gave no pairs; the store's own failures to read.
    pub fn pair(&self, position: usize) -> Result<Arc<Pair>, BoxError> {
        let pairs = self.pairs.ok_or(NoPairs)?;
        pairs.read(&[position])?.pop().ok_or_else(|| NoPairs.into())
    }
}

impl<'a> From<&'a [PairProbabilities]> for PoolView<'a> {
    fn from(probabilities: &'a [PairProbabilities]) -> Self {
        PoolView::new(probabilities)
    }
}

impl<'a, const N: usize> From<&'a [PairProbabilities; N]> for PoolView<'a> {
    fn from(probabilities: &'a [PairProbabilities; N]) -> Self {
        PoolView::new(probabilities)
    }
}

impl<'a> From<&'a Vec<PairProbabilities>> for PoolView<'a> {
    fn from(probabilities: &'a Vec<PairProbabilities>) -> Self {
        PoolView::new(probabilities)
    }
}

/// A rule asked for the pairs of a pool that is given by its probabilities alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rule reads the pairs, but the pool has scores alone: call PoolView::with_pairs")]
pub struct NoPairs;
