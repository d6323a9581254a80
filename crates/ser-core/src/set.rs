//! Sets of pairs and preferences that are shared and cheap to clone, wherever they lie.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::store::past_the_end;
use crate::{BoxError, Pair, PairStore, Preference, PreferenceStore};

macro_rules! set {
    ($(#[$doc:meta])* $name:ident, $store:ident, $item:ty, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            store: Arc<dyn $store>,
            /// Positions in the store; `None` stands for all.
            positions: Option<Arc<[u32]>>,
        }

        impl $name {
            #[doc = concat!("All ", $what, " of a store.")]
            pub fn new(store: impl $store + 'static) -> Self {
                $name { store: Arc::new(store), positions: None }
            }

            #[doc = concat!("The number of ", $what, ".")]
            pub fn len(&self) -> usize {
                self.positions.as_ref().map_or_else(|| self.store.len(), |positions| positions.len())
            }

            #[doc = concat!("Whether there are no ", $what, ".")]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            #[doc = concat!("The ", $what, " at these positions of this set, in the order of the positions.")]
            /// They stay in the store. A position past the end is an error when it is read.
            #[must_use]
            pub fn subset(&self, positions: &[u32]) -> Self {
                let positions = match &self.positions {
                    Some(own) => {
                        // A position past the end stays one.
                        let of = |&position: &u32| own.get(position as usize).copied().unwrap_or(u32::MAX);
                        positions.iter().map(of).collect()
                    }
                    None => positions.into(),
                };
                $name { store: Arc::clone(&self.store), positions: Some(positions) }
            }

            #[doc = concat!("The ", $what, " of this set, then those of another one.")]
            #[must_use]
            pub fn chain(self, other: Self) -> Self {
                $name::new(Chain { first: self, second: other })
            }

            #[doc = concat!("All ", $what, ", in memory.")]
            ///
            /// # Errors
            /// The store's own failures to read.
            pub fn read_all(&self) -> Result<Vec<$item>, BoxError> {
                self.read_range(0..self.len())
            }

            #[doc = concat!("All ", $what, ", at most `size` at a time.")]
            pub fn chunks(&self, size: usize) -> impl Iterator<Item = Result<Vec<$item>, BoxError>> + '_ {
                let (len, size) = (self.len(), size.max(1));
                (0..len).step_by(size).map(move |start| self.read_range(start..(start + size).min(len)))
            }
        }

        impl $store for $name {
            fn len(&self) -> usize {
                $name::len(self)
            }

            fn read(&self, positions: &[usize]) -> Result<Vec<$item>, BoxError> {
                let Some(own) = &self.positions else { return self.store.read(positions) };
                let of = |&position: &usize| match own.get(position) {
                    Some(&position) => Ok(position as usize),
                    None => Err(past_the_end(position, own.len())),
                };
                self.store.read(&positions.iter().map(of).collect::<Result<Vec<_>, _>>()?)
            }

            fn read_range(&self, range: Range<usize>) -> Result<Vec<$item>, BoxError> {
                match &self.positions {
                    Some(_) => self.read(&range.collect::<Vec<_>>()),
                    None => self.store.read_range(range),
                }
            }
        }

        impl $store for Chain<$name> {
            fn len(&self) -> usize {
                self.first.len() + self.second.len()
            }

            fn read(&self, positions: &[usize]) -> Result<Vec<$item>, BoxError> {
                let middle = self.first.len();
                let of_first: Vec<usize> = positions.iter().copied().filter(|position| *position < middle).collect();
                let of_second: Vec<usize> =
                    positions.iter().filter_map(|position| position.checked_sub(middle)).collect();
                let mut first = self.first.read(&of_first)?.into_iter();
                let mut second = self.second.read(&of_second)?.into_iter();
                let next = |position: &usize| if *position < middle { first.next() } else { second.next() };
                Ok(positions.iter().filter_map(next).collect())
            }
        }

        impl Default for $name {
            /// An empty set.
            fn default() -> Self {
                $name::from(Vec::<$item>::new())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name)).field("len", &self.len()).finish_non_exhaustive()
            }
        }

        impl From<Vec<$item>> for $name {
            fn from(items: Vec<$item>) -> Self {
                $name::new(items)
            }
        }

        impl From<Arc<[$item]>> for $name {
            fn from(items: Arc<[$item]>) -> Self {
                $name::new(items)
            }
        }

        impl From<&[$item]> for $name {
            fn from(items: &[$item]) -> Self {
                items.to_vec().into()
            }
        }

        impl<const N: usize> From<[$item; N]> for $name {
            fn from(items: [$item; N]) -> Self {
                Vec::from(items).into()
            }
        }

        impl FromIterator<$item> for $name {
            fn from_iter<I: IntoIterator<Item = $item>>(items: I) -> Self {
                items.into_iter().collect::<Vec<_>>().into()
            }
        }
    };
}

