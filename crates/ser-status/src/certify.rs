//! Thresholds for a wanted precision of the pseudo-labels, with a guarantee (learn then test).

use ser_core::{Clusters, PairProbabilities, Side};
use serde::{Deserialize, Serialize};

use crate::clustered::check_ids;
use crate::sweep::count;
use crate::{Proportion, Status2Rule, StatusError, Thresholds, binomial};

/// The wanted precision of pseudo-labels, and the probability with which it may fail.
///
/// **What is tested.** For each candidate tau, the hypothesis "a pair with Delta > tau is labelled right with
/// probability under `precision`". Pairs of one prompt are not independent, so one held-out pair is drawn per prompt, by
/// a hash of prompt and `seed`, and the others are not used. Among n drawn pairs over tau the number of wrong labels is
/// then, under the hypothesis, stochastically no smaller than Binomial(n, 1 - `precision`), so with k wrong labels
/// P(Binomial(n, 1 - `precision`) <= k) is a valid p-value (Clopper and Pearson's exact test); a tau that no drawn
/// pair exceeds has p-value 1.
///
/// **What is guaranteed.** The family of tests is corrected so that with probability at least 1 - `delta` over the
/// draw of the held-out prompts, *every* certified tau has a true precision of at least `precision` (learn then
/// test, Angelopoulos et al. 2021). This is exact for any number of held-out prompts, any dependence within a prompt and
/// any model, on three conditions: the held-out prompts are independent draws of the distribution that the pool's
/// prompts come from; neither the model nor the anchor was fitted on them; candidates and `seed` do not depend on their
/// labels. The precision is that of a pair found by drawing a prompt and then one of its pairs; where
/// prompts have unequal numbers of pairs, the share over all pairs gives prompts with many pairs more weight and may
/// differ from it. The guarantee is on the expected precision of the pool; on one pool with m selected prompts the share
/// itself varies, by about sqrt(`precision` (1 - `precision`) / m).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrecisionTarget {
    /// The wanted precision, strictly between 0 and 1. Default 0.9.
    pub precision: f64,
    /// The probability with which the guarantee may fail, strictly between 0 and 1. Default 0.1.
    pub delta: f64,
    /// The candidate thresholds.
    pub candidates: Candidates,
    /// Correction for testing many thresholds.
    pub correction: Correction,
    /// Seed of the draw of one held-out pair per prompt. Default 0.
    pub seed: u64,
}

/// The candidates for tau_delta.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidates {
    /// These numbers, each in [0, 1].
    Taus(Vec<f64>),
    /// The thresholds that would select these shares of the unlabelled pool, each in (0, 1]. The scores of the pool do not
    /// depend on the held-out labels, so the guarantee holds.
    Coverage(Vec<f64>),
}

/// Correction for testing many thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Each candidate is tested at level delta / number of candidates.
    Bonferroni,
    /// Candidates are tested from the strictest down, each at level delta, up to the first that is not certified.
    /// Certifies more than Bonferroni if the strictest candidate has enough held-out prompts: at least
    /// ln(delta) / ln(precision) of them (22 for 0.1 and 0.9), all right. Otherwise it certifies nothing.
    FixedSequence,
}

impl Default for PrecisionTarget {
    fn default() -> Self {
        PrecisionTarget {
            precision: 0.9,
            delta: 0.1,
            candidates: Candidates::Coverage((1..=10).map(|tenth| f64::from(tenth) / 10.0).collect()),
            correction: Correction::Bonferroni,
            seed: 0,
        }
    }
}

/// The test of one candidate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The threshold.
    pub tau_delta: f64,
    /// The correctly labelled pairs, of the drawn held-out pairs (one per prompt) with Delta over the threshold.
    pub held_out: Proportion,
    /// The p-value of the hypothesis that the precision is too low.
    pub p_value: f64,
    /// Whether this hypothesis is rejected after the correction.
    pub certified: bool,
}

/// A threshold with the wanted precision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certified {
    /// Select pairs with Delta over this ([`Status2Rule`]).
    pub tau_delta: f64,
    /// The correctly labelled pairs, of the drawn held-out pairs (one per prompt) that it selects.
    pub held_out: Proportion,
}

