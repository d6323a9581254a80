//! The state of the pool over the iterations: the pairs that can be labelled, and their labels.

use std::sync::Arc;

use ser_core::{Pair, PairProbabilities, PairScores, Preference, PseudoLabel, Side};
use ser_status::Selected;

use crate::run_folder::{SelectionLine, both};
use crate::settings::{LoopSettings, PoolReuse};

/// Selections and labels of earlier iterations; entries are in the pool's order.
pub(crate) struct PoolState<'d> {
    pairs: &'d [Arc<Pair>],
    reuse: PoolReuse,
    /// Whether an earlier iteration selected the pair.
    selected: Vec<bool>,
    /// The label of the previous iteration.
    labels: Vec<Option<Side>>,
    /// Labels that every later iteration trains on.
    kept: Vec<Preference>,
    targets: LabelTargets,
}

/// How pseudo-labels are trained on.
#[derive(Clone, Copy)]
struct LabelTargets {
    /// Pseudo-labels have no margin of their own, so they get the mean margin of the labelled pairs: both then train towards the
    /// same kind of target. Without margins there, the loss's own margin applies.
    margin: Option<f64>,
    weight: f64,
    /// The temperature of soft labels; none for hard ones.
    temperature: Option<f64>,
}

impl LabelTargets {
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
fn mean_margin(labelled: &[Preference]) -> Option<f64> {
    let margins = || labelled.iter().filter_map(|preference| preference.margin);
    let count = margins().count();
    (count > 0).then(|| margins().sum::<f64>() / count as f64)
}

/// The pairs that one iteration can label, as parallel vectors.
pub(crate) struct Candidates {
    /// Indices into the pool.
    pub(crate) indices: Vec<usize>,
    pub(crate) pairs: Vec<Arc<Pair>>,
    /// The label of the previous iteration.
    pub(crate) labels: Vec<Option<Side>>,
    /// Whether no earlier iteration selected the pair.
    pub(crate) fresh: Vec<bool>,
    targets: LabelTargets,
}

impl<'d> PoolState<'d> {
    /// A pool without labels; `seed` are the labelled pairs.
    pub(crate) fn new(pairs: &'d [Arc<Pair>], seed: &[Preference], settings: &LoopSettings) -> Self {
        let n = pairs.len();
        let targets = LabelTargets {
            margin: mean_margin(seed),
            weight: settings.pseudo_label_weight.unwrap_or(1.0),
            temperature: settings.pseudo_label_temperature,
        };
        PoolState {
            pairs,
            reuse: settings.pool_reuse,
            selected: vec![false; n],
            labels: vec![None; n],
            kept: Vec::new(),
            targets,
        }
    }

    /// The pairs that the next iteration can label.
    pub(crate) fn candidates(&self) -> Candidates {
        let mut candidates = Candidates {
            indices: Vec::new(),
            pairs: Vec::new(),
            labels: Vec::new(),
            fresh: Vec::new(),
            targets: self.targets,
        };
        let entries = self.pairs.iter().zip(&self.selected).zip(&self.labels).enumerate();
        for (index, ((pair, &selected), &label)) in entries {
            if self.reuse == PoolReuse::Whole || !selected {
                candidates.indices.push(index);
                candidates.pairs.push(Arc::clone(pair));
                candidates.labels.push(label);
                candidates.fresh.push(!selected);
            }
        }
        candidates
    }

    /// Records an iteration's labels.
    pub(crate) fn record(&mut self, candidates: &Candidates, selected: &[Selected], labels: &[Preference]) {
        self.labels.fill(None);
        for pair in selected {
            if let Some(&index) = candidates.indices.get(pair.index)
                && let (Some(selected), Some(label)) = (self.selected.get_mut(index), self.labels.get_mut(index))
            {
                *selected = true;
                *label = Some(pair.preferred);
            }
        }
        if self.reuse == PoolReuse::RestKeepingLabels {
            self.kept.extend_from_slice(labels);
        }
    }

