//! Thresholds for a wanted precision of the pseudo-labels, with a guarantee (learn then test).

use ser_core::{PairProbabilities, Side};
use serde::{Deserialize, Serialize};

use crate::sweep::count;
use crate::{Proportion, Status2Rule, StatusError, Thresholds, binomial};

/// The precision that pseudo-labels are wanted to have, and how sure one wants to be of it.
///
/// **What is tested.** For each candidate tau, the hypothesis "the pairs with Delta > tau are labelled right with
/// probability under `precision`". Among n held-out labelled pairs over tau, the wrong labels are then no fewer, in
/// distribution, than Binomial(n, 1 - `precision`), so with k wrong ones P(Binomial(n, 1 - `precision`) <= k) is a
/// valid p-value (Clopper and Pearson's exact test); a tau that no held-out pair passes has p-value 1.
///
/// **What is guaranteed.** The family of tests is corrected so that with probability at least 1 - `delta` over the
/// draw of the held-out pairs, *every* certified tau has a true precision of at least `precision` (learn then
/// test, Angelopoulos et al. 2021). This is exact for any number of held-out pairs and any model, on three
/// conditions: the held-out pairs are independent draws of what the pool's pairs are draws of; neither the model nor
/// the anchor was fitted on them; the candidates were not chosen by looking at them. It is about the precision
/// expected of the pool; on one pool of m selected pairs the share itself still varies, by about
/// sqrt(`precision` (1 - `precision`) / m).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrecisionTarget {
    /// The wanted precision, strictly between 0 and 1. Default 0.9.
    pub precision: f64,
    /// The probability with which the guarantee may fail, strictly between 0 and 1. Default 0.1.
    pub delta: f64,
    /// The thresholds that are tried.
    pub candidates: Candidates,
    /// How trying many is made good.
    pub correction: Correction,
}

/// The thresholds tau_delta that are tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidates {
    /// These, each in [0, 1].
    Taus(Vec<f64>),
    /// Those that would select these shares of the unlabelled pool, each in (0, 1]. The pool's scores do not depend on
    /// the held-out labels, so the guarantee holds.
    Coverage(Vec<f64>),
}

/// How trying many thresholds is made good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Each candidate is tested at level delta / number of candidates.
    Bonferroni,
    /// Candidates are tested from the strictest down, each at level delta, up to the first that is not certified.
    /// Certifies more than Bonferroni if the strictest candidate already has enough held-out pairs: at least
    /// ln(delta) / ln(precision) of them (22 for 0.1 and 0.9), all right. Nothing, if it has not.
    FixedSequence,
}

impl Default for PrecisionTarget {
    fn default() -> Self {
        PrecisionTarget {
            precision: 0.9,
            delta: 0.1,
            candidates: Candidates::Coverage((1..=10).map(|tenth| f64::from(tenth) / 10.0).collect()),
            correction: Correction::Bonferroni,
        }
    }
}

/// One candidate's test.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The threshold.
    pub tau_delta: f64,
    /// Of the held-out pairs with Delta over it, those that are labelled right.
    pub held_out: Proportion,
    /// Of the hypothesis that the precision is too low.
    pub p_value: f64,
    /// Whether that hypothesis is rejected, after the correction.
    pub certified: bool,
}

/// A threshold with the wanted precision.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Certified {
    /// Select pairs with Delta over this ([`Status2Rule`]).
    pub tau_delta: f64,
    /// Right ones among the held-out pairs that it selects.
    pub held_out: Proportion,
}

/// What came of the tests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[must_use]
pub struct Certification {
    /// The least certified threshold, which selects most; `None` if none can be certified: the model is not good
    /// enough, or there are too few held-out pairs to know.
    pub chosen: Option<Certified>,
    /// Every candidate, the strictest first.
    pub trials: Vec<Trial>,
}

