//! The filter that selects pairs of the scored pool (Eq. 4): by status, by a certified threshold, or by a custom rule.

use ser_core::{BoxError, Clusters, LearningStatus, PairProbabilities, PoolView, Side, StatusRule};
use ser_status::{
    Certification, CheckedPrecisionTarget, CheckedThresholds, ConfidentAnswers, LoopState, PoolCounts, Selected,
    Status2Rule, StatusError, Thresholds, TopShare, select,
};

/// A rule of the caller, with its error type erased.
pub(crate) type CustomRule<'a> = Box<dyn StatusRule<Error = BoxError> + 'a>;

/// One iteration's filter.
pub(super) enum Filter<'a> {
    /// By the state that the schedule decides.
    ByState(CheckedThresholds),
    /// By a Delta over a certified threshold; `None` if none could be certified.
    Certified(Option<Status2Rule>),
    /// The most confident share of the pool.
    Top(TopShare),
    /// By the caller's rule.
    Custom(&'a CustomRule<'a>),
}

impl Filter<'_> {
    /// Certifies a threshold.
    pub(crate) fn certify(
        target: &CheckedPrecisionTarget,
        pool: &[PairProbabilities],
        held_out: &[(PairProbabilities, Side)],
        clusters: Clusters<'_>,
    ) -> Result<(Self, Certification), StatusError> {
        // A pool without finite scores offers no candidate thresholds.
        if !pool.iter().any(|pair| pair.delta().is_finite()) {
            let prompts = clusters.index(0..held_out.len()).count;
            let nothing = Certification {
                chosen: None,
                held_out_pairs: held_out.len(),
                held_out_prompts: prompts,
                trials: Vec::new(),
            };
            return Ok((Filter::Certified(None), nothing));
        }
        let certification = target.certify(pool, held_out, clusters)?;
        let rule = certification
            .chosen
            .map(|chosen| Thresholds { tau_delta: chosen.tau_delta, ..Thresholds::default() }.check().map(Status2Rule));
        Ok((Filter::Certified(rule.transpose()?), certification))
    }

    /// How many pairs each state would keep. A filter that ignores the state keeps the same pairs in all of them.
    pub(crate) fn counts(&self, pool: &PoolView<'_>) -> Result<PoolCounts, StatusError> {
        if let Filter::ByState(thresholds) = self {
            return Ok(PoolCounts::new(pool.probabilities(), *thresholds));
        }
        let kept = self.select(pool, LoopState::Either)?.len();
        Ok(PoolCounts { pairs: pool.len(), status1: kept, status2: kept, either: kept })
    }

    /// The pairs kept in a state, in the pool's order.
    pub(crate) fn select(&self, pool: &PoolView<'_>, state: LoopState) -> Result<Vec<Selected>, StatusError> {
        match (state, self) {
            (LoopState::Stop, _) | (_, Filter::Certified(None)) => Ok(Vec::new()),
            (_, Filter::ByState(thresholds)) => select(*pool, &state.rule(*thresholds)),
            (_, Filter::Certified(Some(rule))) => select(*pool, rule),
            (_, Filter::Top(rule)) => select(*pool, rule),
            (_, Filter::Custom(rule)) => select(*pool, *rule),
        }
    }

    /// The rule in words.
    pub(crate) fn describe(&self, state: LoopState) -> String {
        match self {
            Filter::ByState(thresholds) => {
                let Thresholds { tau_high, tau_low, tau_delta, status1 } = thresholds.get();
                let one = match status1 {
                    ConfidentAnswers::Both => format!("one answer over {tau_high} and the other under {tau_low}"),
                    ConfidentAnswers::One => format!("an answer over {tau_high} or under {tau_low}"),
                };
                let two = format!("Delta over {tau_delta}");
                match state {
                    LoopState::Status1 => format!("Status 1: {one}"),
                    LoopState::Status2 => format!("Status 2: {two}"),
                    LoopState::Either => format!("either status: {one}, or {two}"),
                    LoopState::Stop => "stop".to_owned(),
                }
            }
            Filter::Certified(Some(Status2Rule(thresholds))) => {
                format!("certified: Delta over {:.4}", thresholds.get().tau_delta)
            }
            Filter::Certified(None) => "certified: no threshold has the wanted precision".to_owned(),
            Filter::Top(rule) => format!("the most confident {} % of the pool", percent(rule.share())),
            Filter::Custom(_) => "custom rule".to_owned(),
        }
    }
}

/// A share in percent, to two digits after the point.
fn percent(share: f64) -> f64 {
    (share * 1e4).round() / 100.0
}

/// The status that an iteration's state stands for; `None` for the state that selects either status.
pub(crate) fn status_of(state: LoopState) -> Option<LearningStatus> {
    match state {
        LoopState::Status1 => Some(LearningStatus::Status1),
        LoopState::Status2 => Some(LearningStatus::Status2),
        LoopState::Stop => Some(LearningStatus::Stop),
        LoopState::Either => None,
    }
}