    /// Labels of earlier loops that are trained on again.
    pub(crate) fn kept(&self) -> &[Preference] {
        &self.kept
    }
}

impl Candidates {
    /// The selected pairs as labels with their origin, and as lines of `selection.jsonl`.
    pub(crate) fn label(
        &self,
        iteration: u32,
        scores: &[PairScores],
        probabilities: &[PairProbabilities],
        selected: &[Selected],
    ) -> (Vec<Preference>, Vec<SelectionLine>) {
        let labelled = selected.iter().filter_map(|chosen| {
            let Selected { index, preferred, status, delta } = *chosen;
            let (pair, scores) = (self.pairs.get(index)?, *scores.get(index)?);
            let flipped = self.labels.get(index)?.is_some_and(|before| before != preferred);
            let line = SelectionLine {
                id: pair.id,
                iteration,
                raw: [scores.a.0, scores.b.0],
                probability: both(*probabilities.get(index)?),
                delta,
                status,
                preferred,
                flipped,
            };
            let label = PseudoLabel { iteration, scores, status, flipped };
            let label = Preference::pseudo(Arc::clone(pair), preferred, label);
            let LabelTargets { margin, weight, .. } = self.targets;
            let probability = self.targets.probability(scores, preferred);
            Some((Preference { margin, weight, probability, ..label }, line))
        });
        labelled.unzip()
    }

    /// Both answers' lengths in characters.
    pub(crate) fn lengths(&self) -> Vec<[usize; 2]> {
        self.pairs.iter().map(|pair| lengths(pair)).collect()
    }

    /// The gold labels of these pairs, out of the whole pool's.
    pub(crate) fn gold(&self, pool: &[Option<Side>]) -> Vec<Option<Side>> {
        self.indices.iter().map(|&index| pool.get(index).copied().flatten()).collect()
    }

    /// The prompt numbers of these pairs, out of the whole pool's.
    pub(crate) fn prompts(&self, pool: &[u64]) -> Vec<u64> {
        self.indices.iter().filter_map(|&index| pool.get(index).copied()).collect()
    }
}

/// Both answers' lengths in characters.
pub(crate) fn lengths(pair: &Pair) -> [usize; 2] {
    [Side::A, Side::B].map(|side| pair.response(side).chars().count())
}

#[cfg(test)]
mod tests {
    use ser_core::{LearningStatus, PairId};

    use super::*;

    fn reusing(pool_reuse: PoolReuse) -> LoopSettings {
        LoopSettings { pool_reuse, ..LoopSettings::default() }
    }

    fn pool() -> Vec<Arc<Pair>> {
        (10..14).map(|id| Arc::new(Pair::from_text(PairId(id), "q", "aa", "b"))).collect()
    }

    fn select(index: usize, preferred: Side) -> Selected {
        Selected { index, preferred, status: LearningStatus::Status1, delta: 0.5 }
    }

    /// Selects and labels candidates by their indices.
    fn select_in(
        state: &mut PoolState<'_>,
        number: u32,
        selected: &[Selected],
    ) -> (Vec<Preference>, Vec<SelectionLine>) {
        let candidates = state.candidates();
        let scores = vec![PairScores::new(1.0, -1.0); candidates.pairs.len()];
        let probabilities: Vec<_> = scores.iter().map(|s| s.sigmoid()).collect();
        let labelled = candidates.label(number, &scores, &probabilities, selected);
        state.record(&candidates, selected, &labelled.0);
        labelled
    }

