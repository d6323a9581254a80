//! Schedules: which state the reward model is in next, given what came of the loops so far.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{LoopState, PoolCounts, StatusError};

/// How the right answers of two reward models on the same held-out pairs compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validation {
    /// Held-out pairs.
    pub pairs: usize,
    /// Pairs the model gets right (the preferred answer scores strictly higher).
    pub correct: usize,
    /// Pairs it gets right and the model before got wrong; 0 for the first model.
    pub gained: usize,
    /// Pairs it gets wrong and the model before got right; 0 for the first model.
    pub lost: usize,
}

impl Validation {
    /// From one flag per held-out pair, in the same order for both models: whether the model got it right.
    ///
    /// # Errors
    /// [`StatusError::LengthMismatch`].
    pub fn new(current: &[bool], previous: Option<&[bool]>) -> Result<Self, StatusError> {
        let previous = previous.unwrap_or(current);
        if previous.len() != current.len() {
            return Err(StatusError::LengthMismatch {
                what: "the previous model's validation",
                got: previous.len(),
                expected: current.len(),
            });
        }
        let both = || current.iter().zip(previous);
        Ok(Validation {
            pairs: current.len(),
            correct: current.iter().filter(|right| **right).count(),
            gained: both().filter(|(now, before)| **now && !**before).count(),
            lost: both().filter(|(now, before)| !**now && **before).count(),
        })
    }

    /// Share of pairs it gets right; `None` without pairs.
    pub fn accuracy(&self) -> Option<f64> {
        (self.pairs > 0).then(|| self.correct as f64 / self.pairs as f64)
    }

    /// The gain in accuracy over the model before, g = (gained - lost) / n, and its standard error,
    /// sqrt(gained + lost - (gained - lost)^2 / n) / n: that of a mean of paired differences, which is far smaller
    /// than that of two independent accuracies. `None` without pairs.
    pub fn gain(&self) -> Option<(f64, f64)> {
        let (n, gained, lost) = (self.pairs as f64, self.gained as f64, self.lost as f64);
        let difference = gained - lost;
        let variance = (gained + lost - difference * difference / n).max(0.0);
        (self.pairs > 0).then(|| (difference / n, variance.sqrt() / n))
    }
}

/// What a schedule knows of one reward model: of loop 0 (the seed), then of each loop.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundFacts {
    /// The state whose pairs it was trained on; `None` for the seed model.
    pub state: Option<LoopState>,
    /// What its scores offer of the pool that the next loop may label.
    pub available: PoolCounts,
    /// Of `available.status1`, those that no earlier loop has selected.
    pub fresh_status1: usize,
    /// How it does on held-out labelled pairs, where there are any.
    pub validation: Option<Validation>,
}

/// The next loop's state, and why.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// The state.
    pub state: LoopState,
    /// Why.
    pub reason: Reason,
}

/// Why a schedule decided as it did; displays as a sentence for people.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// It is this state's turn.
    Planned,
    /// The state whose turn it was keeps no pair, and this one does.
    PlannedKeepsNothing,
    /// No state that may come keeps a pair.
    NothingToSelect,
    /// As many loops as were allowed.
    LoopLimit,
    /// The last loop's gain in validation accuracy is not marginal.
    Improving {
        /// The gain.
        gain: f64,
        /// Its standard error.
        standard_error: f64,
    },
    /// The last loop's gain in validation accuracy is marginal.
    Marginal {
        /// The gain.
        gain: f64,
        /// Its standard error.
        standard_error: f64,
    },
    /// Without validation: the share of the pool that is fresh Status 1 is worth another loop.
    Fresh {
        /// The share.
        share: f64,
    },
    /// Without validation: the share of the pool that is fresh Status 1 is marginal.
    Stale {
        /// The share.
        share: f64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |x: f64| 100.0 * x;
        match *self {
            Reason::Planned => write!(f, "as planned"),
            Reason::PlannedKeepsNothing => write!(f, "the planned state keeps no pair"),
            Reason::NothingToSelect => write!(f, "no pair can be selected any more"),
            Reason::LoopLimit => write!(f, "the loop limit is reached"),
            Reason::Improving { gain, standard_error } => {
                write!(f, "the last loop gained {:.2} ± {:.2} points", percent(gain), percent(standard_error))
            }
            Reason::Marginal { gain, standard_error } => {
                write!(
                    f,
                    "the last loop's gain is marginal: {:.2} ± {:.2} points",
                    percent(gain),
                    percent(standard_error)
                )
            }
            Reason::Fresh { share } => write!(f, "{:.2} % of the pool is fresh Status 1", percent(share)),
            Reason::Stale { share } => write!(f, "only {:.2} % of the pool is fresh Status 1", percent(share)),
        }
    }
}

