//! Blinding of a pool: answers in random order, labels kept separately.

use std::collections::HashMap;
use std::sync::Arc;

use ser_core::{Pair, PairId, Preference, Side};

use crate::DataError;
use crate::prompt_key::seeded;

/// The labels of a blinded pool, for audits and baselines only.
///
/// Only audits and baselines may read it: its method names contain their purpose, it cannot be serialized, and its
/// `Debug` form shows no label. Clones share the labels.
#[derive(Clone)]
pub struct GoldLabels {
    labels: Arc<HashMap<PairId, (Side, Option<f64>)>>,
}

impl GoldLabels {
    /// The number of labels.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns true if there are no labels.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The better answer of a blinded pair; `None` for a pair of another pool.
    pub fn reveal_for_audit(&self, id: PairId) -> Option<Side> {
        self.labels.get(&id).map(|(side, _)| *side)
    }

    /// A blinded pair with its true label and margin, for the baselines that train on gold labels.
    pub fn preference_for_audit(&self, pair: &Arc<Pair>) -> Option<Preference> {
        let (side, margin) = *self.labels.get(&pair.id)?;
        Some(Preference { margin, ..Preference::human(Arc::clone(pair), side) })
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
    let mut labels = HashMap::with_capacity(preferences.len());
    let mut pool = Vec::with_capacity(preferences.len());
    for preference in preferences {
        let id = preference.pair.id;
        let swap = seeded("blind", seed, &id.0.to_le_bytes()) & 1 == 1;
        let (pair, side) = if swap {
            (Arc::new(Pair::clone(&preference.pair).swapped()), preference.preferred.other())
        } else {
            (Arc::clone(&preference.pair), preference.preferred)
        };
        if labels.insert(id, (side, preference.margin)).is_some() {
            return Err(DataError::DuplicateId { id: id.0 });
        }
        pool.push(pair);
    }
    Ok((pool, GoldLabels { labels: Arc::new(labels) }))
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
}