/// The results of the tests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Certification {
    /// The smallest certified threshold, which selects the most pairs; `None` if none can be certified: the model is not
    /// good enough, or there are too few held-out prompts.
    pub chosen: Option<Certified>,
    /// The number of held-out pairs.
    pub held_out_pairs: usize,
    /// The number of their prompts; one pair of each was used.
    pub held_out_prompts: usize,
    /// The tests of all candidates, the strictest first.
    pub trials: Vec<Trial>,
}

impl PrecisionTarget {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`StatusError::SettingOutOfRange`], [`StatusError::EmptySetting`], [`StatusError::ThresholdOutOfRange`].
    pub fn check(self) -> Result<CheckedPrecisionTarget, StatusError> {
        for (name, value) in [("precision", self.precision), ("delta", self.delta)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(StatusError::SettingOutOfRange { name, value, range: "strictly between 0 and 1" });
            }
        }
        self.candidates.check()?;
        Ok(CheckedPrecisionTarget(self))
    }
}

/// A checked precision target, made by [`PrecisionTarget::check`].
#[derive(Clone, Debug, PartialEq)]
pub struct CheckedPrecisionTarget(PrecisionTarget);

impl CheckedPrecisionTarget {
    /// The settings.
    pub fn get(&self) -> &PrecisionTarget {
        &self.0
    }

    /// Tests the candidates. `pool`: the anchored probabilities of the unlabelled pool, read by
    /// [`Candidates::Coverage`] alone. `held_out`: those of labelled pairs, with the side that is preferred; `clusters`
    /// groups these pairs by prompt.
    ///
    /// # Errors
    /// [`StatusError::LengthMismatch`] if the clusters have another number of pairs; [`StatusError::EmptyPool`] if
    /// candidates are shares of a pool with no finite Delta.
    pub fn certify(
        &self,
        pool: &[PairProbabilities],
        held_out: &[(PairProbabilities, Side)],
        clusters: Clusters<'_>,
    ) -> Result<Certification, StatusError> {
        check_ids(held_out.len(), clusters)?;
        let drawn = self.one_per_cluster(held_out.len(), clusters);
        let (pairs, gold): (Vec<_>, Vec<_>) =
            drawn.iter().filter_map(|&position| held_out.get(position)).map(|&(pair, side)| (pair, Some(side))).unzip();
        let taus = self.0.candidates.taus(pool)?;
        let mut trials = Vec::with_capacity(taus.len());
        for tau_delta in taus {
            let rule = Status2Rule(Thresholds { tau_delta, ..Thresholds::default() }.check()?);
            let (_, held_out) = count(&pairs, &gold, &rule)?;
            let wrong = held_out.of - held_out.count;
            let p_value = binomial::cumulative(wrong, held_out.of, 1.0 - self.0.precision);
            trials.push(Trial { tau_delta, held_out, p_value, certified: false });
        }
        let each = self.0.delta / trials.len() as f64;
        match self.0.correction {
            Correction::Bonferroni => trials.iter_mut().for_each(|trial| trial.certified = trial.p_value <= each),
            Correction::FixedSequence => trials
                .iter_mut()
                .take_while(|trial| trial.p_value <= self.0.delta)
                .for_each(|trial| trial.certified = true),
        }
        let chosen = trials.iter().rfind(|trial| trial.certified);
        let chosen = chosen.map(|trial| Certified { tau_delta: trial.tau_delta, held_out: trial.held_out });
        Ok(Certification { chosen, held_out_pairs: held_out.len(), held_out_prompts: drawn.len(), trials })
    }

    /// The position of one pair of each cluster, drawn by a hash of the cluster's id, without labels or scores.
    fn one_per_cluster(&self, pairs: usize, clusters: Clusters<'_>) -> Vec<usize> {
        let draw = |positions: &Vec<usize>| {
            let id = clusters.id(*positions.first()?)?;
            // Of up to 2^32 pairs per prompt, each is drawn with the same probability, to within 2^-32.
            let draw = hash(hash(self.0.seed) ^ id) % positions.len() as u64;
            positions.get(draw as usize).copied()
        };
        clusters.index(0..pairs).members().iter().filter_map(draw).collect()
    }
}

