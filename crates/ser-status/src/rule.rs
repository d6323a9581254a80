//! Rules that give each pair its learning status (Eq. 3), and their combinations.
//!
//! Every rule gives [`LearningStatus::Stop`] to a pair with a NaN or an infinity.

use rayon::prelude::*;
use ser_core::{LearningStatus, PairProbabilities, StatusRule};
use serde::{Deserialize, Serialize};

use crate::{CheckedThresholds, StatusError};

/// Under this many pairs a second thread costs more than it brings.
pub(crate) const MIN_PAIRS_PER_JOB: usize = 16 * 1024;

/// Whether both numbers are probabilities at all.
fn probabilities(pair: PairProbabilities) -> bool {
    (0.0..=1.0).contains(&pair.a.get()) && (0.0..=1.0).contains(&pair.b.get())
}

fn keep_if(kept: bool, status: LearningStatus) -> LearningStatus {
    if kept { status } else { LearningStatus::Stop }
}

macro_rules! threshold_rule {
    ($(#[$doc:meta])* $name:ident, $pair:ident, $thresholds:ident => $status:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name(pub CheckedThresholds);

        impl $name {
            /// The status of one pair.
            pub fn status(&self, $pair: PairProbabilities) -> LearningStatus {
                let $thresholds = &self.0;
                $status
            }
        }

        impl StatusRule for $name {
            type Error = StatusError;

            fn classify(&self, pairs: &[PairProbabilities]) -> Result<Vec<LearningStatus>, StatusError> {
                Ok(pairs.par_iter().with_min_len(MIN_PAIRS_PER_JOB).map(|&pair| self.status(pair)).collect())
            }
        }
    };
}

threshold_rule! {
    /// Status 1 only: one answer over tau_high and the other under tau_low, or one answer confident where the thresholds
    /// say so ([`ConfidentAnswers`](crate::ConfidentAnswers)). Numbers outside [0, 1] get Stop.
    Status1Rule, pair, t => keep_if(probabilities(pair) && t.status1(pair), LearningStatus::Status1)
}

threshold_rule! {
    /// Status 2 only: Delta over tau_delta, whether or not the pair has Status 1 too. Numbers outside [0, 1] get Stop.
    Status2Rule, pair, t => keep_if(probabilities(pair) && t.status2(pair), LearningStatus::Status2)
}

threshold_rule! {
    /// Eq. 3: Status 1, else Status 2, else Stop. Numbers outside [0, 1] get Stop.
    PaperRule, pair, t => match Status1Rule(*t).status(pair) {
        LearningStatus::Stop => Status2Rule(*t).status(pair),
        status => status,
    }
}

threshold_rule! {
    /// The authors' filter (`rm_loop_filter_by_self.py`), pair by pair. On probabilities it says what [`PaperRule`]
    /// says; as in the authors' code, any other finite numbers are compared all the same.
    AuthorsCodeRule, pair, t => if pair.a.get().is_finite() && pair.b.get().is_finite() {
        if t.status1(pair) {
            LearningStatus::Status1
        } else {
            keep_if(t.status2(pair), LearningStatus::Status2)
        }
    } else {
        LearningStatus::Stop
    }
}

/// Keeps what both rules keep, with the first rule's status.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct And<A, B>(pub A, pub B);

/// Keeps what either rule keeps, with the status of the first that does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Or<A, B>(pub A, pub B);

impl<A: StatusRule, B: StatusRule> StatusRule for And<A, B> {
    type Error = StatusError;

    fn classify(&self, pairs: &[PairProbabilities]) -> Result<Vec<LearningStatus>, StatusError> {
        zip(&self.0, &self.1, pairs, |first, second| keep_if(second.keeps(), first))
    }
}

impl<A: StatusRule, B: StatusRule> StatusRule for Or<A, B> {
    type Error = StatusError;

    fn classify(&self, pairs: &[PairProbabilities]) -> Result<Vec<LearningStatus>, StatusError> {
        zip(&self.0, &self.1, pairs, |first, second| if first.keeps() { first } else { second })
    }
}

fn zip(
    first: &impl StatusRule,
    second: &impl StatusRule,
    pairs: &[PairProbabilities],
    combine: impl Fn(LearningStatus, LearningStatus) -> LearningStatus + Send + Sync,
) -> Result<Vec<LearningStatus>, StatusError> {
    let mut statuses = classify(first, pairs)?;
    let others = classify(second, pairs)?;
    statuses
        .par_iter_mut()
        .with_min_len(MIN_PAIRS_PER_JOB)
        .zip(others)
        .for_each(|(status, other)| *status = combine(*status, other));
    Ok(statuses)
}

/// Asks a rule of anybody's and checks that it answered for every pair.
pub(crate) fn classify(
    rule: &(impl StatusRule + ?Sized),
    pairs: &[PairProbabilities],
) -> Result<Vec<LearningStatus>, StatusError> {
    let statuses = rule.classify(pairs).map_err(|error| StatusError::RuleFailed(error.into()))?;
    if statuses.len() != pairs.len() {
        return Err(StatusError::LengthMismatch {
            what: "the status rule's answer",
            got: statuses.len(),
            expected: pairs.len(),
        });
    }
    Ok(statuses)
}

/// The state of a whole reward model in a loop: by which status it filters the pool (Eq. 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopState {
    /// Pairs of Status 1.
    Status1,
    /// Pairs with Delta over tau_delta.
    Status2,
    /// Pairs of either status, as the authors' code does it.
    Either,
    /// None: training ends.
    Stop,
}

