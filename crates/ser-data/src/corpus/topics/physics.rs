//! Physics.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const PHYSICS: Topic = Topic {
    name: "physics",
    goals: &[
        "understand how a pendulum swings",
        "build a simple electric motor",
        "explain why ice floats",
        "estimate the height of a tower",
        "show that light bends in water",
        "describe how magnets attract",
        "demonstrate air pressure",
        "derive the range of a thrown ball",
        "make a pinhole camera",
        "compare heat and temperature",
        "model the orbit of a moon",
        "record the echo in a hall",
    ],
    things: &["the pendulum", "the lens", "the coil", "the circuit", "the magnet", "the spring"],
    statements: &[
        "A pendulum trades height for speed.",
        "Current flows through the coil of copper wire.",
        "Light slows down inside a glass prism.",
        "The moon pulls on the oceans twice a day.",
        "Sound travels as waves through the air.",
        "Mass and distance enter the law of attraction.",
        "A lever turns about its fixed point.",
        "Ice takes up more room than the water it came from.",
        "The needle of a compass points along the field.",
        "Charges gather at the tip of a conductor.",
    ],
    method: Phrases {
        good: &[
            "Average five swings to tame the scatter.",
            "Sketch arrows for each force involved.",
            "Convert units before combining terms.",
            "Vary a single parameter at once.",
        ],
        poor: &[
            "Report the one swing that flatters you.",
            "Invent arrows for ghosts and spirits.",
            "Add metres to volts and kelvins.",
            "Tweak six parameters while blindfolded.",
        ],
    },
    material: Phrases {
        good: &[
            "Wind enamelled copper on an iron nail.",
            "Hang a brass bob on thin silk.",
            "Borrow a laser pointer and a prism.",
            "Clamp the ruler to a rigid bench.",
        ],
        poor: &[
            "Wind cooked spaghetti on a candle.",
            "Hang a balloon on a bungee rope.",
            "Borrow a toaster and a bathtub.",
            "Clamp the ruler to a trampoline.",
        ],
    },
    timing: Phrases {
        good: &[
            "Start the stopwatch at the lowest point.",
            "Let the thermometer settle prior to noting.",
            "Sample the voltage once transients vanish.",
            "Log the decay at regular ticks.",
        ],
        poor: &[
            "Start the stopwatch after lunch.",
            "Shake the thermometer prior to noting.",
            "Sample the voltage during a lightning strike.",
            "Log the decay from memory next year.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Shield stray fields with a steel box.",
            "Zero the balance if it drifts.",
            "Reduce parallax by looking squarely.",
            "Grease the axle if friction dominates.",
        ],
        poor: &[
            "Cancel stray fields with garlic.",
            "Kick the balance if it drifts.",
            "Increase parallax by spinning around.",
            "Glue the axle if friction dominates.",
        ],
    },
    fact: Phrases {
        good: &[
            "Momentum is conserved when carts collide.",
            "Denser fluids exert greater buoyancy.",
            "Amplitude hardly alters a small oscillation.",
            "Resistance grows with the length of a wire.",
        ],
        poor: &[
            "Momentum is eaten when carts collide.",
            "Denser fluids repel the colour green.",
            "Amplitude reverses the arrow of ageing.",
            "Resistance shrinks if a wire is praised.",
        ],
    },
};
