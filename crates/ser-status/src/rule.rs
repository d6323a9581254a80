//! Rules that give each pair its learning status (Eq. 3), and their combinations.
//!
//! Every rule gives [`LearningStatus::Stop`] to a pair with a NaN or an infinity.

use rayon::prelude::*;
use ser_core::{LearningStatus, PairProbabilities, PoolView, StatusRule};
use serde::{Deserialize, Serialize};

use crate::{CheckedThresholds, StatusError};

/// With fewer pairs than this a second thread costs more time than it saves.
pub(crate) const MIN_PAIRS_PER_JOB: usize = 16 * 1024;

/// Whether both numbers are in [0, 1].
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

            fn classify(&self, pool: &PoolView<'_>) -> Result<Vec<LearningStatus>, StatusError> {
                let pairs = pool.probabilities().par_iter().with_min_len(MIN_PAIRS_PER_JOB);
                Ok(pairs.map(|&pair| self.status(pair)).collect())
            }
        }
    };
}

threshold_rule! {
    /// Status 1 only: one answer over tau_high and the other under tau_low, or one confident answer if the thresholds
    /// allow it ([`ConfidentAnswers`](crate::ConfidentAnswers)). Numbers outside [0, 1] get Stop.
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
    /// The filter of the authors' code (`rm_loop_filter_by_self.py`), pair by pair. On probabilities it equals
    /// [`PaperRule`]; as in that code, other finite numbers are compared too.
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

    fn classify(&self, pool: &PoolView<'_>) -> Result<Vec<LearningStatus>, StatusError> {
        zip(&self.0, &self.1, pool, |first, second| keep_if(second.keeps(), first))
    }
}

impl<A: StatusRule, B: StatusRule> StatusRule for Or<A, B> {
    type Error = StatusError;

    fn classify(&self, pool: &PoolView<'_>) -> Result<Vec<LearningStatus>, StatusError> {
        zip(&self.0, &self.1, pool, |first, second| if first.keeps() { first } else { second })
    }
}

fn zip(
    first: &impl StatusRule,
    second: &impl StatusRule,
    pool: &PoolView<'_>,
    combine: impl Fn(LearningStatus, LearningStatus) -> LearningStatus + Send + Sync,
) -> Result<Vec<LearningStatus>, StatusError> {
    let mut statuses = classify(first, pool)?;
    let others = classify(second, pool)?;
    statuses
        .par_iter_mut()
        .with_min_len(MIN_PAIRS_PER_JOB)
        .zip(others)
        .for_each(|(status, other)| *status = combine(*status, other));
    Ok(statuses)
}

/// Classifies by any rule, and checks that there is one status per pair.
pub(crate) fn classify(
    rule: &(impl StatusRule + ?Sized),
    pool: &PoolView<'_>,
) -> Result<Vec<LearningStatus>, StatusError> {
    let statuses = rule.classify(pool).map_err(|error| StatusError::RuleFailed(error.into()))?;
    if statuses.len() != pool.len() {
        return Err(StatusError::LengthMismatch {
            what: "the status rule's answer",
            got: statuses.len(),
            expected: pool.len(),
        });
    }
    Ok(statuses)
}

