//! Clusters of pairs with the same prompt, for intervals, tests and standard errors.

use std::collections::HashMap;

/// Groups pairs whose outcomes depend on each other because they answer the same prompt.
///
/// Preference sets have up to ten pairs per prompt. A model that understands the prompt tends to get all of them
/// right, so they carry less information than as many pairs of different prompts. Intervals, tests and standard errors
/// therefore treat the cluster, and not the pair, as the independent unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clusters<'a> {
    /// No two pairs share a prompt: each pair is a cluster of its own.
    #[default]
    Singletons,
    /// One id per pair, in the pairs' order; pairs with equal ids are one cluster. `ser_data::prompt_clusters` makes
    /// such ids of prompts.
    Ids(&'a [u64]),
}

/// Clusters numbered from 0 without gaps, in the order of their first pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterIndex {
    /// The number of each pair's cluster, in the pairs' order.
    pub of_pair: Vec<usize>,
    /// The number of clusters.
    pub count: usize,
}

impl ClusterIndex {
    /// The sum of the pairs' values in each cluster. `values` has one entry per pair, in the pairs' order.
    pub fn sums(&self, values: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut sums = vec![0.0; self.count];
        for (&cluster, value) in self.of_pair.iter().zip(values) {
            if let Some(sum) = sums.get_mut(cluster) {
                *sum += value;
            }
        }
        sums
    }

    /// The positions of each cluster's pairs, in ascending order.
    pub fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.count];
        for (position, &cluster) in self.of_pair.iter().enumerate() {
            if let Some(positions) = members.get_mut(cluster) {
                positions.push(position);
            }
        }
        members
    }
}

impl<'a> Clusters<'a> {
    /// The number of ids; `None` for singletons, which fit any number of pairs.
    pub fn ids(&self) -> Option<usize> {
        match self {
            Clusters::Singletons => None,
            Clusters::Ids(ids) => Some(ids.len()),
        }
    }

    /// The id of a pair, by its position; for singletons it is the position. `None` past the end of the ids.
    pub fn id(&self, position: usize) -> Option<u64> {
        match self {
            Clusters::Singletons => Some(position as u64),
            Clusters::Ids(ids) => ids.get(position).copied(),
        }
    }

    /// Numbers the clusters of the pairs at these positions. A position without an id is left out of the result, so check
    /// [`ids`](Self::ids) first.
    pub fn index(&self, positions: impl IntoIterator<Item = usize>) -> ClusterIndex {
        let mut numbers: HashMap<u64, usize> = HashMap::new();
        let of_pair = positions
            .into_iter()
            .filter_map(|position| {
                let next = numbers.len();
                Some(*numbers.entry(self.id(position)?).or_insert(next))
            })
            .collect();
        ClusterIndex { of_pair, count: numbers.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_are_numbered_in_order_of_appearance() {
        let clusters = Clusters::Ids(&[7, 3, 7, 9]);
        let index = clusters.index(0..4);
        assert_eq!(index, ClusterIndex { of_pair: vec![0, 1, 0, 2], count: 3 });
        assert_eq!(index.sums([1.0, 2.0, 4.0, 8.0]), [5.0, 2.0, 8.0]);
        assert_eq!(index.members(), [vec![0, 2], vec![1], vec![3]]);
        assert_eq!(clusters.index([3, 1]), ClusterIndex { of_pair: vec![0, 1], count: 2 });
        assert_eq!(clusters.ids(), Some(4));
        let singletons = Clusters::Singletons.index(0..3);
        assert_eq!(singletons, ClusterIndex { of_pair: vec![0, 1, 2], count: 3 });
    }
}
