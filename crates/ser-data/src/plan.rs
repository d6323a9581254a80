//! Batch planning.

/// Packs items into batches of at most `token_budget` tokens, in the given order.
///
/// `lengths` has the number of tokens of each item ([`TokenizedPair::packed_len`](crate::TokenizedPair::packed_len)).
/// Every index is in exactly one batch; an item over the budget is alone in its batch. No batch is empty.
///
/// ```
/// assert_eq!(ser_data::plan_batches(&[3, 4, 9, 2, 2], 8), [vec![0, 1], vec![2], vec![3, 4]]);
/// ```
pub fn plan_batches(lengths: &[usize], token_budget: usize) -> Vec<Vec<usize>> {
    pack(lengths.iter().copied().enumerate(), token_budget)
}

/// [`plan_batches`] for scoring, where order does not matter: longest first, equal lengths in the given order.
///
/// Largest batches first, so that running out of memory fails early, and items of a batch have similar lengths.
///
/// ```
/// assert_eq!(ser_data::plan_batches_by_length(&[3, 4, 9, 2, 2], 8), [vec![2], vec![1, 0], vec![3, 4]]);
/// ```
pub fn plan_batches_by_length(lengths: &[usize], token_budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<(usize, usize)> = lengths.iter().copied().enumerate().collect();
    order.sort_by_key(|&(index, length)| (std::cmp::Reverse(length), index));
    pack(order.into_iter(), token_budget)
}

/// Which of `shares` each weight belongs to, from 0, so that the shares' sums are close: the largest weights first, each to
/// the lightest share, ties to the lowest.
///
/// ```
/// assert_eq!(ser_data::balance(&[5, 4, 3, 3, 1], 2), [0, 1, 1, 0, 1]);
/// ```
pub fn balance(weights: &[usize], shares: usize) -> Vec<usize> {
    let mut order: Vec<(usize, usize)> = weights.iter().copied().enumerate().collect();
    order.sort_by_key(|&(index, weight)| (std::cmp::Reverse(weight), index));
    let mut sums = vec![0usize; shares];
    let mut share_of = vec![0; weights.len()];
    for (index, weight) in order {
        let lightest = sums.iter_mut().enumerate().min_by_key(|(share, sum)| (**sum, *share));
        if let (Some((share, sum)), Some(slot)) = (lightest, share_of.get_mut(index)) {
            *sum = sum.saturating_add(weight);
            *slot = share;
        }
    }
    share_of
}

fn pack(items: impl Iterator<Item = (usize, usize)>, token_budget: usize) -> Vec<Vec<usize>> {
    let mut batches = Vec::new();
    let mut batch = Vec::new();
    let mut tokens = 0usize;
    for (index, length) in items {
        if !batch.is_empty() && tokens.saturating_add(length) > token_budget {
            batches.push(std::mem::take(&mut batch));
            tokens = 0;
        }
        batch.push(index);
        tokens = tokens.saturating_add(length);
    }
    if !batch.is_empty() {
        batches.push(batch);
    }
    batches
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_items_give_no_batch() {
        assert!(plan_batches(&[], 8).is_empty());
        assert_eq!(plan_batches(&[5, 6], 0), [[0], [1]]);
        assert_eq!(plan_batches(&[usize::MAX, usize::MAX, 1], usize::MAX).len(), 1, "no overflow");
    }

    fn check(batches: &[Vec<usize>], lengths: &[usize], budget: usize) -> Result<(), TestCaseError> {
        let mut seen: Vec<usize> = batches.concat();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        for batch in batches {
            prop_assert!(!batch.is_empty());
            prop_assert!(batch.len() == 1 || batch.iter().map(|&i| lengths[i]).sum::<usize>() <= budget);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_index_once_and_under_the_budget(
            lengths in prop::collection::vec(0usize..40, 0..60), budget in 0usize..100,
        ) {
            let batches = plan_batches(&lengths, budget);
            check(&batches, &lengths, budget)?;
            prop_assert!(batches.concat().windows(2).all(|w| w[0] < w[1]), "the given order");
            // Greedy: the first item of the next batch did not fit.
            for pair in batches.windows(2) {
                let tokens: usize = pair[0].iter().map(|&i| lengths[i]).sum();
                prop_assert!(tokens + lengths[pair[1][0]] > budget);
            }
        }

        #[test]
        fn by_length_is_a_plan_with_the_longest_first(
            lengths in prop::collection::vec(0usize..40, 0..60), budget in 0usize..100,
        ) {
            let batches = plan_batches_by_length(&lengths, budget);
            check(&batches, &lengths, budget)?;
            prop_assert!(batches.concat().windows(2).all(|w| lengths[w[0]] >= lengths[w[1]]));
        }
    }
}