/// The state of a reward model in an iteration: the status by which the pool is filtered (Eq. 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoopState {
    /// Pairs of Status 1.
    Status1,
    /// Pairs with Delta over tau_delta.
    Status2,
    /// Pairs of either status, as in the authors' code.
    Either,
    /// No pairs: the loop ends.
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

    fn classify(&self, pool: &PoolView<'_>) -> Result<Vec<LearningStatus>, StatusError> {
        match self.state {
            LoopState::Status1 => Status1Rule(self.thresholds).classify(pool),
            LoopState::Status2 => Status2Rule(self.thresholds).classify(pool),
            LoopState::Either => AuthorsCodeRule(self.thresholds).classify(pool),
            LoopState::Stop => Ok(vec![LearningStatus::Stop; pool.len()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Thresholds;
    use LearningStatus::{Status1, Status2, Stop};
    use ser_core::{BoxError, Pair, PairId, rule_fn};
    use std::sync::Arc;

    fn classify(rule: impl StatusRule, pairs: &[PairProbabilities]) -> Vec<LearningStatus> {
        rule.classify(&PoolView::new(pairs)).map_err(Into::<BoxError>::into).unwrap()
    }

    fn pairs(p: &[(f64, f64)]) -> Vec<PairProbabilities> {
        p.iter().map(|&(a, b)| PairProbabilities::unchecked(a, b)).collect()
    }

    fn thresholds() -> CheckedThresholds {
        Thresholds::default().check().unwrap()
    }

    #[test]
    fn equation_3_by_hand() {
        // Confident of both; the reverse; far apart on one side of 0.5; near 0.5; each threshold equalled but not passed.
        let p = pairs(&[(0.6, 0.4), (0.4, 0.6), (0.95, 0.6), (0.52, 0.48), (0.55, 0.40), (0.60, 0.45), (0.3, 0.0)]);
        let t = thresholds();
        assert_eq!(classify(Status1Rule(t), &p), [Status1, Status1, Stop, Stop, Stop, Stop, Stop]);
        assert_eq!(classify(Status2Rule(t), &p), [Stop, Stop, Status2, Stop, Stop, Stop, Stop]);
        assert_eq!(classify(PaperRule(t), &p), [Status1, Status1, Status2, Stop, Stop, Stop, Stop]);
        assert_eq!(classify(AuthorsCodeRule(t), &p), classify(PaperRule(t), &p));
        // 0.9 - 0.6 is 0.30000000000000004 in f64, as in Python.
        assert_eq!(classify(PaperRule(t), &pairs(&[(0.9, 0.6), (0.8, 0.5)])), [Status2, Status2]);
    }

    #[test]
    fn numbers_outside_0_and_1_select_nothing() {
        let odd = pairs(&[
            (f64::NAN, 0.1),
            (0.9, f64::NAN),
            (f64::INFINITY, 0.1),
            (0.9, f64::NEG_INFINITY),
            (f64::INFINITY, f64::NEG_INFINITY),
        ]);
        let t = thresholds();
        for statuses in [
            classify(Status1Rule(t), &odd),
            classify(Status2Rule(t), &odd),
            classify(PaperRule(t), &odd),
            classify(AuthorsCodeRule(t), &odd),
        ] {
            assert_eq!(statuses, [Stop; 5]);
        }
        let outside = pairs(&[(1.5, 0.1), (0.9, -0.1)]);
        assert_eq!(classify(PaperRule(t), &outside), [Stop; 2]);
        assert_eq!(classify(AuthorsCodeRule(t), &outside), [Status1; 2], "the filter of the authors' code keeps them");
    }

    #[test]
    fn rules_combine() {
        let p = pairs(&[(0.6, 0.4), (0.95, 0.6), (0.9, 0.1), (0.5, 0.5)]);
        let (one, two) = (Status1Rule(thresholds()), Status2Rule(thresholds()));
        assert_eq!(classify(And(one, two), &p), [Stop, Stop, Status1, Stop]);
        assert_eq!(classify(And(two, one), &p), [Stop, Stop, Status2, Stop]);
        assert_eq!(classify(Or(one, two), &p), classify(PaperRule(thresholds()), &p));
        assert_eq!(classify(Or(two, one), &p), [Status1, Status2, Status2, Stop]);
    }

    #[test]
    fn a_rule_that_fails_or_miscounts_is_an_error() {
        let fails = rule_fn(|_| Err::<Vec<LearningStatus>, _>(std::fmt::Error));
        let short = rule_fn(|_| Ok::<_, std::fmt::Error>(vec![Status1]));
        let p = pairs(&[(0.6, 0.4), (0.6, 0.4)]);
        let p = PoolView::new(&p);
        let one = Status1Rule(thresholds());
        assert!(matches!(Or(one, fails).classify(&p), Err(StatusError::RuleFailed(_))));
        assert!(matches!(And(short, one).classify(&p), Err(StatusError::LengthMismatch { got: 1, expected: 2, .. })));
    }

    #[test]
    fn boxed_rules_of_other_errors_combine() {
        let topic: Box<dyn StatusRule<Error = BoxError>> = Box::new(rule_fn(|pool| {
            let status = |position| -> Result<LearningStatus, BoxError> {
                let wanted = pool.pair(position)?.prompt[0].content.starts_with("Why");
                Ok(if wanted { Status2 } else { Stop })
            };
            (0..pool.len()).map(status).collect()
        }));
        let texts: Vec<_> = ["Why?", "What?"]
            .iter()
            .map(|prompt| Arc::new(Pair::from_text(PairId(prompt.len() as u64), *prompt, "a", "b")))
            .collect();
        let p = pairs(&[(0.6, 0.4), (0.6, 0.4)]);
        let rule = And(Status1Rule(thresholds()), &topic);
        assert_eq!(rule.classify(&PoolView::new(&p).with_pairs(&texts)).unwrap(), [Status1, Stop]);
        assert!(matches!(rule.classify(&PoolView::new(&p)), Err(StatusError::RuleFailed(_))));
    }

    #[test]
    fn loop_states_filter_as_their_rules() {
        let p = pairs(&[(0.6, 0.4), (0.95, 0.6), (0.5, 0.5)]);
        let of = |state: LoopState| classify(state.rule(thresholds()), &p);
        assert_eq!(of(LoopState::Status1), [Status1, Stop, Stop]);
        assert_eq!(of(LoopState::Status2), [Stop, Status2, Stop]);
        assert_eq!(of(LoopState::Either), [Status1, Status2, Stop]);
        assert_eq!(of(LoopState::Stop), [Stop; 3]);
    }
}
