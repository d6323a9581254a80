//! The relation of the two statuses of Eq. 3 under each anchor.

use crate::{Anchor, CheckedThresholds, ConfidentAnswers, Thresholds};

impl Anchor {
    /// The largest Delta of a pair outside of Status 1 under this anchor.
    ///
    /// Status 2 reaches pairs that Status 1 does not reach if and only if tau_delta is under this limit. With p_high and
    /// p_low the two probabilities of the pair:
    ///
    /// | anchor | condition of Status 1 | limit |
    /// |---|---|---|
    /// | `none`, `pool_mean`, `fitted` | p_high > tau_high and p_low < tau_low | max(tau_high, 1 - tau_low): both probabilities may be on one side of the thresholds |
    /// | the same, `status1 = "one_answer"` | p_high > tau_high or p_low < tau_low | tau_high - tau_low |
    /// | `per_pair` | p_high > max(tau_high, 1 - tau_low), since p_low = 1 - p_high | 2 max(tau_high, 1 - tau_low) - 1 |
    /// | the same, `status1 = "one_answer"` | p_high > min(tau_high, 1 - tau_low) | 2 min(tau_high, 1 - tau_low) - 1, at least 0 |
    ///
    /// Under `per_pair` both statuses are thresholds of the margin alone, since Delta = tanh(|r_A - r_B| / 4). So with
    /// the thresholds of the authors' code (0.55, 0.45, 0.3) Status 1 selects margins over 0.401 and Status 2 margins over
    /// 1.238: Status 2 selects the easier pairs, and not the more ambiguous ones as in the paper.
    pub fn status2_limit(self, thresholds: CheckedThresholds) -> f64 {
        let Thresholds { tau_high, tau_low, status1, .. } = thresholds.get();
        match (self, status1) {
            (Anchor::PerPair, ConfidentAnswers::Both) => 2.0 * tau_high.max(1.0 - tau_low) - 1.0,
            (Anchor::PerPair, ConfidentAnswers::One) => (2.0 * tau_high.min(1.0 - tau_low) - 1.0).max(0.0),
            (_, ConfidentAnswers::Both) => tau_high.max(1.0 - tau_low),
            (_, ConfidentAnswers::One) => tau_high - tau_low,
        }
    }

    /// Whether Status 2 selects only pairs that Status 1 selects too, whatever the scores: it then cannot reach more
    /// ambiguous pairs. True if tau_delta is not under [`status2_limit`](Self::status2_limit).
    pub fn status2_within_status1(self, thresholds: CheckedThresholds) -> bool {
        // Equal thresholds may differ in the last digit: 2 * 0.55 - 1 is 0.10000000000000009.
        thresholds.get().tau_delta > self.status2_limit(thresholds) - 1e-9
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

    use super::*;
    use crate::{Status1Rule, Status2Rule};
    use ser_core::{LearningStatus, PairScores};

    const ANCHORS: [Anchor; 4] = [Anchor::None, Anchor::PoolMean, Anchor::PerPair, Anchor::Fitted];

    fn thresholds(tau_high: f64, tau_low: f64, tau_delta: f64, status1: ConfidentAnswers) -> CheckedThresholds {
        Thresholds { tau_high, tau_low, tau_delta, status1 }.check().unwrap()
    }

    #[test]
    fn the_thresholds_of_the_authors_code_by_hand() {
        let default = Thresholds::default().check().unwrap();
        assert!(!Anchor::None.status2_within_status1(default), "(0.95, 0.6) has Status 2 alone");
        assert!(Anchor::PerPair.status2_within_status1(default), "margins over 1.238 against 0.401");
        assert_abs_diff_eq!(Anchor::PerPair.status2_limit(default), 0.1, epsilon = 1e-12);
        // At the limit both statuses select the same.
        assert!(Anchor::PerPair.status2_within_status1(thresholds(0.55, 0.45, 0.1, ConfidentAnswers::Both)));
        assert!(!Anchor::PerPair.status2_within_status1(thresholds(0.65, 0.35, 0.1, ConfidentAnswers::Both)));
        // Of two answers 0.3 apart one is always over 0.55 or under 0.45.
        assert!(Anchor::None.status2_within_status1(thresholds(0.55, 0.45, 0.3, ConfidentAnswers::One)));
        assert!(!Anchor::None.status2_within_status1(thresholds(0.9, 0.1, 0.3, ConfidentAnswers::One)));
        assert!(Anchor::None.status2_within_status1(thresholds(0.55, 0.45, 0.55, ConfidentAnswers::Both)));
    }

    #[test]
    fn the_limit_agrees_with_a_grid_of_scores() {
        let scores: Vec<_> = (-60..=60)
            .flat_map(|a| (-60..=60).map(move |b| PairScores::new(f64::from(a) / 10.0, f64::from(b) / 10.0)))
            .collect();
        for anchor in ANCHORS {
            // The mean of the grid is 0, so no anchor moves it.
            let pool = crate::FittedAnchor { anchor, offset: 0.0, temperature: 1.0 }.apply(&scores);
            for status1 in [ConfidentAnswers::Both, ConfidentAnswers::One] {
                for (high, low) in [(0.55, 0.45), (0.8, 0.3), (0.6, 0.1), (0.5, 0.5), (0.4, 0.2), (0.9, 0.9)] {
                    for tau in (0..20).map(|i| f64::from(i) / 20.0 + 0.013) {
                        let t = thresholds(high, low, tau, status1);
                        let keeps = |status: LearningStatus| status != LearningStatus::Stop;
                        let only_2 = pool
                            .iter()
                            .filter(|p| keeps(Status2Rule(t).status(**p)) && !keeps(Status1Rule(t).status(**p)))
                            .count();
                        let within = anchor.status2_within_status1(t);
                        assert!(!(within && only_2 > 0), "{anchor:?} {t:?}: {only_2}");
                        // The grid is finite: close to the limit it may have no such pair.
                        let clearly = tau < anchor.status2_limit(t) - 0.07;
                        assert!(!(clearly && only_2 == 0), "{anchor:?} {t:?}");
                    }
                }
            }
        }
    }
}
