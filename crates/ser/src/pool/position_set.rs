//! Sets of positions in the pool.

/// Positions in the pool; one bit of memory per pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PositionSet {
    words: Vec<u64>,
}

impl PositionSet {
    pub(crate) fn insert(&mut self, position: u32) {
        let (word, bit) = (position as usize / 64, position % 64);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << bit;
        }
    }

    /// Adds all positions of another set.
    pub(crate) fn unite(&mut self, other: &PositionSet) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
    }

    pub(crate) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The positions in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let of_word =
            |(first, &word): (u32, &u64)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| first + bit);
        (0..).step_by(64).zip(&self.words).flat_map(of_word)
    }
}

impl FromIterator<u32> for PositionSet {
    fn from_iter<I: IntoIterator<Item = u32>>(positions: I) -> Self {
        let mut set = PositionSet::default();
        positions.into_iter().for_each(|position| set.insert(position));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_sorted_and_counted_once() {
        let mut set: PositionSet = [130, 0, 63, 64, 0].into_iter().collect();
        assert_eq!((set.len(), set.iter().collect::<Vec<_>>()), (4, vec![0, 63, 64, 130]));
        set.unite(&[1, 200].into_iter().collect());
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 63, 64, 130, 200]);
        let mut few: PositionSet = [3].into_iter().collect();
        few.unite(&set);
        assert_eq!(few.len(), 7);
        assert_eq!(PositionSet::default().iter().count(), 0);
    }
}