/// How the state of the reward model is decided, loop by loop; not yet checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduleSettings {
    /// A fixed plan; by default the paper's runs: Status 1, Status 1, Status 2, stop.
    Paper(Plan),
    /// Status 1 until its improvement is marginal, then Status 2 until that one's is, then stop.
    Automatic(Automatic),
    /// The authors' script: each loop, pairs of either status, until there are none.
    Script(Script),
}

/// A fixed plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// The state of each loop, from loop 1; then it stops.
    pub plan: Vec<LoopState>,
}

/// The automatic schedule.
///
/// After each loop, **its improvement is marginal** if
/// - with validation: gain < `min_gain`, or gain <= `standard_errors` * standard error (see [`Validation::gain`]);
/// - without: `fresh_status1` / pool < `min_fresh_share` (this judges Status 1; Status 2 goes on to the loop limit).
///
/// It begins with Status 1. A marginal Status-1 loop is followed by Status 2, which is not left for Status 1 again;
/// a marginal Status-2 loop is the last. A Status 1 that keeps no pair gives way to Status 2; a Status 2 that keeps
/// no pair ends it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Automatic {
    /// Least gain in accuracy that counts, as a share (0.005 is half a point). Default 0.
    pub min_gain: f64,
    /// How many of its standard errors a gain must exceed. Default 1.
    pub standard_errors: f64,
    /// Least share of the pool that must be fresh Status 1. Default 0.01.
    pub min_fresh_share: f64,
    /// Most loops after loop 0. Default 3, as in the paper.
    pub max_loops: usize,
}

/// The schedule of the authors' script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Script {
    /// Most loops after loop 0. Default 3, as in the paper.
    pub max_loops: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Plan { plan: vec![LoopState::Status1, LoopState::Status1, LoopState::Status2] }
    }
}

impl Default for Automatic {
    fn default() -> Self {
        Automatic { min_gain: 0.0, standard_errors: 1.0, min_fresh_share: 0.01, max_loops: 3 }
    }
}

impl Default for Script {
    fn default() -> Self {
        Script { max_loops: 3 }
    }
}

impl Default for ScheduleSettings {
    fn default() -> Self {
        ScheduleSettings::Paper(Plan::default())
    }
}

impl ScheduleSettings {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`StatusError::EmptySetting`] for a plan of nothing, [`StatusError::SettingOutOfRange`].
    pub fn check(self) -> Result<Schedule, StatusError> {
        match &self {
            ScheduleSettings::Paper(Plan { plan }) if plan.is_empty() => {
                return Err(StatusError::EmptySetting { name: "schedule.plan" });
            }
            ScheduleSettings::Automatic(a) => {
                for (name, value, range, good) in [
                    ("schedule.min_gain", a.min_gain, "from 0 to 1", (0.0..=1.0).contains(&a.min_gain)),
                    (
                        "schedule.standard_errors",
                        a.standard_errors,
                        "of at least 0",
                        a.standard_errors >= 0.0 && a.standard_errors.is_finite(),
                    ),
                    (
                        "schedule.min_fresh_share",
                        a.min_fresh_share,
                        "from 0 to 1",
                        (0.0..=1.0).contains(&a.min_fresh_share),
                    ),
                ] {
                    if !good {
                        return Err(StatusError::SettingOutOfRange { name, value, range });
                    }
                }
            }
            ScheduleSettings::Paper(_) | ScheduleSettings::Script(_) => {}
        }
        Ok(Schedule(self))
    }
}

/// A checked schedule, from [`ScheduleSettings::check`]: a pure function of the history.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule(ScheduleSettings);

impl Schedule {
    /// The settings.
    pub fn settings(&self) -> &ScheduleSettings {
        &self.0
    }

