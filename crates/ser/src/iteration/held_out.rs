//! Held-out labelled pairs, and a model's scores of them.

use std::sync::Arc;

use ndarray::aview2;
use ser_core::{Clusters, Learner, PairId, PairScores, PairSet, PreferenceSet, Side, Stage};
use ser_data::prompt_clusters;
use ser_eval::{chosen_first, correct};

use super::learner_stages::LearnerStages;
use crate::Error;
use crate::prepare::CHUNK;

/// Labelled pairs that no training sees: pairs and labels apart.
pub(crate) struct HeldOut {
    pairs: PairSet,
    ids: Vec<PairId>,
    gold: Vec<Side>,
    /// One number per pair, equal for pairs with the same prompt.
    prompts: Arc<[u64]>,
}

/// A model's scores of held-out pairs.
#[derive(Clone, Debug)]
pub(crate) struct Scored {
    /// Raw scores with the preferred side.
    pub(crate) scores: Vec<(PairScores, Side)>,
    /// Raw scores, the preferred answer's first.
    pub(crate) chosen_first: Vec<[f64; 2]>,
    /// Whether the preferred answer scores strictly higher.
    pub(crate) correct: Vec<bool>,
    prompts: Arc<[u64]>,
}

impl HeldOut {
    /// Which of the pairs share a prompt.
    pub(crate) fn clusters(&self) -> Clusters<'_> {
        Clusters::Ids(&self.prompts)
    }

    /// The number of different prompts.
    pub(crate) fn prompts(&self) -> usize {
        self.clusters().index(0..self.pairs.len()).count
    }

    /// The number of pairs.
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn new(preferences: &PreferenceSet) -> Result<Self, Error> {
        let (mut ids, mut gold, mut prompts) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in preferences.chunks(CHUNK) {
            let chunk = chunk.map_err(Error::store)?;
            ids.extend(chunk.iter().map(|preference| preference.pair.id));
            gold.extend(chunk.iter().map(|preference| preference.preferred));
            prompts.extend(prompt_clusters(chunk.iter().map(|preference| preference.pair.as_ref())));
        }
        Ok(HeldOut { pairs: preferences.pairs(), ids, gold, prompts: prompts.into() })
    }

    /// The pairs, in the order of their scores.
    pub(crate) fn pairs(&self) -> &PairSet {
        &self.pairs
    }

    /// Scores them with the weights of `model`; the scores become the stage `file`.
    pub(crate) fn score<L: Learner + ?Sized>(
        &self,
        stages: &mut LearnerStages<'_, '_, L>,
        stage: &Stage,
        file: &str,
        model: &str,
    ) -> Result<Scored, Error> {
        // Skip the stage if there are no pairs.
        let scores = match self.pairs.is_empty() {
            true => Vec::new(),
            false => stages.score(stage, file, model, &self.pairs, &self.ids)?,
        };
        let scores: Vec<_> = scores.into_iter().zip(self.gold.iter().copied()).collect();
        let chosen_first: Vec<_> = scores.iter().map(|&(scores, gold)| chosen_first(scores, gold)).collect();
        Ok(Scored {
            correct: correct(aview2(&chosen_first)).map_err(Error::stage(&stage.to_string()))?,
            scores,
            chosen_first,
            prompts: Arc::clone(&self.prompts),
        })
    }
}

impl Scored {
    /// Which of the pairs share a prompt.
    pub(crate) fn clusters(&self) -> Clusters<'_> {
        Clusters::Ids(&self.prompts)
    }

    /// The number of pairs that are right.
    pub(crate) fn right(&self) -> usize {
        self.correct.iter().filter(|right| **right).count()
    }

    /// The share of pairs that are right; `None` without pairs.
    pub(crate) fn accuracy(&self) -> Option<f64> {
        (!self.correct.is_empty()).then(|| self.right() as f64 / self.correct.len() as f64)
    }
}
