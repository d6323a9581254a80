//! Astronomy.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const ASTRONOMY: Topic = Topic {
    name: "astronomy",
    goals: &[
        "find Saturn in the evening sky",
        "choose a first telescope",
        "photograph the moon",
        "watch a meteor shower",
        "explain an eclipse to a child",
        "read a star chart",
        "tell a planet from a star",
        "observe sunspots",
        "follow a space station pass",
        "join an observatory night",
        "sketch a distant galaxy",
        "locate the northern star",
    ],
    things: &["the telescope", "the mount", "the star chart", "the eyepiece", "the tripod", "the finder"],
    statements: &[
        "Saturn shines with a pale yellow light.",
        "A telescope gathers light with its mirror.",
        "Meteors burn high above the clouds.",
        "The shadow of the earth crosses the moon.",
        "Planets wander along the same band of sky.",
        "Dark sites lie far from the city.",
        "The eyepiece slides into the focuser.",
        "Galaxies appear as faint grey patches.",
        "The great bear turns around the pole.",
        "Dust from comets crosses our path in August.",
    ],
    method: Phrases {
        good: &[
            "Let your pupils adapt in darkness.",
            "Sweep from a bright guide star.",
            "Stack several short exposures.",
            "Align the polar axis with the pole.",
        ],
        poor: &[
            "Dazzle your pupils with a headlamp.",
            "Sweep the lawn for a guide star.",
            "Stack several unopened pizzas.",
            "Align the polar axis with a pub.",
        ],
    },
    material: Phrases {
        good: &[
            "Begin with binoculars on a monopod.",
            "Fit a certified solar filter in front.",
            "Use a planisphere and a red torch.",
            "Pick a wide aperture over gadgets.",
        ],
        poor: &[
            "Begin with a kaleidoscope on a kite.",
            "Fit a burst balloon in front.",
            "Use a pizza menu and a disco ball.",
            "Pick a gold plated tube without glass.",
        ],
    },
    timing: Phrases {
        good: &[
            "Observe planets near opposition.",
            "Go out after midnight for the Perseids.",
            "Avoid the full moon for nebulae.",
            "Wait for twilight to end before framing.",
        ],
        poor: &[
            "Observe planets through a noon blizzard.",
            "Go out after breakfast for the Perseids.",
            "Demand the full moon for nebulae.",
            "Point at the naked sun before framing.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Collimate mirrors if stars look lopsided.",
            "Warm dewy optics with a heater band.",
            "Steady a shaky image with a lower power.",
            "Drive upwind to escape haze.",
        ],
        poor: &[
            "Repaint mirrors if stars look lopsided.",
            "Lick dewy optics until they shine.",
            "Magnify a shaky image tenfold more.",
            "Light bonfires to escape haze.",
        ],
    },
    fact: Phrases {
        good: &[
            "Parsecs measure distance between suns.",
            "Craters record ancient impacts.",
            "Pulsars spin with remarkable regularity.",
            "Titan has a dense atmosphere.",
        ],
        poor: &[
            "Parsecs measure the patience of cats.",
            "Craters are dug by lunar moles.",
            "Pulsars spin because they are dizzy.",
            "Titan has a shopping centre.",
        ],
    },
};
