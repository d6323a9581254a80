//! Events of long work, and how an observer stops it.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::Stage;

/// Follows the progress of work, and may stop it.
#[doc = include_str!("traits/observer.md")]
pub trait Observer: Send {
    /// Called often: it should return at once.
    fn observe(&mut self, event: &Event<'_>) -> Control;
}

/// Something that happened in long work.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A stage begins; once per stage.
    Started {
        /// The stage.
        stage: &'a Stage,
        /// The number of units of work, where known.
        total: Option<u64>,
        /// The name of a unit: `pairs`, `steps`.
        unit: &'a str,
    },
    /// The stage has done this many units in all.
    Advanced {
        /// The stage.
        stage: &'a Stage,
        /// Units done since its start.
        done: u64,
    },
    /// Metrics of one step, under the names that TRL uses (`loss`, `accuracy`, `margin`, ...).
    Metrics {
        /// The stage.
        stage: &'a Stage,
        /// The step, from 1.
        step: u64,
        /// Name and value.
        values: &'a [(&'a str, f64)],
    },
    /// A stage has ended; once per stage, and not after a stop.
    Finished {
        /// The stage.
        stage: &'a Stage,
    },
    /// A sentence for people to read.
    Note {
        /// The sentence.
        text: &'a str,
    },
}

impl Event<'_> {
    /// An owned copy with the present time, which can be sent to another thread or serialized.
    ///
    /// ```
    /// use ser_core::{Event, Stage};
    ///
    /// let record = Event::Advanced { stage: &Stage::Score, done: 7 }.to_owned();
    /// let json = serde_json::to_string(&record)?;
    /// assert!(json.ends_with(r#""event":"advanced","stage":"score","done":7}"#), "{json}");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn to_owned(&self) -> EventRecord {
        let event = match *self {
            Event::Started { stage, total, unit } => {
                OwnedEvent::Started { stage: stage.clone(), total, unit: unit.to_owned() }
            }
            Event::Advanced { stage, done } => OwnedEvent::Advanced { stage: stage.clone(), done },
            Event::Metrics { stage, step, values } => {
                let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
                OwnedEvent::Metrics { stage: stage.clone(), step, values }
            }
            Event::Finished { stage } => OwnedEvent::Finished { stage: stage.clone() },
            Event::Note { text } => OwnedEvent::Note { text: text.to_owned() },
        };
        EventRecord { time: unix_time(), event }
    }
}

/// Seconds since 1970-01-01T00:00:00Z; 0 if the clock is set to an earlier time.
pub fn unix_time() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// An event with the time at which it happened.
///
/// As JSON it is one object: `{"time":1764259200.25,"event":"advanced","stage":"score","done":7}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub time: f64,
    /// The event.
    #[serde(flatten)]
    pub event: OwnedEvent,
}

/// An [`Event`] that owns its parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum OwnedEvent {
    /// See [`Event::Started`].
    Started {
        /// The stage.
        stage: Stage,
        /// The number of units of work, where known.
        total: Option<u64>,
        /// The name of a unit.
        unit: String,
    },
    /// See [`Event::Advanced`].
    Advanced {
        /// The stage.
        stage: Stage,
        /// Units done since its start.
        done: u64,
    },
    /// See [`Event::Metrics`]. In JSON, values that are not finite are null, and null is read as NaN.
    Metrics {
        /// The stage.
        stage: Stage,
        /// The step, from 1.
        step: u64,
        /// Name and value.
        #[serde(deserialize_with = "null_as_nan")]
        values: Vec<(String, f64)>,
    },
    /// See [`Event::Finished`].
    Finished {
        /// The stage.
        stage: Stage,
    },
    /// See [`Event::Note`].
    Note {
        /// The sentence.
        text: String,
    },
}

impl OwnedEvent {
    /// The name of the event's kind, as in JSON: `started`, `advanced`, `metrics`, `finished` or `note`.
    pub fn name(&self) -> &'static str {
        match self {
            OwnedEvent::Started { .. } => "started",
            OwnedEvent::Advanced { .. } => "advanced",
            OwnedEvent::Metrics { .. } => "metrics",
            OwnedEvent::Finished { .. } => "finished",
            OwnedEvent::Note { .. } => "note",
        }
    }
}

fn null_as_nan<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, f64)>, D::Error> {
    let values = Vec::<(String, Option<f64>)>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|(name, value)| (name, value.unwrap_or(f64::NAN))).collect())
}

/// The metrics and notes of one step of a training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepOutcome {
    /// Metrics under the names that TRL uses, as [`Event::Metrics`] takes them.
    pub values: Vec<(&'static str, f64)>,
    /// Sentences for people to read, such as warnings.
    pub notes: Vec<String>,
}

/// The answer of an [`Observer`]: whether the work continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Control {
    /// Continue.
    Continue,
    /// Stop at the next point at which no work is lost.
    Stop,
}

/// An observer that ignores every event and never stops the work.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn observe(&mut self, _event: &Event<'_>) -> Control {
        Control::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_json() {
        let stage = Stage::from("train loop 1");
        let values = [("loss", 0.5), ("grad_norm", f64::INFINITY)];
        for event in [
            Event::Started { stage: &stage, total: None, unit: "steps" },
            Event::Metrics { stage: &stage, step: 3, values: &values[..1] },
            Event::Finished { stage: &stage },
            Event::Note { text: "warning: KL" },
        ] {
            let record = event.to_owned();
            let json = serde_json::to_string(&record).unwrap();
            assert_eq!(serde_json::from_str::<EventRecord>(&json).unwrap(), record, "{json}");
        }
        let json =
            serde_json::to_string(&Event::Metrics { stage: &stage, step: 3, values: &values }.to_owned()).unwrap();
        assert!(
            json.contains(r#""stage":"train loop 1","step":3,"values":[["loss",0.5],["grad_norm",null]]"#),
            "{json}"
        );
        let EventRecord { time, event: OwnedEvent::Metrics { values, .. } } = serde_json::from_str(&json).unwrap()
        else {
            panic!("{json}");
        };
        assert!(values[1].1.is_nan() && time > 1.7e9);
    }
}
