//! The labels that one iteration gives to pool pairs, with their lineage.

use std::sync::Arc;

use ser_core::{LearningStatus, Pair, PairScores, Preference, PreferenceSet, PseudoLabel, Side};

use crate::Error;
use crate::prepare::CHUNK;
use crate::settings::LoopSettings;

/// How pseudo-labels are trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct LabelTargets {
    /// Pseudo-labels have no margin of their own, so they get the mean margin of the labelled pairs: both then train towards the
    /// same kind of target. Without margins there, the loss's own margin applies.
    margin: Option<f64>,
    weight: f64,
    /// The temperature of soft labels; none for hard ones.
    temperature: Option<f64>,
}

impl LabelTargets {
    /// The targets of the settings; `seed` are the labelled pairs.
    pub(crate) fn new(seed: &PreferenceSet, settings: &LoopSettings) -> Result<Self, Error> {
        Ok(LabelTargets {
            margin: mean_margin(seed)?,
            weight: settings.pseudo_label_weight.unwrap_or(1.0),
            temperature: settings.pseudo_label_temperature,
        })
    }

    /// The probability that the preferred answer is the better one: `sigmoid((r_preferred - r_other) / T)`.
    fn probability(&self, scores: PairScores, preferred: Side) -> f64 {
        let Some(temperature) = self.temperature else { return 1.0 };
        let [preferred, other] = match preferred {
            Side::A => [scores.a.0, scores.b.0],
            Side::B => [scores.b.0, scores.a.0],
        };
        1.0 / (1.0 + ((other - preferred) / temperature).exp())
    }
}

/// The mean margin of the labelled pairs that have one; `None` if none has.
fn mean_margin(labelled: &PreferenceSet) -> Result<Option<f64>, Error> {
    let (mut count, mut sum) = (0u32, 0.0);
    for chunk in labelled.chunks(CHUNK) {
        for margin in chunk.map_err(Error::store)?.iter().filter_map(|preference| preference.margin) {
            count += 1;
            sum += margin;
        }
    }
    Ok((count > 0).then(|| sum / f64::from(count)))
}

/// The labels of one iteration, in the pool's order; 23 bytes of memory per label.
#[derive(Debug)]
pub(crate) struct PoolLabels {
    iteration: u32,
    targets: LabelTargets,
    /// Positions in the pool.
    positions: Vec<u32>,
    /// The raw scores that the labels were made from.
    scores: Vec<PairScores>,
    labels: Vec<Label>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub(crate) preferred: Side,
    pub(crate) status: LearningStatus,
    /// Whether it contradicts the pair's label of the iteration before.
    pub(crate) flipped: bool,
}

impl PoolLabels {
    pub(crate) fn new(iteration: u32, targets: LabelTargets) -> Self {
        PoolLabels { iteration, targets, positions: Vec::new(), scores: Vec::new(), labels: Vec::new() }
    }

    pub(crate) fn push(&mut self, position: u32, scores: PairScores, label: Label) {
        self.positions.push(position);
        self.scores.push(scores);
        self.labels.push(label);
    }

    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    /// Positions in the pool.
    pub(crate) fn positions(&self) -> &[u32] {
        &self.positions
    }

    /// Positions in the pool with the preferred side.
    pub(crate) fn preferred(&self) -> impl Iterator<Item = (u32, Side)> + '_ {
        self.positions.iter().zip(&self.labels).map(|(position, label)| (*position, label.preferred))
    }

    /// A label as a preference; `pair` is the pair at its position. `None` past the end.
    pub(crate) fn preference(&self, index: usize, pair: Arc<Pair>) -> Option<Preference> {
        let (&scores, &Label { preferred, status, flipped }) = (self.scores.get(index)?, self.labels.get(index)?);
        let label = PseudoLabel { iteration: self.iteration, scores, status, flipped };
        let LabelTargets { margin, weight, .. } = self.targets;
        let probability = self.targets.probability(scores, preferred);
        Some(Preference { margin, weight, probability, ..Preference::pseudo(pair, preferred, label) })
    }
}

#[cfg(test)]
mod tests {
    use ser_core::PairId;

    use super::*;

    fn pair() -> Arc<Pair> {
        Arc::new(Pair::from_text(PairId(0), "q", "aa", "b"))
    }

    /// The preference of a label of scores 1 and -1.
    fn labelled(seed: &[Preference], settings: &LoopSettings, preferred: Side) -> Preference {
        let targets = LabelTargets::new(&seed.into(), settings).unwrap();
        let mut labels = PoolLabels::new(3, targets);
        let label = Label { preferred, status: LearningStatus::Status1, flipped: true };
        labels.push(7, PairScores::new(1.0, -1.0), label);
        assert_eq!((labels.len(), labels.positions()), (1, &[7][..]));
        assert!(labels.preference(1, pair()).is_none());
        labels.preference(0, pair()).unwrap()
    }

    #[test]
    fn labels_have_their_lineage() {
        let preference = labelled(&[], &LoopSettings::default(), Side::B);
        let (scores, status) = (PairScores::new(1.0, -1.0), LearningStatus::Status1);
        let label = PseudoLabel { iteration: 3, scores, status, flipped: true };
        assert_eq!(preference, Preference::pseudo(pair(), Side::B, label));
    }

    #[test]
    fn labels_have_the_mean_margin_of_the_labelled_pairs() {
        let human = |margin| Preference { margin, ..Preference::human(pair(), Side::A) };
        for (margins, expected) in
            [(vec![], None), (vec![None, None], None), (vec![Some(0.5), None, Some(2.0)], Some(1.25))]
        {
            let seed: Vec<_> = margins.into_iter().map(human).collect();
            assert_eq!(labelled(&seed, &LoopSettings::default(), Side::B).margin, expected);
        }
    }

    #[test]
    fn labels_have_the_weight_that_is_set() {
        for (weight, expected) in [(None, 1.0), (Some(0.5), 0.5)] {
            let settings = LoopSettings { pseudo_label_weight: weight, ..LoopSettings::default() };
            assert_eq!(labelled(&[], &settings, Side::B).weight, expected);
        }
    }

    #[test]
    fn soft_labels_have_the_probability_of_their_scores_at_the_temperature() {
        // Scores are 1 and -1: the answer with the higher one is better by 2.
        let soft = |side: Side, temperature| {
            let settings = LoopSettings { pseudo_label_temperature: temperature, ..LoopSettings::default() };
            labelled(&[], &settings, side).probability
        };
        assert_eq!(soft(Side::A, None), 1.0);
        approx::assert_abs_diff_eq!(soft(Side::A, Some(1.0)), 0.880_797_077_977_882, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(soft(Side::A, Some(4.0)), 0.622_459_331_201_854, epsilon = 1e-12);
        // An anchor may prefer the answer with the lower raw score.
        approx::assert_abs_diff_eq!(soft(Side::B, Some(1.0)), 0.119_202_922_022_118, epsilon = 1e-12);
    }
}