impl LoopState {
    /// The rule that filters the pool in this state.
    pub fn rule(self, thresholds: CheckedThresholds) -> LoopRule {
        LoopRule { state: self, thresholds }
    }
}

/// The rule of a [`LoopState`]: [`Status1Rule`], [`Status2Rule`], [`AuthorsCodeRule`], or nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoopRule {
    /// The state.
    pub state: LoopState,
    /// The thresholds.
    pub thresholds: CheckedThresholds,
}

impl StatusRule for LoopRule {
    type Error = StatusError;

    fn classify(&self, pairs: &[PairProbabilities]) -> Result<Vec<LearningStatus>, StatusError> {
        match self.state {
            LoopState::Status1 => Status1Rule(self.thresholds).classify(pairs),
            LoopState::Status2 => Status2Rule(self.thresholds).classify(pairs),
            LoopState::Either => AuthorsCodeRule(self.thresholds).classify(pairs),
            LoopState::Stop => Ok(vec![LearningStatus::Stop; pairs.len()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Thresholds;
    use LearningStatus::{Status1, Status2, Stop};

    fn pairs(p: &[(f64, f64)]) -> Vec<PairProbabilities> {
        p.iter().map(|&(a, b)| PairProbabilities::unchecked(a, b)).collect()
    }

    fn thresholds() -> CheckedThresholds {
        Thresholds::default().check().unwrap()
    }

    #[test]
    fn equation_3_by_hand() {
        // Sure of both; the reverse; a wide gap on one side of 0.5; near 0.5; each threshold met but not passed.
        let p = pairs(&[(0.6, 0.4), (0.4, 0.6), (0.95, 0.6), (0.52, 0.48), (0.55, 0.40), (0.60, 0.45), (0.3, 0.0)]);
        let t = thresholds();
        assert_eq!(Status1Rule(t).classify(&p).unwrap(), [Status1, Status1, Stop, Stop, Stop, Stop, Stop]);
        assert_eq!(Status2Rule(t).classify(&p).unwrap(), [Stop, Stop, Status2, Stop, Stop, Stop, Stop]);
        assert_eq!(PaperRule(t).classify(&p).unwrap(), [Status1, Status1, Status2, Stop, Stop, Stop, Stop]);
        assert_eq!(AuthorsCodeRule(t).classify(&p).unwrap(), PaperRule(t).classify(&p).unwrap());
        // 0.9 - 0.6 is 0.30000000000000004 in f64, as in Python.
        assert_eq!(PaperRule(t).classify(&pairs(&[(0.9, 0.6), (0.8, 0.5)])).unwrap(), [Status2, Status2]);
    }

    #[test]
    fn what_is_no_probability_selects_nothing() {
        let odd = pairs(&[
            (f64::NAN, 0.1),
            (0.9, f64::NAN),
            (f64::INFINITY, 0.1),
            (0.9, f64::NEG_INFINITY),
            (f64::INFINITY, f64::NEG_INFINITY),
        ]);
        let t = thresholds();
        for statuses in [
            Status1Rule(t).classify(&odd),
            Status2Rule(t).classify(&odd),
            PaperRule(t).classify(&odd),
            AuthorsCodeRule(t).classify(&odd),
        ] {
            assert_eq!(statuses.unwrap(), [Stop; 5]);
        }
        let outside = pairs(&[(1.5, 0.1), (0.9, -0.1)]);
        assert_eq!(PaperRule(t).classify(&outside).unwrap(), [Stop; 2]);
        assert_eq!(AuthorsCodeRule(t).classify(&outside).unwrap(), [Status1; 2], "the authors' filter keeps them");
    }

    #[test]
    fn rules_combine() {
        let p = pairs(&[(0.6, 0.4), (0.95, 0.6), (0.9, 0.1), (0.5, 0.5)]);
        let (one, two) = (Status1Rule(thresholds()), Status2Rule(thresholds()));
        assert_eq!(And(one, two).classify(&p).unwrap(), [Stop, Stop, Status1, Stop]);
        assert_eq!(And(two, one).classify(&p).unwrap(), [Stop, Stop, Status2, Stop]);
        assert_eq!(Or(one, two).classify(&p).unwrap(), PaperRule(thresholds()).classify(&p).unwrap());
        assert_eq!(Or(two, one).classify(&p).unwrap(), [Status1, Status2, Status2, Stop]);
    }

    #[test]
    fn a_rule_that_fails_or_miscounts_is_an_error() {
        let fails = |_: &[PairProbabilities]| Err::<Vec<LearningStatus>, _>(std::fmt::Error);
        let short = |_: &[PairProbabilities]| Ok::<_, std::fmt::Error>(vec![Status1]);
        let p = pairs(&[(0.6, 0.4), (0.6, 0.4)]);
        let one = Status1Rule(thresholds());
        assert!(matches!(Or(one, fails).classify(&p), Err(StatusError::RuleFailed(_))));
        assert!(matches!(And(short, one).classify(&p), Err(StatusError::LengthMismatch { got: 1, expected: 2, .. })));
    }

    #[test]
    fn loop_states_filter_as_their_rules() {
        let p = pairs(&[(0.6, 0.4), (0.95, 0.6), (0.5, 0.5)]);
        let of = |state: LoopState| state.rule(thresholds()).classify(&p).unwrap();
        assert_eq!(of(LoopState::Status1), [Status1, Stop, Stop]);
        assert_eq!(of(LoopState::Status2), [Stop, Status2, Stop]);
        assert_eq!(of(LoopState::Either), [Status1, Status2, Stop]);
        assert_eq!(of(LoopState::Stop), [Stop; 3]);
    }
}
