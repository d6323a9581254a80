//! History.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const HISTORY: Topic = Topic {
    name: "history",
    goals: &[
        "trace the history of a village",
        "read an old parish register",
        "date a bronze coin",
        "write about the silk road",
        "explain the fall of an empire",
        "research a family name",
        "preserve letters from the war",
        "compare two medieval castles",
        "interview an elderly relative",
        "describe life in a Roman town",
        "present the age of sail to a class",
        "map the growth of a railway",
    ],
    things: &["the archive", "the manuscript", "the chronicle", "the monument", "the register", "the timeline"],
    statements: &[
        "Merchants carried silk and paper westward.",
        "The castle guarded a ford in the river.",
        "Monks copied manuscripts in a cold hall.",
        "Railways reached the coal towns first.",
        "Coins bear the portrait of the emperor.",
        "The treaty was signed in a tent near the border.",
        "Guilds set the prices in the walled city.",
        "Sailors navigated by the northern star.",
        "A fire destroyed the wooden quarter.",
        "The census names every household on the street.",
    ],
    method: Phrases {
        good: &[
            "Weigh each witness against the others.",
            "Transcribe the ink exactly as written.",
            "Cite the folio beside every claim.",
            "Place events within their wider era.",
        ],
        poor: &[
            "Believe whichever witness is funniest.",
            "Improve the ink with a felt marker.",
            "Attribute every claim to Napoleon.",
            "Stir events from three eras together.",
        ],
    },
    material: Phrases {
        good: &[
            "Consult parish rolls and tithe maps.",
            "Wear cotton sleeves near fragile vellum.",
            "Borrow microfilm from the county office.",
            "Compare ledgers, diaries and obituaries.",
        ],
        poor: &[
            "Consult tarot cards and cereal boxes.",
            "Eat jam sandwiches near fragile vellum.",
            "Borrow dialogue from a pirate musical.",
            "Compare tattoos, bumper stickers and jingles.",
        ],
    },
    timing: Phrases {
        good: &[
            "Fix the reign before dating the edict.",
            "Note when calendars switched to Gregorian.",
            "Talk with veterans while they recall.",
            "Order the dynasties by accession.",
        ],
        poor: &[
            "Date the edict by the paper's smell.",
            "Assume that calendars began in Hollywood.",
            "Talk with veterans after their funeral.",
            "Order the dynasties by hat size.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Flag gaps in the lineage with a query.",
            "Resolve clashing dates through tax rolls.",
            "Restore faded seals under a conservator.",
            "Admit forgeries in a footnote.",
        ],
        poor: &[
            "Fill gaps in the lineage with dragons.",
            "Resolve clashing dates by coin toss.",
            "Restore faded seals with ketchup.",
            "Frame forgeries as the proudest exhibit.",
        ],
    },
    fact: Phrases {
        good: &[
            "Plague halved the workforce of many shires.",
            "Printing spread pamphlets among townsfolk.",
            "Serfs owed labour to the manor.",
            "Canals preceded steam in hauling freight.",
        ],
        poor: &[
            "Plague was invented by a shoe company.",
            "Printing was banned by talking horses.",
            "Serfs owed selfies to the manor.",
            "Canals were dug by retired astronauts.",
        ],
    },
};
