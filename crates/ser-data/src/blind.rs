//! Blinding of a pool: answers in random order, labels kept separately.

use std::sync::Arc;

use ser_core::{Pair, PairId, Preference, Side};

use crate::DataError;
use crate::prompt_key::seeded;

/// The labels of a blinded pool, for audits and baselines only.
///
/// Only audits and baselines may read it: its method names contain their purpose, it cannot be serialized, and its
/// `Debug` form shows no label. Clones share the labels. A label takes 9 bytes of memory, 17 if labels have margins.
#[derive(Clone)]
pub struct GoldLabels {
    labels: Arc<Labels>,
}

/// In the order of the ids.
struct Labels {
    ids: Vec<PairId>,
    sides: Vec<Side>,
    /// NaN for none; empty if no label has a margin.
    margins: Vec<f64>,
}

impl GoldLabels {
    /// Labels of pairs with their margins, in any order.
    ///
    /// # Errors
    /// [`DataError::DuplicateId`] for two pairs with the same id, whose labels could not be distinguished.
    pub fn new(labels: impl IntoIterator<Item = (PairId, Side, Option<f64>)>) -> Result<Self, DataError> {
        let mut all = Labels { ids: Vec::new(), sides: Vec::new(), margins: Vec::new() };
        let mut sorted = true;
        for (id, side, margin) in labels {
            sorted &= all.ids.last().is_none_or(|last| *last < id);
            if margin.is_some() && all.margins.is_empty() {
                all.margins = vec![f64::NAN; all.ids.len()];
            }
            if margin.is_some() || !all.margins.is_empty() {
                all.margins.push(margin.unwrap_or(f64::NAN));
            }
            all.ids.push(id);
            all.sides.push(side);
        }
        Ok(GoldLabels { labels: Arc::new(if sorted { all } else { all.sorted()? }) })
    }

    /// The number of labels.
    pub fn len(&self) -> usize {
        self.labels.ids.len()
    }

    /// Returns true if there are no labels.
    pub fn is_empty(&self) -> bool {
        self.labels.ids.is_empty()
    }

    /// The better answer of a blinded pair; `None` for a pair of another pool.
    pub fn reveal_for_audit(&self, id: PairId) -> Option<Side> {
        self.labels.find(id).map(|(side, _)| side)
    }

    /// A blinded pair with its true label and margin, for the baselines that train on gold labels.
    pub fn preference_for_audit(&self, pair: &Arc<Pair>) -> Option<Preference> {
        let (side, margin) = self.labels.find(pair.id)?;
        Some(Preference { margin, ..Preference::human(Arc::clone(pair), side) })
    }
}

impl Labels {
    fn sorted(self) -> Result<Self, DataError> {
        let mut order: Vec<usize> = (0..self.ids.len()).collect();
        order.sort_by_key(|index| self.ids.get(*index));
        fn in_order<T: Copy>(items: &[T], order: &[usize]) -> Vec<T> {
            order.iter().filter_map(|index| items.get(*index).copied()).collect()
        }
        let ids = in_order(&self.ids, &order);
        let twice = ids.windows(2).find_map(|two| match two {
            [one, next] if one == next => Some(*one),
            _ => None,
        });
        if let Some(PairId(id)) = twice {
            return Err(DataError::DuplicateId { id });
        }
        Ok(Labels { ids, sides: in_order(&self.sides, &order), margins: in_order(&self.margins, &order) })
    }

    fn find(&self, id: PairId) -> Option<(Side, Option<f64>)> {
        let index = self.ids.binary_search(&id).ok()?;
        let margin = self.margins.get(index).copied().filter(|margin| !margin.is_nan());
        Some((*self.sides.get(index)?, margin))
    }
}

