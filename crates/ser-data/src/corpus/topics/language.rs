//! Language.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const LANGUAGE: Topic = Topic {
    name: "language",
    goals: &[
        "learn Spanish verbs",
        "improve English spelling",
        "translate a poem",
        "speak Italian more fluently",
        "memorise Chinese characters",
        "write a formal letter",
        "understand fast speech",
        "teach German to a friend",
        "expand a small vocabulary",
        "pronounce French vowels",
        "find a conversation partner",
        "read a novel in Swedish",
    ],
    things: &["the grammar", "the vocabulary", "the accent", "the dictionary", "the lesson", "the sentence"],
    statements: &[
        "Verbs change their ending with the person.",
        "Vowels sound longer in the north.",
        "A dictionary lists the gender of nouns.",
        "Letters close with a polite formula.",
        "Films carry subtitles in both languages.",
        "Characters combine a sound and a meaning.",
        "The stress falls on the last syllable.",
        "Cards with a word on each side fit in a pocket.",
        "Rhymes survive in the songs of children.",
        "A novel repeats its common words on each page.",
    ],
    method: Phrases {
        good: &[
            "Shadow a podcast and mimic its intonation.",
            "Recall each word before flipping the card.",
            "Keep a journal of corrected errors.",
            "Group idioms by theme and register.",
        ],
        poor: &[
            "Recite a phone directory in monotone.",
            "Peek at each word and forget it.",
            "Keep repeating errors with pride.",
            "Shuffle idioms from six tongues at once.",
        ],
    },
    material: Phrases {
        good: &[
            "Choose graded readers with audio.",
            "Use a corpus tool and a thesaurus.",
            "Subscribe to a tutor and a study circle.",
            "Print conjugation charts for the fridge.",
        ],
        poor: &[
            "Choose warranty leaflets with coffee stains.",
            "Use a mistranslated menu and a puppet.",
            "Subscribe to mime artists and silence.",
            "Print gibberish charts for the dustbin.",
        ],
    },
    timing: Phrases {
        good: &[
            "Review flashcards at widening gaps.",
            "Converse early, even with halting syntax.",
            "Study nouns in brief morning bursts.",
            "Revisit tenses prior to the placement exam.",
        ],
        poor: &[
            "Review flashcards in a coma.",
            "Converse only once you are flawless.",
            "Study nouns through a thirty hour binge.",
            "Revisit tenses a decade after the exam.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Paraphrase when a term escapes you.",
            "Break tongue twisters into syllables.",
            "Request slower speech from natives.",
            "Contrast false friends in a table.",
        ],
        poor: &[
            "Faint when a term escapes you.",
            "Swallow tongue twisters with mustard.",
            "Insult natives until they slow down.",
            "Marry false friends in a chapel.",
        ],
    },
    fact: Phrases {
        good: &[
            "Cognates share an ancient root.",
            "Particles mark the object in Japanese.",
            "Adjectives agree with nouns in Romance tongues.",
            "Dialects differ in pitch and idiom.",
        ],
        poor: &[
            "Cognates are a kind of seafood.",
            "Particles mark the weekend in Japanese.",
            "Adjectives argue with nouns at parties.",
            "Dialects are issued by the post office.",
        ],
    },
};
