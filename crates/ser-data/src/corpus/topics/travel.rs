//! Travel.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const TRAVEL: Topic = Topic {
    name: "travel",
    goals: &[
        "plan a train trip across Europe",
        "pack for a week in the mountains",
        "find a quiet hostel",
        "change money abroad",
        "cope with jet lag",
        "book a ferry to the islands",
        "rent a camper van",
        "visit a desert town",
        "learn phrases before a holiday",
        "travel with a folding bicycle",
        "choose a seat on a night bus",
        "hike along the coast",
    ],
    things: &["the suitcase", "the itinerary", "the ticket", "the passport", "the route", "the guesthouse"],
    statements: &[
        "Night trains link the larger capitals.",
        "The old harbour lies behind the market square.",
        "Hostels often share a kitchen and a garden.",
        "Coastal paths pass through several villages.",
        "A phrase book fits in the outer pocket.",
        "Ferries leave from the pier beside the lighthouse.",
        "Mountain huts serve soup and bread.",
        "The border station has a counter for visas.",
        "Buses run along the valley on weekdays.",
        "Street stalls sell maps and postcards.",
    ],
    method: Phrases {
        good: &[
            "Roll shirts around your socks and shoes.",
            "Photocopy visas and tuck them elsewhere.",
            "Reserve the first night in advance.",
            "Ride local trams to get your bearings.",
        ],
        poor: &[
            "Cram wet shirts around a melting cheese.",
            "Mail your visas to a random stranger.",
            "Arrive at midnight with nowhere booked.",
            "Flag unmarked vans to get your bearings.",
        ],
    },
    material: Phrases {
        good: &[
            "Pack layers, plasters and a rain shell.",
            "Bring a universal adapter and earplugs.",
            "Carry a refillable flask and snacks.",
            "Choose broken-in boots with grip.",
        ],
        poor: &[
            "Pack a chandelier and six anvils.",
            "Bring fireworks and an unlicensed drone.",
            "Carry all your jewels in a clear bag.",
            "Choose brand new heels for the glacier.",
        ],
    },
    timing: Phrases {
        good: &[
            "Reach the airport with an hour to spare.",
            "Cross the pass before afternoon thunder.",
            "Reset your watch upon boarding.",
            "Visit the cathedral at opening time.",
        ],
        poor: &[
            "Reach the airport after the gate has shut.",
            "Cross the pass in the thick of thunder.",
            "Stay awake for three nights upon landing.",
            "Visit the cathedral during the evacuation.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Report lost luggage at the carrier desk.",
            "Sip ginger tea against seasickness.",
            "Phone the consulate about stolen papers.",
            "Rebook a cancelled leg through the operator.",
        ],
        poor: &[
            "Report lost luggage to a pigeon.",
            "Gulp raw oysters against seasickness.",
            "Forge a replacement for stolen papers.",
            "Hijack a tractor after a cancelled leg.",
        ],
    },
    fact: Phrases {
        good: &[
            "Off season fares drop in November.",
            "Altitude makes visitors short of breath.",
            "Tides decide when the causeway is open.",
            "Siesta closes shops in the early afternoon.",
        ],
        poor: &[
            "Off season fares are paid in seashells.",
            "Altitude makes visitors grow taller.",
            "Tides are switched off by lifeguards.",
            "Siesta closes the sky until Thursday.",
        ],
    },
};
