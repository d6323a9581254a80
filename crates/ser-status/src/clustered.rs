//! Wilson's interval for pairs that share prompts.

use ser_core::Clusters;

use crate::binomial::{normal_two_sided, student_two_sided, wilson};
use crate::{Interval, Proportion, StatusError};

/// Wilson's score interval for the share of `true` among outcomes of pairs, which may share prompts; `None` without
/// outcomes. If no two pairs share a prompt it equals [`Proportion::wilson`].
///
/// Pairs of one prompt are not independent, so n pairs count as an effective number of independent ones: n times the
/// ratio of the variance of independent pairs to the variance between the G clusters,
/// G / (G - 1) sum of (right - share * pairs)^2 / n^2, and times the squared ratio of Student's quantiles with n - 1 and
/// G - 1 degrees of freedom (Korn and Graubard, 1998, Survey Methodology 24, for Wilson's interval: Dean and Pagano, 2015,
/// J. Surv. Stat. Methodol. 3). It is at most n, and G if the outcomes are all equal. With fewer than two clusters the
/// interval is [0, 1].
///
/// Like Wilson's interval this is approximate; for a guarantee see
/// [`PrecisionTarget`](crate::PrecisionTarget).
///
/// # Errors
/// [`StatusError::LengthMismatch`] if the clusters have another number of pairs, [`StatusError::SettingOutOfRange`]
/// unless `confidence` is strictly between 0 and 1.
pub fn wilson_by_cluster(
    outcomes: &[bool],
    clusters: Clusters<'_>,
    confidence: f64,
) -> Result<Option<Interval>, StatusError> {
    check_ids(outcomes.len(), clusters)?;
    let z = normal_two_sided(confidence)?;
    let total = Proportion { count: outcomes.iter().filter(|right| **right).count(), of: outcomes.len() };
    let Some(share) = total.share() else { return Ok(None) };
    let index = clusters.index(0..outcomes.len());
    if index.count == outcomes.len() {
        return total.wilson(confidence);
    }
    if index.count < 2 {
        return Ok(Some(Interval { low: 0.0, high: 1.0 }));
    }
    let (n, count) = (outcomes.len() as f64, index.count as f64);
    let residuals = index.sums(outcomes.iter().map(|&right| f64::from(u8::from(right)) - share));
    let squares: f64 = residuals.iter().map(|e| e * e).sum();
    let effective = if total.count == 0 || total.count == total.of {
        count
    } else {
        let variance = count / (count - 1.0) * squares / (n * n);
        let of_independent = share * (1.0 - share) / (n - 1.0);
        let quantiles = student_two_sided(confidence, n - 1.0)? / student_two_sided(confidence, count - 1.0)?;
        // A variance of 0 (the same share in every cluster) gives an infinity, which becomes n.
        (n * of_independent / variance * quantiles * quantiles).min(n)
    };
    Ok(Some(wilson(share, effective, z)))
}

/// Checks that there is one id per pair.
pub(crate) fn check_ids(pairs: usize, clusters: Clusters<'_>) -> Result<(), StatusError> {
    match clusters.ids() {
        Some(got) if got != pairs => {
            Err(StatusError::LengthMismatch { what: "the list of cluster ids", got, expected: pairs })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    #[test]
    fn singletons_have_the_interval_of_wilson() {
        let outcomes: Vec<bool> = (0..10).map(|i| i < 8).collect();
        let expected = Proportion { count: 8, of: 10 }.wilson(0.95).unwrap();
        assert_eq!(wilson_by_cluster(&outcomes, Clusters::Singletons, 0.95).unwrap(), expected);
        let ids: Vec<u64> = (0..10).collect();
        assert_eq!(wilson_by_cluster(&outcomes, Clusters::Ids(&ids), 0.95).unwrap(), expected);
        assert_eq!(wilson_by_cluster(&[], Clusters::Singletons, 0.95).unwrap(), None);
    }

    #[test]
    fn clusters_with_equal_outcomes_count_once() {
        // 100 prompts of 10 pairs with the same outcome: close to 100 independent pairs.
        let outcomes = |pairs: usize| (0..100 * pairs).map(|i| i / pairs % 5 < 4).collect::<Vec<bool>>();
        let ids: Vec<u64> = (0..1000).map(|i| i / 10).collect();
        let clustered = wilson_by_cluster(&outcomes(10), Clusters::Ids(&ids), 0.95).unwrap().unwrap();
        let once = wilson_by_cluster(&outcomes(1), Clusters::Singletons, 0.95).unwrap().unwrap();
        assert_abs_diff_eq!(clustered.low, once.low, epsilon = 2e-3);
        assert_abs_diff_eq!(clustered.high, once.high, epsilon = 2e-3);
        // All right: they count as the number of prompts.
        let all = wilson_by_cluster(&[true; 1000], Clusters::Ids(&ids), 0.95).unwrap();
        assert_eq!(all, Proportion { count: 100, of: 100 }.wilson(0.95).unwrap());
    }

    #[test]
    fn extreme_clusters() {
        let one = wilson_by_cluster(&[true; 9], Clusters::Ids(&[5; 9]), 0.95).unwrap();
        assert_eq!(one, Some(Interval { low: 0.0, high: 1.0 }));
        // Half of each prompt right: no variance between prompts, so they count as n pairs.
        let outcomes: Vec<bool> = (0..40).map(|i| i % 2 == 0).collect();
        let ids: Vec<u64> = (0..40).map(|i| i / 4).collect();
        let even = wilson_by_cluster(&outcomes, Clusters::Ids(&ids), 0.95).unwrap();
        assert_eq!(even, Proportion { count: 20, of: 40 }.wilson(0.95).unwrap());
        let error = wilson_by_cluster(&outcomes, Clusters::Ids(&ids[1..]), 0.95).unwrap_err().to_string();
        assert_eq!(
            error,
            "the list of cluster ids has 39 entries for 40 pairs: give one for each pair, in the same order"
        );
        assert!(wilson_by_cluster(&outcomes, Clusters::Singletons, 1.0).is_err());
    }
}
