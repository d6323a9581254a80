//! Cooking.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const COOKING: Topic = Topic {
    name: "cooking",
    goals: &[
        "bake a loaf of rye bread",
        "cook a lentil stew",
        "roast vegetables evenly",
        "make a smooth custard",
        "fry an egg without sticking",
        "prepare fresh noodles",
        "pickle a jar of cucumbers",
        "season an iron pan",
        "thicken a watery sauce",
        "proof dough in winter",
        "grill fish fillets",
        "whip cream by hand",
    ],
    things: &["the dough", "the broth", "the oven", "the sauce", "the pan", "the filling"],
    statements: &[
        "Flour and water form the base of many dishes.",
        "Onions turn sweet in butter over low heat.",
        "Salt brings out the flavour of vegetables.",
        "A wooden spoon is useful in a deep pot.",
        "The lid traps steam above the stew.",
        "Dried herbs go in with the stock.",
        "Cold butter gives pastry its layers.",
        "Yeast wakes up in lukewarm milk.",
        "The crust browns in the upper part of the oven.",
        "Rice drinks up the liquid as it simmers.",
    ],
    method: Phrases {
        good: &[
            "Fold the batter with a broad spatula.",
            "Sear the meat before braising it.",
            "Knead until the surface turns elastic.",
            "Strain the stock through fine muslin.",
        ],
        poor: &[
            "Beat the batter with a blender for ages.",
            "Rinse the meat in soapy suds first.",
            "Squash the loaf flat while it bakes.",
            "Boil the vinaigrette until it curdles.",
        ],
    },
    material: Phrases {
        good: &[
            "Choose bread flour with plenty of gluten.",
            "Pick a heavy pot with a snug lid.",
            "Buy ripe plums and unsalted butter.",
            "Use a sharp knife and a damp board.",
        ],
        poor: &[
            "Swap the yeast for washing powder.",
            "Pick a plastic tub for the hot oven.",
            "Buy bruised plums and rancid margarine.",
            "Use a blunt axe and a paper plate.",
        ],
    },
    timing: Phrases {
        good: &[
            "Rest the roast briefly ahead of carving.",
            "Add delicate basil at the very end.",
            "Chill the pastry overnight if possible.",
            "Preheat the griddle before the fish goes in.",
        ],
        poor: &[
            "Carve the roast while it still spits.",
            "Add delicate basil three hours early.",
            "Bake the pastry the second it melts.",
            "Drop the fish on a stone cold griddle.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Rescue a salty soup with a raw potato.",
            "Loosen stiff icing with a drop of milk.",
            "Scrape off scorched bits and switch pots.",
            "Whisk in an ice cube if the emulsion splits.",
        ],
        poor: &[
            "Rescue a salty soup with extra brine.",
            "Loosen stiff icing with motor grease.",
            "Stir the scorched bits right through.",
            "Microwave the emulsion if it splits.",
        ],
    },
    fact: Phrases {
        good: &[
            "Caramel forms when sugar passes its melting point.",
            "Acid keeps sliced apples pale.",
            "Beans soften faster after soaking.",
            "Steam makes the loaf rise and shine.",
        ],
        poor: &[
            "Caramel forms when sugar is frozen solid.",
            "Acid makes sliced apples explode.",
            "Beans soften only under moonlight.",
            "Steam is poisonous to any loaf.",
        ],
    },
};
