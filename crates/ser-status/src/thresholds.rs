//! The thresholds of Eq. 3.

use ser_core::PairProbabilities;
use serde::{Deserialize, Serialize};

use crate::StatusError;

/// The number of answers of a pair that must be confident for Status 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConfidentAnswers {
    /// Both: one answer over tau_high and the other under tau_low, as in Eq. 3 and in the authors' code.
    #[default]
    #[serde(rename = "both_answers")]
    Both,
    /// One: an answer over tau_high or an answer under tau_low, as in the text under Eq. 4. Without an anchor raw scores
    /// may drift; if all p then are over tau_high, this keeps every pair except ties.
    #[serde(rename = "one_answer")]
    One,
}

/// Unchecked thresholds. The default is that of the authors' code: 0.55, 0.45, 0.3.
///
/// Which pairs they select depends on the anchor: see [`Anchor::status2_limit`](crate::Anchor::status2_limit).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thresholds {
    /// An answer with p over this is confidently good.
    pub tau_high: f64,
    /// An answer with p under this is confidently bad.
    pub tau_low: f64,
    /// Two answers with |p_A - p_B| over this differ confidently.
    pub tau_delta: f64,
    /// The number of answers that must be confident for Status 1.
    pub status1: ConfidentAnswers,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds { tau_high: 0.55, tau_low: 0.45, tau_delta: 0.3, status1: ConfidentAnswers::Both }
    }
}

impl Thresholds {
    /// Checks that each threshold is in [0, 1] and that tau_low <= tau_high.
    ///
    /// # Errors
    /// [`StatusError::ThresholdOutOfRange`] (NaN too) and [`StatusError::ThresholdsCross`].
    pub fn check(self) -> Result<CheckedThresholds, StatusError> {
        let Thresholds { tau_high, tau_low, tau_delta, .. } = self;
        for (name, value) in [("tau_high", tau_high), ("tau_low", tau_low), ("tau_delta", tau_delta)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(StatusError::ThresholdOutOfRange { name, value });
            }
        }
        if tau_low > tau_high {
            return Err(StatusError::ThresholdsCross { tau_high, tau_low });
        }
        Ok(CheckedThresholds(self))
    }
}

/// Checked thresholds, made by [`Thresholds::check`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "Thresholds", try_from = "Thresholds")]
pub struct CheckedThresholds(Thresholds);

impl CheckedThresholds {
    /// The thresholds.
    pub fn get(&self) -> Thresholds {
        self.0
    }

    /// The first line of Eq. 3: one answer over tau_high, the other under tau_low; with [`ConfidentAnswers::One`], one
    /// answer over tau_high or one under tau_low. False if either is NaN.
    ///
    /// This only compares; the rules also refuse numbers outside [0, 1].
    pub fn status1(&self, pair: PairProbabilities) -> bool {
        let (a, b) = (pair.a.get(), pair.b.get());
        let Thresholds { tau_high, tau_low, status1, .. } = self.0;
        match status1 {
            ConfidentAnswers::Both => (a > tau_high && b < tau_low) || (b > tau_high && a < tau_low),
            ConfidentAnswers::One => {
                let confident = |p: f64| p > tau_high || p < tau_low;
                !a.is_nan() && !b.is_nan() && (confident(a) || confident(b))
            }
        }
    }

    /// The second line of Eq. 3: Delta over tau_delta. False for NaN. This only compares, as [`status1`](Self::status1).
    pub fn status2(&self, pair: PairProbabilities) -> bool {
        pair.delta() > self.0.tau_delta
    }
}

impl From<CheckedThresholds> for Thresholds {
    fn from(checked: CheckedThresholds) -> Self {
        checked.0
    }
}

impl TryFrom<Thresholds> for CheckedThresholds {
    type Error = StatusError;

    fn try_from(thresholds: Thresholds) -> Result<Self, StatusError> {
        thresholds.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(thresholds: Thresholds) -> String {
        thresholds.check().unwrap_err().to_string()
    }

    #[test]
    fn bad_thresholds_are_named_with_their_value() {
        let good = Thresholds::default();
        assert!(good.check().is_ok());
        let crossed = message(Thresholds { tau_low: 0.6, ..good });
        assert_eq!(crossed, "tau_low is 0.6, over tau_high, which is 0.55: lower tau_low or raise tau_high");
        assert!(message(Thresholds { tau_high: f64::NAN, ..good }).starts_with("tau_high is NaN: "));
        assert!(message(Thresholds { tau_low: -0.1, ..good }).starts_with("tau_low is -0.1: "));
        assert!(message(Thresholds { tau_delta: 30.0, ..good }).starts_with("tau_delta is 30: "));
        assert!(message(Thresholds { tau_delta: f64::INFINITY, ..good }).starts_with("tau_delta is inf: "));
    }

    #[test]
    fn the_ends_are_allowed() {
        assert!(Thresholds { tau_high: 1.0, tau_low: 0.0, tau_delta: 0.0, ..Thresholds::default() }.check().is_ok());
        assert!(Thresholds { tau_high: 0.5, tau_low: 0.5, tau_delta: 1.0, ..Thresholds::default() }.check().is_ok());
    }

    #[test]
    fn one_confident_answer_by_hand() {
        let thresholds = |status1| Thresholds { status1, ..Thresholds::default() }.check().unwrap();
        let (both, one) = (thresholds(ConfidentAnswers::Both), thresholds(ConfidentAnswers::One));
        for (a, b, by_both, by_one) in [
            (0.6, 0.4, true, true),
            (0.6, 0.5, false, true),
            (0.5, 0.2, false, true),
            (0.9, 0.8, false, true),
            (0.55, 0.45, false, false),
            (0.5, 0.52, false, false),
            (f64::NAN, 0.9, false, false),
        ] {
            for pair in [PairProbabilities::unchecked(a, b), PairProbabilities::unchecked(b, a)] {
                assert_eq!((both.status1(pair), one.status1(pair)), (by_both, by_one), "{pair:?}");
            }
        }
    }

    #[test]
    fn settings_refuse_unknown_names_and_crossed_thresholds() {
        let t: Thresholds = toml::from_str("tau_delta = 0.5").unwrap();
        assert_eq!(t, Thresholds { tau_delta: 0.5, ..Thresholds::default() });
        let one: Thresholds = toml::from_str("status1 = 'one_answer'").unwrap();
        assert_eq!(one, Thresholds { status1: ConfidentAnswers::One, ..Thresholds::default() });
        assert!(toml::from_str::<Thresholds>("status1 = 'either'").is_err());
        assert!(toml::from_str::<Thresholds>("tau_detla = 0.5").is_err());
        assert!(toml::from_str::<CheckedThresholds>("tau_low = 0.9").is_err());
    }
}