set! {
    /// Pairs of a [`PairStore`], in memory or on disk: all of them, or some by position. Clones share the store.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ser_core::{Pair, PairId, PairSet, PairStore};
    ///
    /// let pairs: PairSet = (0..9).map(|id| Arc::new(Pair::from_text(PairId(id), "q", "a", "b"))).collect();
    /// let some = pairs.subset(&[1, 4, 7]);
    /// assert_eq!(some.read(&[2])?[0].id, PairId(7));
    /// assert_eq!(some.chunks(2).count(), 2);
    /// # Ok::<(), ser_core::BoxError>(())
    /// ```
    PairSet, PairStore, Arc<Pair>, "pairs"
}

set! {
    /// Labelled pairs of a [`PreferenceStore`], in memory or on disk: all of them, or some by position. Clones share the
    /// store.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ser_core::{Pair, PairId, PairStore, Preference, PreferenceSet, Side};
    ///
    /// let pair = Arc::new(Pair::from_text(PairId(0), "q", "a", "b"));
    /// let set = PreferenceSet::from(vec![Preference::human(pair, Side::B)]);
    /// assert_eq!(set.pairs().read(&[0])?[0].id, PairId(0));
    /// # Ok::<(), ser_core::BoxError>(())
    /// ```
    PreferenceSet, PreferenceStore, Preference, "preferences"
}

/// Two sets, one after the other.
struct Chain<T> {
    first: T,
    second: T,
}

/// The pairs of preferences, without their labels.
struct PairsOf(Arc<dyn PreferenceStore>);

impl PairStore for PairsOf {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn read(&self, positions: &[usize]) -> Result<Vec<Arc<Pair>>, BoxError> {
        Ok(self.0.read(positions)?.into_iter().map(|preference| preference.pair).collect())
    }

    fn read_range(&self, range: Range<usize>) -> Result<Vec<Arc<Pair>>, BoxError> {
        Ok(self.0.read_range(range)?.into_iter().map(|preference| preference.pair).collect())
    }
}

impl PreferenceSet {
    /// The pairs without their labels, in the same order. They stay in the store.
    pub fn pairs(&self) -> PairSet {
        PairSet { store: Arc::new(PairsOf(Arc::clone(&self.store))), positions: self.positions.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PairId, Side};

    fn pairs(ids: std::ops::Range<u64>) -> PairSet {
        ids.map(|id| Arc::new(Pair::from_text(PairId(id), "q", "a", "b"))).collect()
    }

    fn ids(read: Result<Vec<Arc<Pair>>, BoxError>) -> Vec<u64> {
        read.unwrap().iter().map(|pair| pair.id.0).collect()
    }

    #[test]
    fn subsets_of_subsets_are_positions_in_the_subset() {
        let set = pairs(10..20).subset(&[8, 1, 3, 5]);
        let inner = set.subset(&[3, 0]);
        assert_eq!((set.len(), inner.len()), (4, 2));
        assert_eq!(ids(inner.read_all()), [15, 18]);
        assert_eq!(ids(set.read(&[1, 1])), [11, 11]);
        assert_eq!(ids(set.read_range(1..3)), [11, 13]);
        assert_eq!(set.read(&[4]).unwrap_err().to_string(), "position 4 is past the end of a store of 4");
        assert!(set.subset(&[9]).read_all().is_err());
        assert_eq!(format!("{set:?}"), "PairSet { len: 4, .. }");
    }

    #[test]
    fn chunks_and_chains_are_in_order() {
        let set = pairs(0..3).chain(pairs(7..9));
        assert_eq!(ids(set.read_all()), [0, 1, 2, 7, 8]);
        assert_eq!(ids(set.read(&[4, 0, 3])), [8, 0, 7]);
        assert!(set.read(&[5]).is_err());
        let chunks: Vec<_> = set.chunks(2).map(ids).collect();
        assert_eq!(chunks, [vec![0, 1], vec![2, 7], vec![8]]);
        assert_eq!(PairSet::default().chunks(2).count(), 0);
    }

    #[test]
    fn pairs_of_preferences_keep_the_subset() {
        let preferences: PreferenceSet =
            pairs(0..4).read_all().unwrap().into_iter().map(|pair| Preference::human(pair, Side::A)).collect();
        assert_eq!(ids(preferences.subset(&[2, 0]).pairs().read_all()), [2, 0]);
    }
}
