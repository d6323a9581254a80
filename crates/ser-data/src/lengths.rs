//! Counts of lengths, updated one at a time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Exact counts of lengths, in memory proportional to the number of *different* lengths.
///
/// ```
/// let lengths: ser_data::LengthCounts = [3, 9, 4, 4].into_iter().collect();
/// assert_eq!((lengths.percentile(50.0), lengths.percentile(100.0), lengths.total()), (Some(4), Some(9), 4));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LengthCounts {
    counts: BTreeMap<u64, u64>,
}

impl LengthCounts {
    /// Counts one length.
    pub fn add(&mut self, length: usize) {
        *self.counts.entry(length as u64).or_default() += 1;
    }

    /// The number of lengths counted.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The mean length; `None` if there are none.
    pub fn mean(&self) -> Option<f64> {
        let sum: f64 = self.counts.iter().map(|(length, count)| *length as f64 * *count as f64).sum();
        let total = self.total();
        (total > 0).then(|| sum / total as f64)
    }

    /// The smallest length that `percent` of all do not exceed (nearest rank, 0 to 100); `None` if there are none.
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        let rank = (percent / 100.0 * self.total() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.counts
            .iter()
            .find(|(_, count)| {
                seen += **count;
                seen >= rank
            })
            .map(|(length, _)| *length)
    }

    /// The share of lengths over `limit`.
    pub fn share_over(&self, limit: u64) -> f64 {
        let over: u64 = self.counts.range(limit.saturating_add(1)..).map(|(_, count)| count).sum();
        over as f64 / self.total().max(1) as f64
    }
}

impl FromIterator<usize> for LengthCounts {
    fn from_iter<I: IntoIterator<Item = usize>>(lengths: I) -> Self {
        let mut counts = LengthCounts::default();
        lengths.into_iter().for_each(|length| counts.add(length));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let hundred: LengthCounts = (1..=100).collect();
        for percent in [1u64, 50, 99, 100] {
            assert_eq!(hundred.percentile(percent as f64), Some(percent));
        }
        assert_eq!(
            (hundred.percentile(0.0), hundred.percentile(49.5), hundred.mean()),
            (Some(1), Some(50), Some(50.5))
        );
        assert_eq!((hundred.share_over(90), hundred.share_over(u64::MAX)), (0.1, 0.0));
        let none = LengthCounts::default();
        assert_eq!((none.percentile(50.0), none.mean(), none.total()), (None, None, 0));
        let json = serde_json::to_string(&hundred).unwrap();
        assert_eq!(serde_json::from_str::<LengthCounts>(&json).unwrap(), hundred);
    }
}
