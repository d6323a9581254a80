//! The state of the pool over the iterations: the pairs that can be labelled, and their labels.

use std::borrow::Cow;
use std::sync::Arc;

use ser_core::{PairId, PairProbabilities, PairScores, PairSet, Side};
use ser_status::Selected;

use super::columns::PoolColumns;
use super::labels::{Label, LabelTargets, PoolLabels};
use crate::run_folder::{SelectionLine, both};
use crate::settings::PoolReuse;

/// Selections and labels of earlier iterations; entries are in the pool's order.
pub(crate) struct PoolState<'d> {
    pairs: &'d PairSet,
    columns: &'d PoolColumns,
    reuse: PoolReuse,
    /// Whether an earlier iteration selected the pair.
    selected: Vec<bool>,
    /// The label of the previous iteration.
    labels: Vec<Option<Side>>,
    /// Labels that every later iteration trains on, one entry per iteration.
    kept: Vec<Arc<PoolLabels>>,
    targets: LabelTargets,
}

/// The pairs that one iteration can label.
pub(crate) struct Candidates<'s> {
    /// Positions in the pool; `None` stands for the whole pool.
    positions: Option<Vec<u32>>,
    pub(crate) pairs: PairSet,
    /// The label of the previous iteration.
    pub(crate) labels: Cow<'s, [Option<Side>]>,
    /// Whether an earlier iteration selected the pair.
    pub(crate) selected_before: Cow<'s, [bool]>,
    columns: &'s PoolColumns,
    targets: LabelTargets,
}

impl<'d> PoolState<'d> {
    /// A pool without labels.
    pub(crate) fn new(pairs: &'d PairSet, columns: &'d PoolColumns, reuse: PoolReuse, targets: LabelTargets) -> Self {
        let n = pairs.len();
        PoolState { pairs, columns, reuse, selected: vec![false; n], labels: vec![None; n], kept: Vec::new(), targets }
    }

    /// The pairs that the next iteration can label.
    pub(crate) fn candidates(&self) -> Candidates<'_> {
        let rest = || (0..).zip(&self.selected).filter(|(_, selected)| !**selected).map(|(position, _)| position);
        let positions: Option<Vec<u32>> = (self.reuse != PoolReuse::Whole).then(|| rest().collect());
        Candidates {
            pairs: positions.as_ref().map_or_else(|| self.pairs.clone(), |positions| self.pairs.subset(positions)),
            labels: at(&self.labels, positions.as_deref()),
            selected_before: at(&self.selected, positions.as_deref()),
            columns: self.columns,
            targets: self.targets,
            positions,
        }
    }

    /// Records an iteration's labels.
    pub(crate) fn record(&mut self, labels: &Arc<PoolLabels>) {
        self.labels.fill(None);
        for (position, preferred) in labels.preferred() {
            let position = position as usize;
            if let (Some(selected), Some(label)) = (self.selected.get_mut(position), self.labels.get_mut(position)) {
                *selected = true;
                *label = Some(preferred);
            }
        }
        if self.reuse == PoolReuse::RestKeepingLabels {
            self.kept.push(Arc::clone(labels));
        }
    }

    /// Labels of earlier loops that are trained on again.
    pub(crate) fn kept(&self) -> &[Arc<PoolLabels>] {
        &self.kept
    }
}

/// The entries of a column at positions of the pool, or all of them.
fn at<'a, T: Copy>(column: &'a [T], positions: Option<&[u32]>) -> Cow<'a, [T]> {
    match positions {
        Some(positions) => positions.iter().filter_map(|position| column.get(*position as usize).copied()).collect(),
        None => Cow::Borrowed(column),
    }
}

impl<'s> Candidates<'s> {
    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The position in the pool of a candidate.
    fn position(&self, index: usize) -> Option<u32> {
        match &self.positions {
            Some(positions) => positions.get(index).copied(),
            None => u32::try_from(index).ok(),
        }
    }

    /// The candidates' entries of a column of the pool.
    pub(crate) fn column<T: Copy>(&self, column: &'s [T]) -> Cow<'s, [T]> {
        at(column, self.positions.as_deref())
    }

    pub(crate) fn ids(&self) -> Cow<'s, [PairId]> {
        self.column(&self.columns.ids)
    }