impl std::fmt::Debug for GoldLabels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GoldLabels").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Puts the answers of each pair in an order drawn from its id and the seed, and removes the labels.
///
/// The pairs keep their order and their ids. The draw does not depend on the other pairs.
///
/// # Errors
/// [`DataError::DuplicateId`] for two pairs with the same id, whose labels could not be distinguished.
///
/// ```
/// use std::sync::Arc;
/// use ser_core::{Pair, PairId, Preference, Side};
///
/// let pair = Arc::new(Pair::from_text(PairId(0), "Why?", "good", "bad"));
/// let (pool, gold) = ser_data::blind(&[Preference::human(pair, Side::A)], 0)?;
/// let side = gold.reveal_for_audit(pool[0].id).unwrap();
/// assert_eq!(pool[0].response(side), "good");
/// # Ok::<(), ser_data::DataError>(())
/// ```
pub fn blind(preferences: &[Preference], seed: u64) -> Result<(Vec<Arc<Pair>>, GoldLabels), DataError> {
    let blinded: Vec<Preference> =
        preferences.iter().map(|preference| blind_preference(preference.clone(), seed)).collect();
    let gold = GoldLabels::new(blinded.iter().map(|p| (p.pair.id, p.preferred, p.margin)))?;
    Ok((blinded.into_iter().map(|preference| preference.pair).collect(), gold))
}

/// A labelled pair with its answers in the order that [`blind`] draws.
pub fn blind_preference(preference: Preference, seed: u64) -> Preference {
    if seeded("blind", seed, &preference.pair.id.0.to_le_bytes()) & 1 == 0 {
        return preference;
    }
    let pair = Arc::new(Arc::unwrap_or_clone(preference.pair).swapped());
    Preference { pair, preferred: preference.preferred.other(), ..preference }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preferences(count: u64) -> Vec<Preference> {
        let pair = |i| Arc::new(Pair::from_text(PairId(i), format!("q{i}"), format!("good {i}"), format!("bad {i}")));
        (0..count).map(|i| Preference { margin: Some(i as f64), ..Preference::human(pair(i), Side::A) }).collect()
    }

    #[test]
    fn labels_come_back_and_the_order_is_uninformative() {
        let labelled = preferences(4000);
        let (pool, gold) = blind(&labelled, 3).unwrap();
        assert_eq!((pool.len(), gold.len()), (4000, 4000));
        let mut first = 0;
        for (pair, before) in pool.iter().zip(&labelled) {
            assert_eq!(pair.id, before.pair.id);
            let after = gold.preference_for_audit(pair).unwrap();
            assert_eq!((after.chosen(), after.rejected()), (before.chosen(), before.rejected()));
            assert_eq!(after.margin, before.margin);
            first += u32::from(gold.reveal_for_audit(pair.id) == Some(Side::A));
        }
        // Four standard deviations of 4,000 fair coins are 126.
        assert!((1874..=2126).contains(&first), "{first} of 4000 with the better answer first");
        assert_eq!(gold.reveal_for_audit(PairId(4000)), None);
        assert_eq!(format!("{gold:?}"), "GoldLabels { len: 4000, .. }");
    }

    #[test]
    fn a_pairs_draw_depends_only_on_its_id_and_the_seed() {
        let labelled = preferences(100);
        let (all, _) = blind(&labelled, 1).unwrap();
        let (some, _) = blind(&labelled[50..], 1).unwrap();
        assert_eq!(all[50..], some[..]);
        assert_ne!(all, blind(&labelled, 2).unwrap().0);
        let twice = [labelled[0].clone(), labelled[0].clone()];
        assert!(matches!(blind(&twice, 0), Err(DataError::DuplicateId { id: 0 })));
    }

    #[test]
    fn labels_are_found_in_any_order_with_and_without_margins() {
        let labels = [(9, Side::A, None), (2, Side::B, Some(0.5)), (5, Side::B, None)];
        let labels = labels.map(|(id, side, margin)| (PairId(id), side, margin));
        let gold = GoldLabels::new(labels).unwrap();
        for (id, side, margin) in labels {
            let pair = Arc::new(Pair::from_text(id, "q", "a", "b"));
            let found = gold.preference_for_audit(&pair).unwrap();
            assert_eq!((found.preferred, found.margin), (side, margin));
        }
        assert_eq!(gold.reveal_for_audit(PairId(3)), None);
        let without = GoldLabels::new(labels.map(|(id, side, _)| (id, side, None))).unwrap();
        assert_eq!(
            without.preference_for_audit(&Arc::new(Pair::from_text(PairId(2), "q", "a", "b"))).unwrap().margin,
            None
        );
    }
}
