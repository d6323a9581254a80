//! Crafts.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const CRAFTS: Topic = Topic {
    name: "crafts",
    goals: &[
        "knit a striped scarf",
        "sew a button on a coat",
        "throw a clay bowl",
        "bind a small notebook",
        "carve a wooden spoon",
        "dye wool with plants",
        "fold a paper crane",
        "weave a willow basket",
        "print a linocut card",
        "mend torn jeans",
        "make beeswax candles",
        "crochet a baby blanket",
    ],
    things: &["the yarn", "the needle", "the clay", "the fabric", "the pattern", "the thread"],
    statements: &[
        "Wool takes up colour in a warm bath.",
        "The needle passes through both layers.",
        "Clay shrinks a little in the kiln.",
        "Willow bends after a night in water.",
        "A bone folder presses the crease.",
        "Stitches loop around each other in rows.",
        "Beeswax melts in a tin over the stove.",
        "The grain runs along the handle.",
        "Ink sits on the raised parts of the block.",
        "A thimble covers the tip of the finger.",
    ],
    method: Phrases {
        good: &[
            "Block the finished piece on pins.",
            "Wedge out bubbles before throwing.",
            "Cut with the selvage lying straight.",
            "Score and slip both edges to join.",
        ],
        poor: &[
            "Iron the finished piece to cinders.",
            "Inflate bubbles before throwing.",
            "Cut while the cloth is on your lap.",
            "Staple and spit both edges to join.",
        ],
    },
    material: Phrases {
        good: &[
            "Choose merino with a tight twist.",
            "Take a walnut blank free of knots.",
            "Use mordant, madder and soft water.",
            "Thread waxed linen through a bookbinder's awl.",
        ],
        poor: &[
            "Choose cobweb with a loose twist.",
            "Take a crumbly blank full of woodworm.",
            "Use ketchup, soot and seawater.",
            "Thread wet noodles through a hairpin.",
        ],
    },
    timing: Phrases {
        good: &[
            "Trim the foot at the leather hard stage.",
            "Prewash cotton ahead of tailoring.",
            "Count rows after every repeat.",
            "Pour wax as a skin begins to form.",
        ],
        poor: &[
            "Trim the foot once it is shattered.",
            "Prewash cotton after the wedding.",
            "Count rows when the scarf is sold.",
            "Pour wax over the flaming wick.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Ladder a dropped loop with a hook.",
            "Unpick a puckered seam and ease it.",
            "Fill hairline chips with matching glaze.",
            "Dampen brittle withies in a towel.",
        ],
        poor: &[
            "Burn a dropped loop with a torch.",
            "Hide a puckered seam under mud.",
            "Fill hairline chips with toothpaste.",
            "Bake brittle withies until they snap.",
        ],
    },
    fact: Phrases {
        good: &[
            "Felt forms as scales interlock.",
            "Bias tape stretches around curves.",
            "Porcelain vitrifies at fierce temperatures.",
            "Indigo turns blue upon meeting air.",
        ],
        poor: &[
            "Felt forms as sheep get angry.",
            "Bias tape stretches the truth.",
            "Porcelain vitrifies in a hammock.",
            "Indigo turns up at weddings uninvited.",
        ],
    },
};
