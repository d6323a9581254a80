//! A random order of n items without memory.

use crate::prompt_key::seeded;

const ROUNDS: usize = 6;

/// A seeded permutation of `0..len`, computed per position: a Feistel network over the next power of four, iterated
/// until the result is below `len`.
///
/// ```
/// let order = ser_data::ShuffledOrder::new(1_000_000_000, 7);
/// let first: Vec<u64> = order.iter().take(3).collect();
/// assert_eq!(order.at(0), Some(first[0]));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShuffledOrder {
    len: u64,
    half_bits: u32,
    keys: [u64; ROUNDS],
}

impl ShuffledOrder {
    /// The order of `len` items under a seed.
    pub fn new(len: u64, seed: u64) -> Self {
        let bits = u64::BITS - len.saturating_sub(1).leading_zeros();
        let mut round = 0u64;
        let keys = [(); ROUNDS].map(|()| {
            round += 1;
            seeded("shuffle", seed, &round.to_le_bytes()) as u64
        });
        ShuffledOrder { len, half_bits: bits.div_ceil(2).max(1), keys }
    }

    /// The number of items.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns true if there are no items.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item at a position; `None` beyond the end.
    pub fn at(&self, position: u64) -> Option<u64> {
        if position >= self.len {
            return None;
        }
        // A permutation of a set at most four times as large: on average fewer than four steps.
        let mut value = self.permute(position);
        while value >= self.len {
            value = self.permute(value);
        }
        Some(value)
    }

    /// All items in this order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.len).filter_map(|position| self.at(position))
    }

    fn permute(&self, value: u64) -> u64 {
        let mask = (1u64 << self.half_bits) - 1;
        let (mut left, mut right) = ((value >> self.half_bits) & mask, value & mask);
        for key in self.keys {
            (left, right) = (right, left ^ (mix(right ^ key) & mask));
        }
        left << self.half_bits | right
    }
}

/// The finalizer of SplitMix64: every bit depends on every other.
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use approx::assert_abs_diff_eq;

    use super::*;

    #[test]
    fn positions_are_uniform() {
        // The position of item 0 over many seeds: the mean of a fair draw is in the middle.
        let at = |seed| ShuffledOrder::new(1000, seed).iter().position(|thing| thing == 0).unwrap() as f64;
        let mean = (0..400).map(at).sum::<f64>() / 400.0;
        assert_abs_diff_eq!(mean, 499.5, epsilon = 60.0);
        let order: Vec<u64> = ShuffledOrder::new(10_000, 3).iter().collect();
        let steps = order.windows(2).filter(|two| two[0] + 1 == two[1]).count();
        assert!(steps < 8, "one follower is expected: {steps}");
    }

    proptest! {
        #[test]
        fn every_item_has_one_position(len in 0u64..3000, seed: u64) {
            let order = ShuffledOrder::new(len, seed);
            let mut all: Vec<u64> = order.iter().collect();
            prop_assert_eq!(order.at(len), None);
            all.sort_unstable();
            prop_assert_eq!(all, (0..len).collect::<Vec<_>>());
        }
    }
}