/// The output function of SplitMix64, which mixes the bits of its input.
fn hash(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Candidates {
    fn check(&self) -> Result<(), StatusError> {
        let (list, name) = match self {
            Candidates::Taus(list) => (list, "candidates.taus"),
            Candidates::Coverage(list) => (list, "candidates.coverage"),
        };
        if list.is_empty() {
            return Err(StatusError::EmptySetting { name });
        }
        for &value in list {
            match self {
                Candidates::Taus(_) => drop(Thresholds { tau_delta: value, ..Thresholds::default() }.check()?),
                Candidates::Coverage(_) if value > 0.0 && value <= 1.0 => {}
                Candidates::Coverage(_) => {
                    return Err(StatusError::SettingOutOfRange { name, value, range: "over 0 and at most 1" });
                }
            }
        }
        Ok(())
    }

    /// The thresholds without repetitions, the strictest first.
    fn taus(&self, pool: &[PairProbabilities]) -> Result<Vec<f64>, StatusError> {
        let mut taus = match self {
            Candidates::Taus(taus) => taus.clone(),
            Candidates::Coverage(shares) => {
                let mut deltas: Vec<f64> =
                    pool.iter().map(|pair| pair.delta()).filter(|d| (0.0..=1.0).contains(d)).collect();
                if deltas.is_empty() {
                    return Err(StatusError::EmptyPool);
                }
                deltas.sort_unstable_by(|x, y| y.total_cmp(x));
                shares.iter().map(|&share| at_coverage(&deltas, share)).collect()
            }
        };
        taus.sort_unstable_by(|x, y| y.total_cmp(x));
        taus.dedup();
        Ok(taus)
    }
}

/// The tau that this share of the Deltas exceeds; they are sorted in descending order.
fn at_coverage(deltas: &[f64], share: f64) -> f64 {
    // For the whole pool no Delta of the pool is small enough; a Delta of 0, a tie, is never selected.
    deltas.get((share * deltas.len() as f64) as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;

    fn pair(delta: f64) -> PairProbabilities {
        PairProbabilities::unchecked(delta, 0.0)
    }

    /// `n` pairs with this Delta, the first `wrong` of them labelled wrong.
    fn held_out(delta: f64, n: usize, wrong: usize) -> Vec<(PairProbabilities, Side)> {
        (0..n).map(|i| (pair(delta), if i < wrong { Side::B } else { Side::A })).collect()
    }

    fn target(taus: &[f64], correction: Correction) -> PrecisionTarget {
        PrecisionTarget { candidates: Candidates::Taus(taus.to_vec()), correction, ..PrecisionTarget::default() }
    }

    fn checked(taus: &[f64], correction: Correction) -> CheckedPrecisionTarget {
        target(taus, correction).check().unwrap()
    }

    #[test]
    fn p_values_by_hand() {
        // No wrong label of 22 at 0.9: 0.9^22 = 0.0985 certifies at 0.1; of 21: 0.9^21 = 0.1094 does not.
        let one = checked(&[0.5], Correction::FixedSequence);
        let certification = one.certify(&[], &held_out(0.8, 22, 0), Clusters::Singletons).unwrap();
        assert_abs_diff_eq!(certification.trials[0].p_value, 0.9f64.powi(22), epsilon = 1e-12);
        assert_eq!(certification.chosen.unwrap().tau_delta, 0.5);
        let refused = one.certify(&[], &held_out(0.8, 21, 0), Clusters::Singletons).unwrap();
        assert_eq!(refused.chosen, None);
        assert_eq!(one.certify(&[], &[], Clusters::Singletons).unwrap().trials[0].p_value, 1.0);
    }

    #[test]
    fn one_pair_of_each_prompt_is_tested() {
        // 220 right pairs of 22 prompts count as 22 pairs.
        let ids: Vec<u64> = (0..220).map(|i| i / 10).collect();
        let one = checked(&[0.5], Correction::FixedSequence);
        let certification = one.certify(&[], &held_out(0.8, 220, 0), Clusters::Ids(&ids)).unwrap();
        assert_eq!(certification.trials[0].held_out, Proportion { count: 22, of: 22 });
        assert_eq!((certification.held_out_pairs, certification.held_out_prompts), (220, 22));
        let refused = one.certify(&[], &held_out(0.8, 210, 0), Clusters::Ids(&ids[..210])).unwrap();
        assert_eq!(refused.chosen, None);
        let error = one.certify(&[], &held_out(0.8, 9, 0), Clusters::Ids(&ids)).unwrap_err().to_string();
        assert!(error.starts_with("the list of cluster ids has 220 entries for 9 pairs"), "{error}");
    }

    #[test]
    fn all_pairs_of_a_prompt_are_drawn_equally_often() {
        let ids: Vec<u64> = (0..40_000).map(|i| i / 4).collect();
        let mut counts = [0; 4];
        for position in PrecisionTarget::default().check().unwrap().one_per_cluster(ids.len(), Clusters::Ids(&ids)) {
            counts[position % 4] += 1;
        }
        // 2500 each, standard deviation 43.
        assert!(counts.iter().all(|count| (2350..2650).contains(count)), "{counts:?}");
        let other = PrecisionTarget { seed: 1, ..PrecisionTarget::default() };
        let [one, two] = [PrecisionTarget::default(), other]
            .map(|t| t.check().unwrap().one_per_cluster(4000, Clusters::Ids(&ids[..4000])));
        let same = one.iter().zip(&two).filter(|(a, b)| a == b).count();
        assert!((200..300).contains(&same), "{same} of 1000");
    }

    #[test]
    fn the_corrections_differ_as_documented() {
        // Over 0.7: 10 right pairs, too few. Over 0.3: 60 right pairs.
        let mut pairs = held_out(0.8, 10, 0);
        pairs.extend(held_out(0.4, 50, 0));
        let sequence =
            checked(&[0.3, 0.7], Correction::FixedSequence).certify(&[], &pairs, Clusters::Singletons).unwrap();
        assert_eq!(sequence.chosen, None, "the strictest already fails");
        let bonferroni =
            checked(&[0.3, 0.7], Correction::Bonferroni).certify(&[], &pairs, Clusters::Singletons).unwrap();
        assert_eq!(bonferroni.chosen.unwrap().tau_delta, 0.3);
        // 40 right over 0.7, 22 more right: each at most 0.1 but not 0.05 / 2 with 2 wrong.
        let mut pairs = held_out(0.8, 40, 0);
        pairs.extend(held_out(0.4, 15, 2));
        let sequence =
            checked(&[0.3, 0.7], Correction::FixedSequence).certify(&[], &pairs, Clusters::Singletons).unwrap();
        assert_eq!(sequence.chosen.unwrap().tau_delta, 0.3, "{sequence:?}");
        let bonferroni =
            checked(&[0.3, 0.7], Correction::Bonferroni).certify(&[], &pairs, Clusters::Singletons).unwrap();
        assert_eq!(bonferroni.chosen.unwrap().tau_delta, 0.7, "{bonferroni:?}");
    }

    #[test]
    fn coverage_candidates_come_from_the_pool() {
        let pool: Vec<_> = (0..10).map(|i| pair(f64::from(i) / 10.0)).chain([pair(f64::NAN)]).collect();
        let taus = Candidates::Coverage(vec![0.2, 1.0, 0.5]).taus(&pool).unwrap();
        assert_eq!(taus, [0.7, 0.4, 0.0], "0.9 and 0.8 exceed 0.7");
        let empty = PrecisionTarget::default().check().unwrap().certify(&[pair(f64::NAN)], &[], Clusters::Singletons);
        assert!(matches!(empty, Err(StatusError::EmptyPool)));
    }

    #[test]
    fn bad_settings_are_named() {
        let message = |t: PrecisionTarget| t.check().unwrap_err().to_string();
        let default = PrecisionTarget::default;
        assert!(message(PrecisionTarget { precision: 1.0, ..default() }).starts_with("precision is 1: "));
        assert!(message(PrecisionTarget { delta: f64::NAN, ..default() }).starts_with("delta is NaN: "));
        assert!(message(target(&[], Correction::Bonferroni)).starts_with("candidates.taus is empty"));
        assert!(message(target(&[1.5], Correction::Bonferroni)).starts_with("tau_delta is 1.5: "));
        let shares = PrecisionTarget { candidates: Candidates::Coverage(vec![0.0]), ..default() };
        assert!(message(shares).starts_with("candidates.coverage is 0: "));
    }
}
