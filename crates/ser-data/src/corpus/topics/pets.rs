//! Pets.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const PETS: Topic = Topic {
    name: "pets",
    goals: &[
        "train a puppy to sit",
        "introduce a cat to a dog",
        "set up a fish tank",
        "groom a long haired rabbit",
        "calm a nervous parrot",
        "walk two dogs together",
        "feed an elderly cat",
        "keep a hamster entertained",
        "stop a dog from barking",
        "travel with a kitten",
        "clean a turtle pond",
        "choose a dog from a shelter",
    ],
    things: &["the leash", "the cage", "the tank", "the kennel", "the litter box", "the feeding bowl"],
    statements: &[
        "Puppies chew on ropes and slippers.",
        "Cats watch the street from the window.",
        "A filter moves the water in the tank.",
        "Rabbits thump when they hear a noise.",
        "The parrot sleeps under a dark cloth.",
        "Dogs greet each other nose first.",
        "Hamsters run in a wheel at night.",
        "The turtle warms itself on a flat stone.",
        "A brush lifts loose fur from the coat.",
        "The shelter opens on weekday afternoons.",
    ],
    method: Phrases {
        good: &[
            "Reward a calm paw with a treat.",
            "Introduce newcomers through a mesh gate.",
            "Brush along the coat, never against it.",
            "Lure with kibble instead of shoving.",
        ],
        poor: &[
            "Punish a calm paw with a slap.",
            "Lock newcomers together in a crate.",
            "Brush with a wire rake and force.",
            "Drag by the tail instead of luring.",
        ],
    },
    material: Phrases {
        good: &[
            "Provide hay, tunnels and a chew block.",
            "Choose a padded harness with a name tag.",
            "Scoop unscented clay into a wide tray.",
            "Test the aquarium with nitrate strips.",
        ],
        poor: &[
            "Provide chocolate, grapes and onion rings.",
            "Choose a choke chain with spikes.",
            "Scoop broken glass into a wide tray.",
            "Top up the aquarium with lemonade.",
        ],
    },
    timing: Phrases {
        good: &[
            "Take the whelp out right after naps.",
            "Clip claws when the animal is drowsy.",
            "Deworm at intervals set by the vet.",
            "Trickle fresh water in each week.",
        ],
        poor: &[
            "Scold the whelp hours after a puddle.",
            "Clip claws in the middle of a fight.",
            "Deworm never, for parasites are cute.",
            "Change water once the fins go limp.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Distract a barker with a puzzle toy.",
            "Ease itching using oatmeal shampoo.",
            "Offer a hiding den to a timid kitty.",
            "Ring the clinic about refused meals.",
        ],
        poor: &[
            "Outshout a barker with a megaphone.",
            "Ease itching using paint thinner.",
            "Corner a timid kitty with a vacuum.",
            "Celebrate refused meals as a saving.",
        ],
    },
    fact: Phrases {
        good: &[
            "Whiskers help felines judge openings.",
            "Hounds read scent better than faces.",
            "Rodents need to gnaw lifelong.",
            "Goldfish outgrow a round bowl.",
        ],
        poor: &[
            "Whiskers pick up radio broadcasts.",
            "Hounds read scent in alphabetical order.",
            "Rodents need to smoke lifelong.",
            "Goldfish prefer a dry bowl.",
        ],
    },
};
