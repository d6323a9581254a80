//! Gardening.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const GARDENING: Topic = Topic {
    name: "gardening",
    goals: &[
        "grow tomatoes on a balcony",
        "prune an old apple tree",
        "revive a dry lawn",
        "start a compost heap",
        "keep snails off the lettuce",
        "plant tulip bulbs",
        "propagate lavender from cuttings",
        "water orchids properly",
        "repot a large fern",
        "sow carrots in clay soil",
        "train beans up a trellis",
        "attract bees to a yard",
    ],
    things: &["the soil", "the seedling", "the hedge", "the compost", "the flower bed", "the root ball"],
    statements: &[
        "Worms loosen the earth beneath the bed.",
        "Shade from the fence reaches the border by noon.",
        "Clay pots breathe through their walls.",
        "Rain barrels collect soft water from the roof.",
        "Mulch of bark covers the ground between rows.",
        "Roses bloom on the growth of this year.",
        "Leaves turn toward the window in spring.",
        "A trowel and a fork cover most jobs.",
        "Peat and sand make up the potting mix.",
        "Seeds sprout in a tray on the sill.",
    ],
    method: Phrases {
        good: &[
            "Snip just above an outward facing bud.",
            "Tease apart the roots and spread them.",
            "Rake in humus before sowing the rows.",
            "Tie climbing stems loosely to canes.",
        ],
        poor: &[
            "Rip off every bud with pliers.",
            "Shave the roots bald and tie a knot.",
            "Stamp the rows into hard concrete.",
            "Strangle climbing stems with wire.",
        ],
    },
    material: Phrases {
        good: &[
            "Choose a loamy mix with good drainage.",
            "Fetch straw, leaf mould and bone meal.",
            "Take clean secateurs and twine.",
            "Fill the saucer with lukewarm rainwater.",
        ],
        poor: &[
            "Choose rubble soaked in engine oil.",
            "Fetch bleach, glitter and plastic confetti.",
            "Take rusty scissors and duct tape.",
            "Fill the saucer with boiling vinegar.",
        ],
    },
    timing: Phrases {
        good: &[
            "Sprinkle at dawn, when the sun is low.",
            "Divide perennials in early autumn.",
            "Harden off nursery plants before May frosts pass.",
            "Harvest courgettes while they are tender.",
        ],
        poor: &[
            "Sprinkle at noon in a blazing heatwave.",
            "Divide perennials in full bloom.",
            "Expose nursery plants to January blizzards.",
            "Harvest courgettes once they have rotted.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Wipe aphids away with mild suds.",
            "Cut blighted foliage and burn it.",
            "Lift waterlogged bulbs onto gravel.",
            "Feed yellow leaves with nettle tea.",
        ],
        poor: &[
            "Fatten aphids with a sugary syrup.",
            "Rub blighted foliage over healthy rows.",
            "Drown waterlogged bulbs a second time.",
            "Spray yellow leaves with hair lacquer.",
        ],
    },
    fact: Phrases {
        good: &[
            "Clover returns nitrogen to tired ground.",
            "Ladybirds devour greenfly by the dozen.",
            "Evergreens lose moisture on windy days.",
            "Tubers swell beneath the ridged earth.",
        ],
        poor: &[
            "Clover turns tired ground into glass.",
            "Ladybirds lay greenfly by the dozen.",
            "Evergreens drink gasoline on windy days.",
            "Tubers swell only inside a fridge.",
        ],
    },
};
