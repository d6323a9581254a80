//! Schedules: the state of the reward model in the next iteration, from the results of the iterations so far.

mod iteration;
mod settings;

pub use iteration::{Decision, IterationStats, Reason, Validation};
pub use settings::{AuthorsCode, Automatic, Plan, ScheduleSettings};

use crate::LoopState;

/// A checked schedule, from [`ScheduleSettings::check`]: a pure function of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule(ScheduleSettings);

impl Schedule {
    /// The settings.
    pub fn settings(&self) -> &ScheduleSettings {
        &self.0
    }

    /// The state of the next iteration. `history` has the statistics of the seed model and then those of each
    /// iteration's model, so its length is the number of the next iteration. With an empty history the loop ends.
    pub fn decide(&self, history: &[IterationStats]) -> Decision {
        let Some(last) = history.last() else {
            return stop(Reason::NothingToSelect);
        };
        let loops_done = history.len() - 1;
        match &self.0 {
            ScheduleSettings::Paper(Plan { plan }) => {
                first_that_keeps(plan.get(loops_done..).unwrap_or_default(), last)
            }
            ScheduleSettings::AuthorsCode(AuthorsCode { max_loops }) if loops_done >= *max_loops => {
                stop(Reason::LoopLimit)
            }
            ScheduleSettings::AuthorsCode(_) => first_that_keeps(&[LoopState::Either], last),
            ScheduleSettings::Automatic(settings) if loops_done >= settings.max_loops => stop(Reason::LoopLimit),
            ScheduleSettings::Automatic(settings) => settings.decide(last),
        }
    }
}

impl Automatic {
    fn decide(&self, last: &IterationStats) -> Decision {
        let (state, reason) = match last.state {
            None => (LoopState::Status1, Reason::Planned),
            Some(LoopState::Status1) => match self.marginal(last) {
                (true, reason) => (LoopState::Status2, reason),
                (false, reason) => (LoopState::Status1, reason),
            },
            // Without validation Status 2 continues to the limit.
            Some(_) if last.validation.is_none_or(|v| v.pairs == 0) => (LoopState::Status2, Reason::Planned),
            Some(_) => match self.marginal(last) {
                (true, reason) => return stop(reason),
                (false, reason) => (LoopState::Status2, reason),
            },
        };
        if last.available.kept_by(state) > 0 {
            return Decision { state, reason };
        }
        match state {
            LoopState::Status1 => first_that_keeps(&[LoopState::Status1, LoopState::Status2], last),
            _ => stop(Reason::NothingToSelect),
        }
    }

    fn marginal(&self, last: &IterationStats) -> (bool, Reason) {
        if let Some(validation) = last.validation
            && let Some((gain, standard_error)) = validation.gain()
        {
            if gain < self.min_gain || validation.gain_exceeds(self.standard_errors) != Some(true) {
                (true, Reason::Marginal { gain, standard_error })
            } else {
                (false, Reason::Improving { gain, standard_error })
            }
        } else {
            let share = last.fresh_status1 as f64 / last.available.pairs.max(1) as f64;
            if share < self.min_fresh_share {
                (true, Reason::Stale { share })
            } else {
                (false, Reason::Fresh { share })
            }
        }
    }
}

fn stop(reason: Reason) -> Decision {
    Decision { state: LoopState::Stop, reason }
}

