//! The settings of the schedules.

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::{LoopState, StatusError};

/// Unchecked settings of a schedule, which decides the state of the reward model in each iteration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ScheduleSettings {
    /// A fixed plan; by default that of the paper: Status 1, Status 1, Status 2, stop.
    Paper(Plan),
    /// Status 1 until its improvement is marginal, then Status 2 until its improvement is marginal, then stop.
    Automatic(Automatic),
    /// The authors' code: in each iteration pairs of either status, until there are none.
    #[serde(alias = "script")]
    AuthorsCode(AuthorsCode),
}

/// A fixed plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plan {
    /// The state of each iteration, from iteration 1; the loop ends after the last.
    pub plan: Vec<LoopState>,
}

/// The automatic schedule.
///
/// After each iteration, **its improvement is marginal** if
/// - with validation on at least two prompts: gain < `min_gain`, or gain <= `standard_errors` * standard error (see [`Validation::gain`](crate::Validation::gain));
/// - without: `fresh_status1` / pool < `min_fresh_share` (this applies to Status 1; Status 2 continues to the limit of iterations).
///
/// It begins with Status 1. A marginal iteration of Status 1 is followed by Status 2, after which Status 1 does not come
/// back; a marginal iteration of Status 2 is the last. If Status 1 keeps no pair, Status 2 follows; if Status 2 keeps no
/// pair, the loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Automatic {
    /// Least gain in accuracy that counts, as a share (0.005 is half a point). Default 0.
    pub min_gain: f64,
    /// The number of its standard errors that a gain must exceed. Default 1.
    pub standard_errors: f64,
    /// Least share of the pool that must be fresh Status 1. Default 0.01.
    pub min_fresh_share: f64,
    /// The largest number of iterations after iteration 0. Default 3, as in the paper.
    pub max_loops: usize,
}

/// The schedule of the authors' code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthorsCode {
    /// The largest number of iterations after iteration 0. Default 3, as in the paper.
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

impl Default for AuthorsCode {
    fn default() -> Self {
        AuthorsCode { max_loops: 3 }
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
    /// [`StatusError::EmptySetting`] for an empty plan, [`StatusError::SettingOutOfRange`].
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
            ScheduleSettings::Paper(_) | ScheduleSettings::AuthorsCode(_) => {}
        }
        Ok(Schedule(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use LoopState::{Either, Status1, Stop};

    #[test]
    fn settings_read_from_toml() {
        let read = |text| toml::from_str::<ScheduleSettings>(text);
        assert_eq!(read("kind = 'paper'").unwrap(), ScheduleSettings::default());
        let plan = read("kind = 'paper'\nplan = ['status1', 'either', 'stop']").unwrap();
        assert_eq!(plan, ScheduleSettings::Paper(Plan { plan: vec![Status1, Either, Stop] }));
        let automatic = read("kind = 'automatic'\nmax_loops = 5").unwrap();
        assert_eq!(automatic, ScheduleSettings::Automatic(Automatic { max_loops: 5, ..Automatic::default() }));
        assert!(read("kind = 'authors_code'\nmin_gain = 1").is_err(), "not a setting of this schedule");
        assert_eq!(read("kind = 'script'").unwrap(), ScheduleSettings::AuthorsCode(AuthorsCode::default()));
        assert!(ScheduleSettings::Paper(Plan { plan: vec![] }).check().is_err());
        let bad = ScheduleSettings::Automatic(Automatic { min_gain: f64::NAN, ..Automatic::default() });
        assert_eq!(bad.check().unwrap_err().to_string(), "schedule.min_gain is NaN: give a number from 0 to 1");
    }
}
