//! A random sample of a stream.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A random sample of at most `size` items of a stream of unknown length, drawn without storing the others (Vitter's
/// algorithm R).
///
/// ```
/// let mut sample = ser_data::Reservoir::new(3, 0);
/// (0..1000).for_each(|item| sample.add(item));
/// assert_eq!(sample.items().len(), 3);
/// ```
#[derive(Clone, Debug)]
pub struct Reservoir<T> {
    size: usize,
    seen: u64,
    items: Vec<T>,
    rng: ChaCha8Rng,
}

impl<T> Reservoir<T> {
    /// An empty sample of at most `size` items, with the seed of the draws.
    pub fn new(size: usize, seed: u64) -> Self {
        Reservoir { size, seen: 0, items: Vec::new(), rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The next item of the stream. Each item so far is in the sample with the same probability.
    pub fn add(&mut self, item: T) {
        self.seen += 1;
        if self.items.len() < self.size {
            self.items.push(item);
        } else if let Ok(index) = usize::try_from(self.rng.random_range(0..self.seen))
            && let Some(slot) = self.items.get_mut(index)
        {
            *slot = item;
        }
    }

    /// The sample.
    pub fn items(&self) -> &[T] {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_drawn_equally_often() {
        let mut drawn = [0u32; 10];
        for seed in 0..5000 {
            let mut sample = Reservoir::new(2, seed);
            (0..10).for_each(|item| sample.add(item));
            sample.items().iter().for_each(|item: &usize| drawn[*item] += 1);
        }
        // 1000 each; the standard deviation is 28.
        assert!(drawn.iter().all(|count| count.abs_diff(1000) < 115), "{drawn:?}");
    }

    #[test]
    fn short_streams_are_whole() {
        let mut sample = Reservoir::new(5, 0);
        (0..3).for_each(|item| sample.add(item));
        assert_eq!(sample.items(), [0, 1, 2]);
    }
}