    /// The numbers of the candidates' prompts.
    pub(crate) fn prompts(&self) -> Cow<'s, [u64]> {
        self.column(&self.columns.prompts)
    }

    /// Both answers' lengths in characters.
    pub(crate) fn lengths(&self) -> Vec<[usize; 2]> {
        self.column(&self.columns.lengths).iter().map(|lengths| lengths.map(|length| length as usize)).collect()
    }

    /// The labels of the selected candidates.
    pub(crate) fn label(&self, iteration: u32, scores: &[PairScores], selected: &[Selected]) -> PoolLabels {
        let mut labels = PoolLabels::new(iteration, self.targets);
        for chosen in selected {
            let Selected { index, preferred, status, .. } = *chosen;
            if let (Some(position), Some(&scores)) = (self.position(index), scores.get(index)) {
                labels.push(position, scores, Label { preferred, status, flipped: self.is_flip(chosen) });
            }
        }
        labels
    }

    /// The selected candidates as lines of `selection.jsonl`.
    pub(crate) fn lines<'a>(
        &'a self,
        iteration: u32,
        scores: &'a [PairScores],
        probabilities: &'a [PairProbabilities],
        selected: &'a [Selected],
    ) -> impl Iterator<Item = SelectionLine> + 'a {
        selected.iter().filter_map(move |chosen| {
            let Selected { index, preferred, status, delta } = *chosen;
            let (position, scores) = (self.position(index)?, scores.get(index)?);
            Some(SelectionLine {
                id: *self.columns.ids.get(position as usize)?,
                iteration,
                raw: [scores.a.0, scores.b.0],
                probability: both(*probabilities.get(index)?),
                delta,
                status,
                preferred,
                flipped: self.is_flip(chosen),
            })
        })
    }

    /// Whether a label contradicts the pair's label of the iteration before.
    fn is_flip(&self, chosen: &Selected) -> bool {
        self.labels.get(chosen.index).copied().flatten().is_some_and(|before| before != chosen.preferred)
    }
}

#[cfg(test)]
mod tests {
    use ser_core::{LearningStatus, Pair, PreferenceSet};

    use super::*;
    use crate::settings::LoopSettings;

    fn pool() -> (PairSet, PoolColumns) {
        let pairs: PairSet = (10..14).map(|id| Arc::new(Pair::from_text(PairId(id), "q", "aa", "b"))).collect();
        let columns = PoolColumns::read(&pairs).unwrap();
        (pairs, columns)
    }

    fn state<'d>((pairs, columns): &'d (PairSet, PoolColumns), reuse: PoolReuse) -> PoolState<'d> {
        let targets = LabelTargets::new(&PreferenceSet::default(), &LoopSettings::default()).unwrap();
        PoolState::new(pairs, columns, reuse, targets)
    }

    fn select(index: usize, preferred: Side) -> Selected {
        Selected { index, preferred, status: LearningStatus::Status1, delta: 0.5 }
    }

    /// Selects and labels candidates by their indices.
    fn select_in(
        state: &mut PoolState<'_>,
        number: u32,
        selected: &[Selected],
    ) -> (Arc<PoolLabels>, Vec<SelectionLine>) {
        let candidates = state.candidates();
        let scores = vec![PairScores::new(1.0, -1.0); candidates.len()];
        let probabilities: Vec<_> = scores.iter().map(|s| s.sigmoid()).collect();
        let labels = Arc::new(candidates.label(number, &scores, selected));
        let lines = candidates.lines(number, &scores, &probabilities, selected).collect();
        state.record(&labels);
        (labels, lines)
    }

    #[test]
    fn the_whole_pool_is_labelled_again_and_changed_labels_are_flips() {
        let pool = pool();
        let mut state = state(&pool, PoolReuse::Whole);
        let (_, lines) = select_in(&mut state, 1, &[select(0, Side::A), select(3, Side::A)]);
        assert!(lines.iter().all(|line| !line.flipped));
        assert_eq!(state.candidates().selected_before.as_ref(), [true, false, false, true]);
        let (labels, lines) = select_in(&mut state, 2, &[select(0, Side::B), select(1, Side::B), select(3, Side::A)]);
        assert_eq!(lines.iter().map(|line| line.flipped).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(labels.preferred().next(), Some((0, Side::B)));
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
            let mut state = state(&pool, reuse);
            select_in(&mut state, 1, &[select(1, Side::A)]);
            let ids = |state: &PoolState<'_>| state.candidates().ids().iter().map(|id| id.0).collect::<Vec<_>>();
            assert_eq!(ids(&state), [10, 12, 13]);
            assert_eq!(state.candidates().pairs.read_all().unwrap()[1].id, PairId(12));
            let (labels, lines) = select_in(&mut state, 2, &[select(1, Side::B)]);
            assert_eq!(
                (labels.positions(), lines[0].id),
                (&[2][..], PairId(12)),
                "indices are those of the candidates"
            );
            assert_eq!(ids(&state), [10, 13]);
            assert_eq!(state.kept().len(), if reuse == PoolReuse::Rest { 0 } else { 2 });
        }
    }

    #[test]
    fn columns_are_those_of_the_candidates() {
        let pool = pool();
        let mut state = state(&pool, PoolReuse::Rest);
        select_in(&mut state, 1, &[select(0, Side::A)]);
        let candidates = state.candidates();
        assert_eq!(candidates.column(&[1, 2, 3, 4]).as_ref(), [2, 3, 4]);
        assert_eq!((candidates.lengths(), candidates.prompts().len()), (vec![[2, 1]; 3], 3));
    }

    #[test]
    fn a_selection_line_has_the_origin_of_the_label() {
        let pool = pool();
        let mut state = state(&pool, PoolReuse::Whole);
        let (_, lines) = select_in(&mut state, 1, &[select(2, Side::A)]);
        let text = serde_json::to_string(&lines[0]).unwrap();
        assert!(text.starts_with("{\"id\":12,\"round\":1,\"raw\":[1.0,-1.0],\"probability\":[0.731"), "{text}");
        assert!(text.ends_with("\"status\":\"status1\",\"preferred\":\"a\",\"flipped\":false}"), "{text}");
    }
}