/// The first state that keeps a pair: Eq. 3 tries one status after the other. An explicit stop ends the search.
fn first_that_keeps(states: &[LoopState], last: &IterationStats) -> Decision {
    let planned = states.iter().take_while(|state| **state != LoopState::Stop).enumerate();
    let mut nothing = Reason::LoopLimit;
    for (index, &state) in planned {
        if last.available.kept_by(state) > 0 {
            let reason = if index == 0 { Reason::Planned } else { Reason::PlannedKeepsNothing };
            return Decision { state, reason };
        }
        nothing = Reason::NothingToSelect;
    }
    stop(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolCounts;
    use LoopState::{Either, Status1, Status2, Stop};
    use ser_core::Clusters;

    fn stats(state: Option<LoopState>, status1: usize, status2: usize) -> IterationStats {
        let either = status1.max(status2);
        let available = PoolCounts { pairs: 1000, status1, status2, either };
        IterationStats { state, available, fresh_status1: status1, validation: None }
    }

    fn validated(state: LoopState, gained: usize, lost: usize) -> IterationStats {
        let now: Vec<bool> = (0..1000).map(|i| i < gained || i >= 500 + lost).collect();
        let before: Vec<bool> = (0..1000).map(|i| i >= 500).collect();
        let validation = Validation::new(&now, Some(&before), Clusters::Singletons).unwrap();
        assert_eq!((validation.gained, validation.lost), (gained, lost));
        IterationStats { validation: Some(validation), ..stats(Some(state), 300, 300) }
    }

    /// Runs a schedule to its end, with the same statistics after every iteration.
    fn run(settings: ScheduleSettings, each: impl Fn(Option<LoopState>) -> IterationStats) -> Vec<LoopState> {
        let schedule = settings.check().unwrap();
        let mut history = vec![each(None)];
        let mut states = Vec::new();
        while states.last() != Some(&Stop) {
            let state = schedule.decide(&history).state;
            states.push(state);
            history.push(each(Some(state)));
        }
        states
    }

    #[test]
    fn the_plan_of_the_paper() {
        let paper = ScheduleSettings::default;
        assert_eq!(run(paper(), |s| stats(s, 10, 10)), [Status1, Status1, Status2, Stop]);
        assert_eq!(run(paper(), |s| stats(s, 0, 10)), [Status2, Status2, Status2, Stop], "Eq. 3 falls to Status 2");
        assert_eq!(run(paper(), |s| stats(s, 10, 0)), [Status1, Status1, Stop]);
        assert_eq!(run(paper(), |s| stats(s, 0, 0)), [Stop]);
        let early = Plan { plan: vec![Status1, Stop, Status2] };
        assert_eq!(run(ScheduleSettings::Paper(early), |s| stats(s, 10, 10)), [Status1, Stop]);
    }

    #[test]
    fn the_authors_code() {
        let code = ScheduleSettings::AuthorsCode(AuthorsCode { max_loops: 2 });
        assert_eq!(run(code.clone(), |s| stats(s, 0, 10)), [Either, Either, Stop]);
        assert_eq!(run(code, |s| stats(s, 0, 0)), [Stop]);
    }

    #[test]
    fn automatic_shifts_when_the_gain_is_marginal() {
        let schedule = ScheduleSettings::Automatic(Automatic { max_loops: 9, ..Automatic::default() }).check().unwrap();
        let seed = stats(None, 300, 300);
        let next = |later: &[IterationStats]| {
            let mut history = vec![seed];
            history.extend(later);
            schedule.decide(&history).state
        };
        assert_eq!(next(&[]), Status1);
        // g = 0.030, standard error sqrt(70 - 900/1000)/1000 = 0.0083.
        assert_eq!(next(&[validated(Status1, 50, 20)]), Status1);
        // g = 0.005, standard error sqrt(45 - 25/1000)/1000 = 0.0067: within the noise.
        assert_eq!(next(&[validated(Status1, 25, 20)]), Status2);
        assert_eq!(next(&[validated(Status1, 20, 50)]), Status2, "a loss is not an improvement");
        assert_eq!(next(&[validated(Status1, 0, 0)]), Status2);
        assert_eq!(next(&[validated(Status2, 50, 20)]), Status2);
        assert_eq!(next(&[validated(Status2, 25, 20)]), Stop);
    }

    #[test]
    fn automatic_respects_the_least_gain_and_the_limit_of_iterations() {
        let settings = Automatic { min_gain: 0.04, ..Automatic::default() };
        let schedule = ScheduleSettings::Automatic(settings).check().unwrap();
        let seed = stats(None, 300, 300);
        assert_eq!(schedule.decide(&[seed, validated(Status1, 50, 20)]).state, Status2);
        let always = |s: Option<LoopState>| s.map_or(stats(None, 300, 300), |s| validated(s, 90, 0));
        assert_eq!(run(ScheduleSettings::Automatic(Automatic::default()), always), [Status1, Status1, Status1, Stop]);
    }

    #[test]
    fn automatic_without_validation_counts_fresh_pairs() {
        let settings = || ScheduleSettings::Automatic(Automatic::default());
        assert_eq!(run(settings(), |s| stats(s, 10, 50)), [Status1, Status1, Status1, Stop]);
        assert_eq!(run(settings(), |s| stats(s, 9, 50)), [Status1, Status2, Status2, Stop]);
        assert_eq!(run(settings(), |s| stats(s, 0, 50)), [Status2, Status2, Status2, Stop]);
        assert_eq!(run(settings(), |s| stats(s, 0, 0)), [Stop]);
    }

    #[test]
    fn reasons_are_sentences() {
        let schedule = ScheduleSettings::Automatic(Automatic::default()).check().unwrap();
        let decision = schedule.decide(&[stats(None, 300, 300), validated(Status1, 25, 20)]);
        assert_eq!(decision.reason.to_string(), "the last loop's gain is marginal: 0.50 ± 0.67 points");
        assert_eq!(schedule.decide(&[]).reason, Reason::NothingToSelect);
    }
}
