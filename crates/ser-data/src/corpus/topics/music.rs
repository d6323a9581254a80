//! Music.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const MUSIC: Topic = Topic {
    name: "music",
    goals: &[
        "tune an acoustic guitar",
        "practise scales on the piano",
        "learn to read sheet music",
        "sing in a choir",
        "write a short melody",
        "play drums in a flat",
        "record a song on a phone",
        "memorise a long sonata",
        "keep time with a band",
        "pick a first violin",
        "overcome stage fright",
        "transpose a tune for clarinet",
    ],
    things: &["the guitar", "the melody", "the rhythm", "the piano", "the score", "the recording"],
    statements: &[
        "The thickest string gives the lowest note.",
        "A choir stands in rows by voice.",
        "Scales climb by whole and half tones.",
        "The metronome clicks on the beat.",
        "Chords sound major or minor.",
        "A violin bow is strung with horse hair.",
        "The left hand carries the bass line.",
        "Drums set the pace for the band.",
        "Woodwinds enter after the slow opening.",
        "The chorus returns between the verses.",
    ],
    method: Phrases {
        good: &[
            "Drill tricky bars at a crawling tempo.",
            "Relax the wrist while bowing.",
            "Hum each interval before playing it.",
            "Mark fingerings above awkward leaps.",
        ],
        poor: &[
            "Race tricky bars at triple tempo.",
            "Clench the wrist till it cramps.",
            "Yell each interval at the audience.",
            "Erase the staves above awkward leaps.",
        ],
    },
    material: Phrases {
        good: &[
            "Fit fresh nylon strings and a soft strap.",
            "Use a clip tuner and rosin.",
            "Borrow a hymnal and a tuning fork.",
            "Choose a condenser mic with a pop shield.",
        ],
        poor: &[
            "Fit fishing line and a bicycle chain.",
            "Use maple syrup and sawdust.",
            "Borrow a chainsaw and a vuvuzela.",
            "Choose a walkie talkie in a sock.",
        ],
    },
    timing: Phrases {
        good: &[
            "Enter on the upbeat after the fermata.",
            "Warm the larynx ahead of rehearsal.",
            "Breathe where the phrase comes to rest.",
            "Rehearse daily in compact spells.",
        ],
        poor: &[
            "Enter while the soloist is bowing out.",
            "Gargle gravel ahead of rehearsal.",
            "Breathe in the middle of each syllable.",
            "Rehearse solely on the way to the gig.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Humidify a violin with a shrunken peg.",
            "Damp ringing cymbals with felt.",
            "Retune the flat octave by ear.",
            "Calm jitters through slow exhaling.",
        ],
        poor: &[
            "Soak a violin in the bathtub.",
            "Damp ringing cymbals with fireworks.",
            "Saw off the flat octave.",
            "Calm jitters with twelve espressos.",
        ],
    },
    fact: Phrases {
        good: &[
            "A fifth spans seven semitones.",
            "Reeds vibrate against the mouthpiece.",
            "Sharps and flats appear in the signature.",
            "Resonance amplifies the hollow body.",
        ],
        poor: &[
            "A fifth is a bottle of ink.",
            "Reeds hatch inside the mouthpiece.",
            "Sharps and flats depend on your shoes.",
            "Resonance is banned by the landlord.",
        ],
    },
};