    /// The state of the next loop. `history` holds the seed model's facts and then those of each loop's model, so
    /// its length is the next loop's number. Without a scored model (an empty history) there is nothing to select.
    pub fn decide(&self, history: &[RoundFacts]) -> Decision {
        let Some(last) = history.last() else {
            return stop(Reason::NothingToSelect);
        };
        let loops_done = history.len() - 1;
        match &self.0 {
            ScheduleSettings::Paper(Plan { plan }) => {
                first_that_keeps(plan.get(loops_done..).unwrap_or_default(), last)
            }
            ScheduleSettings::Script(Script { max_loops }) if loops_done >= *max_loops => stop(Reason::LoopLimit),
            ScheduleSettings::Script(_) => first_that_keeps(&[LoopState::Either], last),
            ScheduleSettings::Automatic(settings) if loops_done >= settings.max_loops => stop(Reason::LoopLimit),
            ScheduleSettings::Automatic(settings) => settings.decide(last),
        }
    }
}

impl Automatic {
    fn decide(&self, last: &RoundFacts) -> Decision {
        let (state, reason) = match last.state {
            None => (LoopState::Status1, Reason::Planned),
            Some(LoopState::Status1) => match self.marginal(last) {
                (true, reason) => (LoopState::Status2, reason),
                (false, reason) => (LoopState::Status1, reason),
            },
            // Only validation can say that Status 2 is done.
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

    fn marginal(&self, last: &RoundFacts) -> (bool, Reason) {
        if let Some((gain, standard_error)) = last.validation.and_then(|v| v.gain()) {
            if gain < self.min_gain || gain <= self.standard_errors * standard_error {
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

/// The first state that keeps a pair, as Eq. 3 tries one status after the other; an explicit stop ends the search.
fn first_that_keeps(states: &[LoopState], last: &RoundFacts) -> Decision {
    let planned = states.iter().take_while(|state| **state != LoopState::Stop).enumerate();
    let mut nothing = Reason::LoopLimit;
    for (place, &state) in planned {
        if last.available.kept_by(state) > 0 {
            let reason = if place == 0 { Reason::Planned } else { Reason::PlannedKeepsNothing };
            return Decision { state, reason };
        }
        nothing = Reason::NothingToSelect;
    }
    stop(nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use LoopState::{Either, Status1, Status2, Stop};

    fn facts(state: Option<LoopState>, status1: usize, status2: usize) -> RoundFacts {
        let either = status1.max(status2);
        let available = PoolCounts { pairs: 1000, status1, status2, either };
        RoundFacts { state, available, fresh_status1: status1, validation: None }
    }

    fn validated(state: LoopState, gained: usize, lost: usize) -> RoundFacts {
        let validation = Some(Validation { pairs: 1000, correct: 700, gained, lost });
        RoundFacts { validation, ..facts(Some(state), 300, 300) }
    }

    /// Runs a schedule to its end, the same facts after every loop.
    fn run(settings: ScheduleSettings, each: impl Fn(Option<LoopState>) -> RoundFacts) -> Vec<LoopState> {
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
    fn the_papers_plan() {
        let paper = ScheduleSettings::default;
        assert_eq!(run(paper(), |s| facts(s, 10, 10)), [Status1, Status1, Status2, Stop]);
        assert_eq!(run(paper(), |s| facts(s, 0, 10)), [Status2, Status2, Status2, Stop], "Eq. 3 falls to Status 2");
        assert_eq!(run(paper(), |s| facts(s, 10, 0)), [Status1, Status1, Stop]);
        assert_eq!(run(paper(), |s| facts(s, 0, 0)), [Stop]);
        let early = Plan { plan: vec![Status1, Stop, Status2] };
        assert_eq!(run(ScheduleSettings::Paper(early), |s| facts(s, 10, 10)), [Status1, Stop]);
    }

    #[test]
    fn the_authors_script() {
        let script = ScheduleSettings::Script(Script { max_loops: 2 });
        assert_eq!(run(script.clone(), |s| facts(s, 0, 10)), [Either, Either, Stop]);
        assert_eq!(run(script, |s| facts(s, 0, 0)), [Stop]);
    }

    #[test]
    fn automatic_shifts_when_the_gain_is_marginal() {
        let schedule = ScheduleSettings::Automatic(Automatic { max_loops: 9, ..Automatic::default() }).check().unwrap();
        let seed = facts(None, 300, 300);
        let next = |rounds: &[RoundFacts]| {
            let mut history = vec![seed];
            history.extend(rounds);
            schedule.decide(&history).state
        };
        assert_eq!(next(&[]), Status1);
        // g = 0.030, standard error sqrt(70 - 900/1000)/1000 = 0.0083.
        assert_eq!(next(&[validated(Status1, 50, 20)]), Status1);
        // g = 0.005, standard error sqrt(45 - 25/1000)/1000 = 0.0067: within the noise.
        assert_eq!(next(&[validated(Status1, 25, 20)]), Status2);
        assert_eq!(next(&[validated(Status1, 20, 50)]), Status2, "a loss is no improvement");
        assert_eq!(next(&[validated(Status1, 0, 0)]), Status2);
        assert_eq!(next(&[validated(Status2, 50, 20)]), Status2);
        assert_eq!(next(&[validated(Status2, 25, 20)]), Stop);
    }

    #[test]
    fn automatic_respects_the_least_gain_and_the_loop_limit() {
        let settings = Automatic { min_gain: 0.04, ..Automatic::default() };
        let schedule = ScheduleSettings::Automatic(settings).check().unwrap();
        let seed = facts(None, 300, 300);
        assert_eq!(schedule.decide(&[seed, validated(Status1, 50, 20)]).state, Status2);
        let always = |s: Option<LoopState>| s.map_or(facts(None, 300, 300), |s| validated(s, 90, 0));
        assert_eq!(run(ScheduleSettings::Automatic(Automatic::default()), always), [Status1, Status1, Status1, Stop]);
    }

    #[test]
    fn automatic_without_validation_looks_at_fresh_pairs() {
        let settings = || ScheduleSettings::Automatic(Automatic::default());
        assert_eq!(run(settings(), |s| facts(s, 10, 50)), [Status1, Status1, Status1, Stop]);
        assert_eq!(run(settings(), |s| facts(s, 9, 50)), [Status1, Status2, Status2, Stop]);
        assert_eq!(run(settings(), |s| facts(s, 0, 50)), [Status2, Status2, Status2, Stop]);
        assert_eq!(run(settings(), |s| facts(s, 0, 0)), [Stop]);
    }

    #[test]
    fn reasons_are_sentences() {
        let schedule = ScheduleSettings::Automatic(Automatic::default()).check().unwrap();
        let decision = schedule.decide(&[facts(None, 300, 300), validated(Status1, 25, 20)]);
        assert_eq!(decision.reason.to_string(), "the last loop's gain is marginal: 0.50 ± 0.67 points");
        assert_eq!(schedule.decide(&[]).reason, Reason::NothingToSelect);
    }

    #[test]
    fn validation_counts_and_paired_standard_error() {
        let now = [true, true, false, true];
        let before = [true, false, true, false];
        let v = Validation::new(&now, Some(&before)).unwrap();
        assert_eq!(v, Validation { pairs: 4, correct: 3, gained: 2, lost: 1 });
        // Differences 0, 1, -1, 1: mean 1/4, variance 3/4 - 1/16 = 11/16, standard error sqrt(11/16/4).
        let (gain, error) = v.gain().unwrap();
        assert_eq!(gain, 0.25);
        assert!((error - (11f64 / 64.0).sqrt()).abs() < 1e-15);
        assert!(Validation::new(&now, Some(&before[..3])).is_err());
        assert_eq!(Validation::new(&[], None).unwrap().gain(), None);
    }

    #[test]
    fn settings_read_from_toml() {
        let read = |text| toml::from_str::<ScheduleSettings>(text);
        assert_eq!(read("kind = 'paper'").unwrap(), ScheduleSettings::default());
        let plan = read("kind = 'paper'\nplan = ['status1', 'either', 'stop']").unwrap();
        assert_eq!(plan, ScheduleSettings::Paper(Plan { plan: vec![Status1, Either, Stop] }));
        let automatic = read("kind = 'automatic'\nmax_loops = 5").unwrap();
        assert_eq!(automatic, ScheduleSettings::Automatic(Automatic { max_loops: 5, ..Automatic::default() }));
        assert!(read("kind = 'script'\nmin_gain = 1").is_err(), "not a setting of the script's schedule");
        assert!(ScheduleSettings::Paper(Plan { plan: vec![] }).check().is_err());
        let bad = ScheduleSettings::Automatic(Automatic { min_gain: f64::NAN, ..Automatic::default() });
        assert_eq!(bad.check().unwrap_err().to_string(), "schedule.min_gain is NaN: give a number from 0 to 1");
    }
}
