use ser_core::{PairId, Side};
use std::collections::HashMap;
#[derive(Clone, Debug, Default)]
pub struct GoldLabels(pub HashMap<PairId, Side>);
impl GoldLabels {
    pub fn reveal(&self, id: PairId) -> Option<Side> {
        self.0.get(&id).copied()
    }
}
impl FromIterator<(PairId, Side)> for GoldLabels { fn from_iter<I: IntoIterator<Item=(PairId, Side)>>(i: I) -> Self { GoldLabels(i.into_iter().collect()) } }
