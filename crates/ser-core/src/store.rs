//! Pairs and preferences that are read by position, wherever they lie.

use std::ops::Range;
use std::sync::Arc;

use crate::{BoxError, Pair, Preference};

macro_rules! store {
    ($(#[$doc:meta])* $name:ident, $item:ty, $what:literal) => {
        $(#[$doc])*
        pub trait $name: Send + Sync {
            #[doc = concat!("The number of ", $what, ".")]
            fn len(&self) -> usize;

            /// Whether the store is empty.
            fn is_empty(&self) -> bool {
                self.len() == 0
            }

            #[doc = concat!("The ", $what, " at these positions, in the order of the positions.")]
            ///
            /// # Errors
            /// A position past the end, and the store's own failures to read.
            fn read(&self, positions: &[usize]) -> Result<Vec<$item>, BoxError>;

            #[doc = concat!("The ", $what, " of a range of positions, in order.")]
            ///
            /// # Errors
            /// See [`read`](Self::read).
            fn read_range(&self, range: Range<usize>) -> Result<Vec<$item>, BoxError> {
                self.read(&range.collect::<Vec<_>>())
            }
        }

        impl $name for [$item] {
            fn len(&self) -> usize {
                <[$item]>::len(self)
            }

            fn read(&self, positions: &[usize]) -> Result<Vec<$item>, BoxError> {
                positions.iter().map(|&position| item(self, position)).collect()
            }

            fn read_range(&self, range: Range<usize>) -> Result<Vec<$item>, BoxError> {
                let end = range.end;
                match self.get(range) {
                    Some(items) => Ok(items.to_vec()),
                    None => Err(PastTheEnd { position: end, len: <[$item]>::len(self) }.into()),
                }
            }
        }

        impl<const N: usize> $name for [$item; N] {
            fn len(&self) -> usize {
                N
            }

            fn read(&self, positions: &[usize]) -> Result<Vec<$item>, BoxError> {
                $name::read(self.as_slice(), positions)
            }
        }

        impl $name for Vec<$item> {
            fn len(&self) -> usize {
                self.as_slice().len()
            }

            fn read(&self, positions: &[usize]) -> Result<Vec<$item>, BoxError> {
                $name::read(self.as_slice(), positions)
            }

            fn read_range(&self, range: Range<usize>) -> Result<Vec<$item>, BoxError> {
                $name::read_range(self.as_slice(), range)
            }
        }

        store!(@pointer $name, $item, &T);
        store!(@pointer $name, $item, Box<T>);
        store!(@pointer $name, $item, Arc<T>);
    };
    (@pointer $name:ident, $item:ty, $pointer:ty) => {
        impl<T: $name + ?Sized> $name for $pointer {
            fn len(&self) -> usize {
                (**self).len()
            }

            fn read(&self, positions: &[usize]) -> Result<Vec<$item>, BoxError> {
                (**self).read(positions)
            }

            fn read_range(&self, range: Range<usize>) -> Result<Vec<$item>, BoxError> {
                (**self).read_range(range)
            }
        }
    };
}

store! {
    /// Pairs that are read by position. They may lie on disk; slices, vectors and `Arc<[Arc<Pair>]>` keep them in memory.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ser_core::{Pair, PairId, PairStore};
    ///
    /// let pairs: Vec<Arc<Pair>> = (0..3).map(|id| Arc::new(Pair::from_text(PairId(id), "q", "a", "b"))).collect();
    /// let store: &dyn PairStore = &pairs;
    /// assert_eq!(store.read(&[2, 0])?[0].id, PairId(2));
    /// assert_eq!(store.read_range(1..3)?.len(), 2);
    /// assert_eq!(store.read(&[3]).unwrap_err().to_string(), "position 3 is past the end of a store of 3");
    /// # Ok::<(), ser_core::BoxError>(())
    /// ```
    PairStore, Arc<Pair>, "pairs"
}

store! {
    /// Labelled pairs that are read by position. They may lie on disk; slices, vectors and `Arc<[Preference]>` keep them
    /// in memory.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use ser_core::{Pair, PairId, Preference, PreferenceStore, Side};
    ///
    /// let pair = Arc::new(Pair::from_text(PairId(0), "q", "a", "b"));
    /// let preferences: Arc<[Preference]> = vec![Preference::human(pair, Side::B)].into();
    /// let store: &dyn PreferenceStore = &preferences;
    /// assert_eq!(store.read(&[0])?[0].chosen(), "b");
    /// # Ok::<(), ser_core::BoxError>(())
    /// ```
    PreferenceStore, Preference, "preferences"
}

/// A position that a store does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("position {position} is past the end of a store of {len}")]
struct PastTheEnd {
    position: usize,
    len: usize,
}

fn item<T: Clone>(items: &[T], position: usize) -> Result<T, BoxError> {
    items.get(position).cloned().ok_or_else(|| past_the_end(position, items.len()))
}

/// The error of a position that a store of `len` does not have.
pub(crate) fn past_the_end(position: usize, len: usize) -> BoxError {
    PastTheEnd { position, len }.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PairId, Side};

    #[test]
    fn all_kinds_of_stores_read_the_same() {
        let pairs: Vec<Arc<Pair>> = (0..4).map(|id| Arc::new(Pair::from_text(PairId(id), "q", "a", "b"))).collect();
        let shared: Arc<[Arc<Pair>]> = pairs.clone().into();
        let slice = &pairs[..];
        let stores: [&dyn PairStore; 4] = [&pairs, &shared, &slice, &Box::new(pairs.clone())];
        for store in stores {
            assert_eq!((store.len(), store.is_empty()), (4, false));
            let read: Vec<_> = store.read(&[3, 1]).unwrap().iter().map(|pair| pair.id.0).collect();
            assert_eq!(read, [3, 1]);
            assert_eq!(store.read_range(1..3).unwrap(), store.read(&[1, 2]).unwrap());
            assert!(store.read_range(2..5).is_err());
        }
        let preferences = [Preference::human(Arc::clone(&pairs[0]), Side::A)];
        assert_eq!(PreferenceStore::read(&preferences, &[0]).unwrap(), preferences);
    }
}
