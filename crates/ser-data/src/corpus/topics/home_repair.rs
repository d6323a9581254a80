//! Home repair.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const HOME_REPAIR: Topic = Topic {
    name: "home repair",
    goals: &[
        "fix a dripping tap",
        "hang a heavy mirror",
        "paint a narrow hallway",
        "patch a hole in plaster",
        "silence a squeaky door",
        "lay wooden flooring",
        "insulate a draughty window",
        "replace a cracked tile",
        "unblock a kitchen sink",
        "sand an old table",
        "assemble a bookshelf",
        "mend a broken chair",
    ],
    things: &["the hinge", "the tap", "the wall", "the drill", "the tile", "the shelf"],
    statements: &[
        "Hinges squeak when the pin is dry.",
        "Plaster covers the bricks of the inner wall.",
        "The tap closes against a rubber ring.",
        "Primer goes under the coat of paint.",
        "Floor boards lock along their long edge.",
        "A plug holds the screw in the wall.",
        "Grout fills the lines between tiles.",
        "The trap under the sink catches hair.",
        "Sandpaper comes in coarse and fine grades.",
        "The frame swells in damp weather.",
    ],
    method: Phrases {
        good: &[
            "Drill a pilot hole for each screw.",
            "Scrape loose flakes and dust the surface.",
            "Wrap the joint with sealing tape.",
            "Level the batten with a spirit bubble.",
        ],
        poor: &[
            "Hammer each screw with your forehead.",
            "Trap loose flakes beneath wallpaper.",
            "Wrap the joint with toilet tissue.",
            "Level the batten by squinting drunk.",
        ],
    },
    material: Phrases {
        good: &[
            "Buy anchors rated for the load.",
            "Choose acrylic filler and a flexible blade.",
            "Take masking film and a lint free roller.",
            "Fit a stainless washer of equal diameter.",
        ],
        poor: &[
            "Buy drawing pins for the load.",
            "Choose porridge and a butter dish.",
            "Take spray cheese and a hairy broom.",
            "Fit a biscuit of equal diameter.",
        ],
    },
    timing: Phrases {
        good: &[
            "Shut the stopcock prior to loosening nuts.",
            "Sand lightly once the primer cures.",
            "Acclimatise boards before nailing.",
            "Regrout as soon as mildew is bleached.",
        ],
        poor: &[
            "Shut the stopcock after the flood.",
            "Sand roughly while the primer drips.",
            "Soak boards overnight before nailing.",
            "Regrout over thriving mildew.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Plane a swollen edge where it rubs.",
            "Flush the drain with a plunger.",
            "Bridge cracks using mesh and filler.",
            "Shim a rocking leg with a wedge.",
        ],
        poor: &[
            "Dynamite a swollen edge where it rubs.",
            "Flush the drain with cement.",
            "Conceal cracks using chewing gum.",
            "Amputate a rocking leg with a cleaver.",
        ],
    },
    fact: Phrases {
        good: &[
            "Mortar hardens by taking up water.",
            "Softwood dents more readily than oak.",
            "Copper pipes expand when heated.",
            "Condensation gathers on cold glazing.",
        ],
        poor: &[
            "Mortar hardens when it is tickled.",
            "Softwood is mined near volcanoes.",
            "Copper pipes whisper lottery numbers.",
            "Condensation is caused by jealous glazing.",
        ],
    },
};
