//! What the questions are about, one module per topic.

mod astronomy;
mod computing;
mod cooking;
mod crafts;
mod gardening;
mod health;
mod history;
mod home_repair;
mod language;
mod money;
mod music;
mod pets;
mod physics;
mod travel;

use super::cues::{Cue, Phrases};

/// One field of interest.
pub(super) struct Topic {
    /// Its name.
    pub(super) name: &'static str,
    /// What a person may want, as a verb phrase.
    pub(super) goals: &'static [&'static str],
    /// Things that sentences of the answer can be about, in the singular, with an article.
    pub(super) things: &'static [&'static str],
    /// Plain statements on the field, neither good nor poor.
    pub(super) statements: &'static [&'static str],
    method: Phrases,
    material: Phrases,
    timing: Phrases,
    remedy: Phrases,
    fact: Phrases,
}

impl Topic {
    /// What this topic's good and poor answers say for a cue.
    pub(super) fn phrases(&self, cue: Cue) -> &Phrases {
        let own = match cue {
            Cue::Method => &self.method,
            Cue::Material => &self.material,
            Cue::Timing => &self.timing,
            Cue::Remedy => &self.remedy,
            _ => &self.fact,
        };
        cue.shared_phrases().unwrap_or(own)
    }
}

/// All topics.
pub(super) const TOPICS: &[Topic] = &[
    cooking::COOKING,
    gardening::GARDENING,
    travel::TRAVEL,
    physics::PHYSICS,
    history::HISTORY,
    health::HEALTH,
    computing::COMPUTING,
    money::MONEY,
    music::MUSIC,
    home_repair::HOME_REPAIR,
    pets::PETS,
    language::LANGUAGE,
    astronomy::ASTRONOMY,
    crafts::CRAFTS,
];

/// Circumstances that a question may add.
pub(super) const CIRCUMSTANCES: &[&str] = &[
    "on a small budget",
    "with very little time",
    "as a complete beginner",
    "before the weekend",
    "without special tools",
    "for the first time",
    "with two young children around",
    "in a tiny flat",
    "for a friend",
    "after a bad experience",
    "in the middle of winter",
    "while studying full time",
    "together with my neighbours",
    "despite a bad knee",
    "with only basic supplies",
    "during a long holiday",
];

/// Ways to ask. `{goal}` and `{circumstance}` are filled in.
pub(super) const QUESTIONS: &[&str] = &[
    "How do I {goal} {circumstance}?",
    "What is the best way to {goal} {circumstance}?",
    "I would like to {goal} {circumstance}. Where should I begin?",
    "Could you tell me how to {goal} {circumstance}?",
    "My sister wants to {goal} {circumstance}. What should she know?",
    "Is it realistic to {goal} {circumstance}, and how?",
    "Any advice on how to {goal} {circumstance}?",
    "I have to {goal} {circumstance}. Can you help?",
    "Please explain how to {goal} {circumstance}.",
    "What do people need to {goal} {circumstance}?",
];
