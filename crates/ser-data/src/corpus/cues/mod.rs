//! The cues of quality and how they are phrased.
//!
//! Every cue has two lists of phrases: what a good answer tends to say and what a poor one tends to say. `{thing}`
//! stands for something the topic is about, `{n}` for a number.

mod calibration;
mod caution;
mod checking;
mod closing;
mod detail;
mod focus;
mod order;
mod reason;
mod source;
mod tone;

use serde::{Deserialize, Serialize};

/// What good and poor answers say.
pub(super) struct Phrases {
    pub(super) good: &'static [&'static str],
    pub(super) poor: &'static [&'static str],
}

impl Phrases {
    /// The list of one kind.
    pub(super) fn of(&self, good: bool) -> &'static [&'static str] {
        if good { self.good } else { self.poor }
    }
}

/// A respect in which answers are good or poor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cue {
    /// Kind, or curt.
    Tone,
    /// Stays with the question, or drifts away from it.
    Focus,
    /// Concrete figures, or vague words.
    Detail,
    /// Gives a cause, or insists.
    Reason,
    /// Steps in sequence, or a jumble.
    Order,
    /// Minds safety, or is reckless.
    Caution,
    /// Says how to tell that it worked, or cannot be bothered.
    Checking,
    /// Acknowledges limits, or claims too much.
    Calibration,
    /// Something one can look up, or hearsay.
    Source,
    /// Rounded off, or broken off.
    Closing,
}

impl Cue {
    /// All cues.
    pub const ALL: [Cue; 10] = [
        Cue::Tone,
        Cue::Focus,
        Cue::Detail,
        Cue::Reason,
        Cue::Order,
        Cue::Caution,
        Cue::Checking,
        Cue::Calibration,
        Cue::Source,
        Cue::Closing,
    ];

    /// Its phrases.
    pub(super) fn phrases(self) -> &'static Phrases {
        match self {
            Cue::Tone => &tone::TONE,
            Cue::Focus => &focus::FOCUS,
            Cue::Detail => &detail::DETAIL,
            Cue::Reason => &reason::REASON,
            Cue::Order => &order::ORDER,
            Cue::Caution => &caution::CAUTION,
            Cue::Checking => &checking::CHECKING,
            Cue::Calibration => &calibration::CALIBRATION,
            Cue::Source => &source::SOURCE,
            Cue::Closing => &closing::CLOSING,
        }
    }
}