impl PrecisionTarget {
    /// Tests the candidates. `pool`: the anchored probabilities of the unlabelled pool, read by
    /// [`Candidates::Coverage`] alone. `held_out`: those of labelled pairs, with the side that is preferred.
    ///
    /// # Errors
    /// [`StatusError::SettingOutOfRange`], [`StatusError::EmptySetting`], [`StatusError::ThresholdOutOfRange`];
    /// [`StatusError::EmptyPool`] if candidates are shares of a pool with no finite Delta.
    pub fn certify(
        &self,
        pool: &[PairProbabilities],
        held_out: &[(PairProbabilities, Side)],
    ) -> Result<Certification, StatusError> {
        for (name, value) in [("precision", self.precision), ("delta", self.delta)] {
            if !(value > 0.0 && value < 1.0) {
                return Err(StatusError::SettingOutOfRange { name, value, range: "strictly between 0 and 1" });
            }
        }
        let (pairs, gold): (Vec<_>, Vec<_>) = held_out.iter().map(|&(pair, side)| (pair, Some(side))).unzip();
        let taus = self.candidates.taus(pool)?;
        let mut trials = Vec::with_capacity(taus.len());
        for tau_delta in taus {
            let rule = Status2Rule(Thresholds { tau_delta, ..Thresholds::default() }.check()?);
            let (_, held_out) = count(&pairs, &gold, &rule)?;
            let wrong = held_out.of - held_out.count;
            let p_value = binomial::cumulative(wrong, held_out.of, 1.0 - self.precision);
            trials.push(Trial { tau_delta, held_out, p_value, certified: false });
        }
        let each = self.delta / trials.len() as f64;
        match self.correction {
            Correction::Bonferroni => trials.iter_mut().for_each(|trial| trial.certified = trial.p_value <= each),
            Correction::FixedSequence => trials
                .iter_mut()
                .take_while(|trial| trial.p_value <= self.delta)
                .for_each(|trial| trial.certified = true),
        }
        let chosen = trials.iter().rfind(|trial| trial.certified);
        let chosen = chosen.map(|trial| Certified { tau_delta: trial.tau_delta, held_out: trial.held_out });
        Ok(Certification { chosen, trials })
    }
}

impl Candidates {
    /// The thresholds, the strictest first, none twice.
    fn taus(&self, pool: &[PairProbabilities]) -> Result<Vec<f64>, StatusError> {
        let (list, name) = match self {
            Candidates::Taus(list) => (list, "candidates.taus"),
            Candidates::Coverage(list) => (list, "candidates.coverage"),
        };
        if list.is_empty() {
            return Err(StatusError::EmptySetting { name });
        }
        let mut taus = match self {
            Candidates::Taus(taus) => taus.clone(),
            Candidates::Coverage(shares) => {
                let mut deltas: Vec<f64> =
                    pool.iter().map(|pair| pair.delta()).filter(|d| (0.0..=1.0).contains(d)).collect();
                deltas.sort_unstable_by(|x, y| y.total_cmp(x));
                shares.iter().map(|&share| at_coverage(&deltas, share, name)).collect::<Result<_, _>>()?
            }
        };
        taus.sort_unstable_by(|x, y| y.total_cmp(x));
        taus.dedup();
        Ok(taus)
    }
}