    #[test]
    fn the_whole_pool_is_labelled_again_and_changed_labels_are_flips() {
        let pool = pool();
        let mut state = PoolState::new(&pool, &[], &reusing(PoolReuse::Whole));
        let (_, lines) = select_in(&mut state, 1, &[select(0, Side::A), select(3, Side::A)]);
        assert!(lines.iter().all(|line| !line.flipped));
        let candidates = state.candidates();
        assert_eq!(candidates.fresh, [false, true, true, false]);
        let (labels, lines) = select_in(&mut state, 2, &[select(0, Side::B), select(1, Side::B), select(3, Side::A)]);
        assert_eq!(lines.iter().map(|line| line.flipped).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(labels[0].preferred, Side::B);
        // A pair that was not selected again has no label to contradict.
        select_in(&mut state, 3, &[]);
        let (_, lines) = select_in(&mut state, 4, &[select(0, Side::A)]);
        assert!(!lines[0].flipped);
        assert!(state.kept().is_empty());
    }

    #[test]
    fn the_rest_shrinks_and_may_keep_its_labels() {
        let pool = pool();
        for reuse in [PoolReuse::Rest, PoolReuse::RestKeepingLabels] {
            let mut state = PoolState::new(&pool, &[], &reusing(reuse));
            select_in(&mut state, 1, &[select(1, Side::A)]);
            assert_eq!(state.candidates().indices, [0, 2, 3]);
            let (labels, _) = select_in(&mut state, 2, &[select(1, Side::B)]);
            assert_eq!(labels[0].pair.id, PairId(12), "indices are those of the candidates");
            assert_eq!(state.candidates().indices, [0, 3]);
            assert_eq!(state.kept().len(), if reuse == PoolReuse::Rest { 0 } else { 2 });
        }
    }

    #[test]
    fn labels_have_the_mean_margin_of_the_labelled_pairs() {
        let pool = pool();
        let labelled = |margin| Preference { margin, ..Preference::human(Arc::clone(&pool[0]), Side::A) };
        for (margins, expected) in
            [(vec![], None), (vec![None, None], None), (vec![Some(0.5), None, Some(2.0)], Some(1.25))]
        {
            let seed: Vec<_> = margins.into_iter().map(labelled).collect();
            let mut state = PoolState::new(&pool, &seed, &reusing(PoolReuse::RestKeepingLabels));
            let (labels, _) = select_in(&mut state, 1, &[select(1, Side::B)]);
            assert_eq!((labels[0].margin, state.kept()[0].margin), (expected, expected));
        }
    }

    #[test]
    fn labels_have_the_weight_that_is_set() {
        let pool = pool();
        for (weight, expected) in [(None, 1.0), (Some(0.5), 0.5)] {
            let settings = LoopSettings { pseudo_label_weight: weight, ..LoopSettings::default() };
            let mut state = PoolState::new(&pool, &[], &settings);
            let (labels, _) = select_in(&mut state, 1, &[select(1, Side::B)]);
            assert_eq!(labels[0].weight, expected);
        }
    }

    #[test]
    fn soft_labels_have_the_probability_of_their_scores_at_the_temperature() {
        let pool = pool();
        // Scores are 1 and -1: the answer with the higher one is better by 2.
        let soft = |side: Side, temperature| {
            let settings = LoopSettings { pseudo_label_temperature: temperature, ..LoopSettings::default() };
            let mut state = PoolState::new(&pool, &[], &settings);
            select_in(&mut state, 1, &[select(1, side)]).0[0].probability
        };
        assert_eq!(soft(Side::A, None), 1.0);
        approx::assert_abs_diff_eq!(soft(Side::A, Some(1.0)), 0.880_797_077_977_882, epsilon = 1e-12);
        approx::assert_abs_diff_eq!(soft(Side::A, Some(4.0)), 0.622_459_331_201_854, epsilon = 1e-12);
        // An anchor may prefer the answer with the lower raw score.
        approx::assert_abs_diff_eq!(soft(Side::B, Some(1.0)), 0.119_202_922_022_118, epsilon = 1e-12);
    }

    #[test]
    fn a_selection_line_has_the_origin_of_the_label() {
        let pool = pool();
        let mut state = PoolState::new(&pool, &[], &reusing(PoolReuse::Whole));
        let (_, lines) = select_in(&mut state, 1, &[select(2, Side::A)]);
        let text = serde_json::to_string(&lines[0]).unwrap();
        assert!(text.starts_with("{\"id\":12,\"round\":1,\"raw\":[1.0,-1.0],\"probability\":[0.731"), "{text}");
        assert!(text.ends_with("\"status\":\"status1\",\"preferred\":\"a\",\"flipped\":false}"), "{text}");
    }
}
