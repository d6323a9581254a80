//! The preferences of a training, read when they are needed.

use std::sync::Arc;

use ser_core::{BoxError, Pair, PairSet, PairStore, Preference, PreferenceSet, PreferenceStore};
use ser_data::GoldLabels;

use super::labels::PoolLabels;

/// Labelled pairs, then pool pairs with their labels.
pub(crate) struct TrainingSet<'a> {
    seed: PreferenceSet,
    pool: &'a PairSet,
    parts: Vec<Part<'a>>,
}

/// Pool pairs with labels of one origin.
enum Part<'a> {
    Pseudo(Arc<PoolLabels>),
    Gold { positions: Vec<u32>, gold: &'a GoldLabels },
}

impl Part<'_> {
    /// Positions in the pool.
    fn positions(&self) -> &[u32] {
        match self {
            Part::Pseudo(labels) => labels.positions(),
            Part::Gold { positions, .. } => positions,
        }
    }

    fn preference(&self, index: usize, pair: Arc<Pair>) -> Option<Preference> {
        match self {
            Part::Pseudo(labels) => labels.preference(index, pair),
            Part::Gold { gold, .. } => gold.preference_for_audit(&pair),
        }
    }
}

impl<'a> TrainingSet<'a> {
    /// Labelled pairs alone.
    pub(crate) fn new(seed: PreferenceSet, pool: &'a PairSet) -> Self {
        TrainingSet { seed, pool, parts: Vec::new() }
    }

    /// Adds the labels of an iteration.
    #[must_use]
    pub(crate) fn with_labels(mut self, labels: &Arc<PoolLabels>) -> Self {
        self.parts.push(Part::Pseudo(Arc::clone(labels)));
        self
    }

    /// Adds pool pairs with their gold labels, which each of them must have.
    #[must_use]
    pub(crate) fn with_gold(mut self, positions: Vec<u32>, gold: &'a GoldLabels) -> Self {
        self.parts.push(Part::Gold { positions, gold });
        self
    }

    /// The part of a position, and the index in it; `None` for a labelled pair.
    fn locate(&self, position: usize) -> Option<(&Part<'a>, usize)> {
        let mut index = position.checked_sub(self.seed.len())?;
        for part in &self.parts {
            match index.checked_sub(part.positions().len()) {
                Some(rest) => index = rest,
                None => return Some((part, index)),
            }
        }
        None
    }
}

impl PreferenceStore for TrainingSet<'_> {
    fn len(&self) -> usize {
        self.seed.len() + self.parts.iter().map(|part| part.positions().len()).sum::<usize>()
    }

    fn read(&self, positions: &[usize]) -> Result<Vec<Preference>, BoxError> {
        let (mut of_seed, mut of_pool) = (Vec::new(), Vec::new());
        let located: Vec<_> = positions.iter().map(|&position| self.locate(position)).collect();
        for (&position, located) in positions.iter().zip(&located) {
            match located.and_then(|(part, index)| part.positions().get(index)) {
                Some(&position) => of_pool.push(position as usize),
                None if position < self.seed.len() => of_seed.push(position),
                None => return Err(format!("position {position} is past the end of {} preferences", self.len()).into()),
            }
        }
        let mut seed = self.seed.read(&of_seed)?.into_iter();
        let mut pool = self.pool.read(&of_pool)?.into_iter();
        let preference = |located: Option<(&Part<'_>, usize)>| match located {
            Some((part, index)) => part.preference(index, pool.next()?),
            None => seed.next(),
        };
        let found: Option<Vec<_>> = located.into_iter().map(preference).collect();
        found.ok_or_else(|| "a pool pair has lost its label".into())
    }
}

#[cfg(test)]
mod tests {
    use ser_core::{LearningStatus, PairId, PairScores, Side};

    use super::super::labels::{Label, LabelTargets};
    use super::*;
    use crate::settings::LoopSettings;

    #[test]
    fn parts_are_read_in_any_order() {
        let pair = |id| Arc::new(Pair::from_text(PairId(id), "q", "a", "b"));
        let seed: PreferenceSet = (0..2).map(|id| Preference::human(pair(id), Side::A)).collect();
        let pool: PairSet = (10..15).map(pair).collect();
        let mut labels = PoolLabels::new(1, LabelTargets::new(&seed, &LoopSettings::default()).unwrap());
        for position in [4, 1] {
            let label = Label { preferred: Side::B, status: LearningStatus::Status2, flipped: false };
            labels.push(position, PairScores::new(0.0, f64::from(position)), label);
        }
        let gold = GoldLabels::new([(PairId(12), Side::A, Some(2.0))]).unwrap();
        let set = TrainingSet::new(seed, &pool).with_labels(&Arc::new(labels)).with_gold(vec![2], &gold);
        assert_eq!(set.len(), 5);
        let ids = |read: Vec<Preference>| read.iter().map(|p| p.pair.id.0).collect::<Vec<_>>();
        assert_eq!(ids(set.read_range(0..5).unwrap()), [0, 1, 14, 11, 12]);
        let some = set.read(&[4, 0, 3, 2]).unwrap();
        assert_eq!((some[0].preferred, some[0].margin), (Side::A, Some(2.0)));
        assert_eq!((some[2].preferred, some[3].preferred), (Side::B, Side::B));
        assert_eq!(ids(some), [12, 0, 11, 14]);
        assert_eq!(set.read(&[5]).unwrap_err().to_string(), "position 5 is past the end of 5 preferences");
    }
}