/// The tau that this share of the pool's Deltas, sorted from the greatest, exceeds.
fn at_coverage(deltas: &[f64], share: f64, name: &'static str) -> Result<f64, StatusError> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(StatusError::SettingOutOfRange { name, value: share, range: "over 0 and at most 1" });
    }
    if deltas.is_empty() {
        return Err(StatusError::EmptyPool);
    }
    // The whole pool exceeds no Delta of its own; a Delta of 0, a tie, is never selected.
    Ok(deltas.get((share * deltas.len() as f64) as usize).copied().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(delta: f64) -> PairProbabilities {
        PairProbabilities::unchecked(delta, 0.0)
    }

    /// `n` pairs at a Delta, the first `wrong` of them labelled wrong.
    fn held_out(delta: f64, n: usize, wrong: usize) -> Vec<(PairProbabilities, Side)> {
        (0..n).map(|i| (pair(delta), if i < wrong { Side::B } else { Side::A })).collect()
    }

    fn target(taus: &[f64], correction: Correction) -> PrecisionTarget {
        PrecisionTarget { candidates: Candidates::Taus(taus.to_vec()), correction, ..PrecisionTarget::default() }
    }

    #[test]
    fn p_values_by_hand() {
        // No wrong one of 22 at 0.9: 0.9^22 = 0.0985 certifies at 0.1; of 21: 0.9^21 = 0.1094 does not.
        let one = target(&[0.5], Correction::FixedSequence);
        let certification = one.certify(&[], &held_out(0.8, 22, 0)).unwrap();
        assert!((certification.trials[0].p_value - 0.9f64.powi(22)).abs() < 1e-12);
        assert_eq!(certification.chosen.unwrap().tau_delta, 0.5);
        let refused = one.certify(&[], &held_out(0.8, 21, 0)).unwrap();
        assert_eq!(refused.chosen, None);
        assert_eq!(one.certify(&[], &[]).unwrap().trials[0].p_value, 1.0);
    }

    #[test]
    fn the_corrections_differ_as_documented() {
        // Over 0.7: 10 right ones, too few. Over 0.3: 60 right ones.
        let mut pairs = held_out(0.8, 10, 0);
        pairs.extend(held_out(0.4, 50, 0));
        let sequence = target(&[0.3, 0.7], Correction::FixedSequence).certify(&[], &pairs).unwrap();
        assert_eq!(sequence.chosen, None, "the strictest already fails");
        let bonferroni = target(&[0.3, 0.7], Correction::Bonferroni).certify(&[], &pairs).unwrap();
        assert_eq!(bonferroni.chosen.unwrap().tau_delta, 0.3);
        // 40 right over 0.7, 22 more right: each at most 0.1 but not 0.05 / 2 with 2 wrong.
        let mut pairs = held_out(0.8, 40, 0);
        pairs.extend(held_out(0.4, 15, 2));
        let sequence = target(&[0.3, 0.7], Correction::FixedSequence).certify(&[], &pairs).unwrap();
        assert_eq!(sequence.chosen.unwrap().tau_delta, 0.3, "{sequence:?}");
        let bonferroni = target(&[0.3, 0.7], Correction::Bonferroni).certify(&[], &pairs).unwrap();
        assert_eq!(bonferroni.chosen.unwrap().tau_delta, 0.7, "{bonferroni:?}");
    }

    #[test]
    fn coverage_candidates_come_from_the_pool() {
        let pool: Vec<_> = (0..10).map(|i| pair(f64::from(i) / 10.0)).chain([pair(f64::NAN)]).collect();
        let taus = Candidates::Coverage(vec![0.2, 1.0, 0.5]).taus(&pool).unwrap();
        assert_eq!(taus, [0.7, 0.4, 0.0], "0.9 and 0.8 exceed 0.7");
        let empty = PrecisionTarget::default().certify(&[pair(f64::NAN)], &[]);
        assert!(matches!(empty, Err(StatusError::EmptyPool)));
    }

    #[test]
    fn bad_settings_are_named() {
        let message = |t: PrecisionTarget| t.certify(&[], &[]).unwrap_err().to_string();
        let default = PrecisionTarget::default;
        assert!(message(PrecisionTarget { precision: 1.0, ..default() }).starts_with("precision is 1: "));
        assert!(message(PrecisionTarget { delta: f64::NAN, ..default() }).starts_with("delta is NaN: "));
        assert!(message(target(&[], Correction::Bonferroni)).starts_with("candidates.taus is empty"));
        assert!(message(target(&[1.5], Correction::Bonferroni)).starts_with("tau_delta is 1.5: "));
        let shares = PrecisionTarget { candidates: Candidates::Coverage(vec![0.0]), ..default() };
        assert!(message(shares).starts_with("candidates.coverage is 0: "));
    }
}
