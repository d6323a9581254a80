//! The cues of quality and how they are phrased.
//!
//! Every cue has two lists of phrases: what a good answer tends to say and what a poor one tends to say. `{thing}`
//! stands for something the topic is about, `{n}` for a number. Cues of manner have their phrases here; cues of
//! substance have theirs with each topic.

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

    /// The number of positions in both lists.
    pub(super) fn positions(&self) -> usize {
        self.good.len().min(self.poor.len())
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
    /// Concrete numbers, or vague words.
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
    /// Of the topic: a sound step, or a blunder.
    Method,
    /// Of the topic: the right means, or absurd ones.
    Material,
    /// Of the topic: the right moment, or the wrong one.
    Timing,
    /// Of the topic: what helps when it goes wrong, or what makes it worse.
    Remedy,
    /// Of the topic: a true statement, or nonsense.
    Fact,
}

impl Cue {
    /// Cues of manner, phrased alike on every topic.
    pub const GENERAL: [Cue; 10] = [
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

    /// Cues of substance, which every topic phrases in its own way.
    pub const TOPICAL: [Cue; 5] = [Cue::Method, Cue::Material, Cue::Timing, Cue::Remedy, Cue::Fact];

    /// The phrases that all topics share; `None` for a cue of substance.
    pub(super) fn shared_phrases(self) -> Option<&'static Phrases> {
        match self {
            Cue::Tone => Some(&tone::TONE),
            Cue::Focus => Some(&focus::FOCUS),
            Cue::Detail => Some(&detail::DETAIL),
            Cue::Reason => Some(&reason::REASON),
            Cue::Order => Some(&order::ORDER),
            Cue::Caution => Some(&caution::CAUTION),
            Cue::Checking => Some(&checking::CHECKING),
            Cue::Calibration => Some(&calibration::CALIBRATION),
            Cue::Source => Some(&source::SOURCE),
            Cue::Closing => Some(&closing::CLOSING),
            Cue::Method | Cue::Material | Cue::Timing | Cue::Remedy | Cue::Fact => None,
        }
    }
}
