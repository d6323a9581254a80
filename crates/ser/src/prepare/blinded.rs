//! Labelled pairs with their answers in random order, drawn when they are read.

use std::sync::Arc;

use ser_core::{BoxError, Pair, PairId, Preference, PreferenceSet, PreferenceStore};
use ser_data::blind_preference;

/// Preferences as [`ser_data::blind`] draws the order of their answers. Files have the chosen answer first, and a model
/// that sees both answers at once must not learn that.
pub(super) struct Blinded {
    pub(super) preferences: PreferenceSet,
    /// Seed of the draw.
    pub(super) seed: u64,
    /// Added to the ids, before the draw.
    pub(super) first_id: u64,
}

impl PreferenceStore for Blinded {
    fn len(&self) -> usize {
        self.preferences.len()
    }

    fn read(&self, positions: &[usize]) -> Result<Vec<Preference>, BoxError> {
        let one = |preference: Preference| blind_preference(self.renumbered(preference), self.seed);
        Ok(self.preferences.read(positions)?.into_iter().map(one).collect())
    }
}

impl Blinded {
    fn renumbered(&self, preference: Preference) -> Preference {
        if self.first_id == 0 {
            return preference;
        }
        let mut pair: Pair = Arc::unwrap_or_clone(preference.pair);
        pair.id = PairId(self.first_id.saturating_add(pair.id.0));
        Preference { pair: Arc::new(pair), ..preference }
    }
}
