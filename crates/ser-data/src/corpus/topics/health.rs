//! Health.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const HEALTH: Topic = Topic {
    name: "health",
    goals: &[
        "fall asleep earlier",
        "ease a stiff neck",
        "begin running after a break",
        "eat more vegetables",
        "drink less coffee",
        "stretch before work",
        "recover from a mild cold",
        "keep a regular bedtime",
        "strengthen a weak ankle",
        "relax after a stressful day",
        "improve posture at a desk",
        "stay active during winter",
    ],
    things: &["the routine", "the muscle", "the mattress", "the exercise", "the diet", "the joint"],
    statements: &[
        "Muscles recover during deep sleep.",
        "Daylight sets the clock inside the body.",
        "Beans and oats contain plenty of fibre.",
        "The spine carries the weight of the head.",
        "Walking wakes up the legs after lunch.",
        "Breathing slows down in a quiet room.",
        "Ankles roll outward on uneven ground.",
        "Tea has less caffeine than coffee.",
        "The shoulders rise when the desk is high.",
        "Swimming uses the arms and the back.",
    ],
    method: Phrases {
        good: &[
            "Warm up with gentle lunges and circles.",
            "Breathe out slowly while you exert.",
            "Alternate brisk strides with a stroll.",
            "Support the arch with snug laces.",
        ],
        poor: &[
            "Sprint flat out from a cold start.",
            "Hold every breath until you faint.",
            "Hop on one sprained foot for miles.",
            "Bandage the arch with barbed string.",
        ],
    },
    material: Phrases {
        good: &[
            "Fill half the plate with greens and pulses.",
            "Choose a medium firm pillow.",
            "Keep walnuts and plain yoghurt handy.",
            "Buy cushioned trainers and a foam roller.",
        ],
        poor: &[
            "Fill half the plate with candy floss.",
            "Choose a brick as a pillow.",
            "Keep vodka and doughnuts handy.",
            "Buy lead boots and a cheese grater.",
        ],
    },
    timing: Phrases {
        good: &[
            "Dim the lamps an hour ahead of bed.",
            "Take iron tablets apart from tea.",
            "Have supper well before lying down.",
            "Pause hourly to loosen the wrists.",
        ],
        poor: &[
            "Blast techno an hour ahead of bed.",
            "Take leftover antibiotics with each tea.",
            "Have a feast at four in the night.",
            "Sit frozen until the wrists seize up.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Cool a swollen shin with wrapped ice.",
            "Soothe a sore throat with honey.",
            "Elevate the limb after a twist.",
            "See a physio about lasting numbness.",
        ],
        poor: &[
            "Scald a swollen shin with an iron.",
            "Scrub a sore throat with sandpaper.",
            "Twist the limb again to be even.",
            "Treat lasting numbness with a hammer.",
        ],
    },
    fact: Phrases {
        good: &[
            "Cartilage has a modest blood supply.",
            "Vitamin D is formed in sunlit skin.",
            "Hydration aids concentration and digestion.",
            "Calluses develop where skin is rubbed.",
        ],
        poor: &[
            "Cartilage is a breed of mushroom.",
            "Vitamin D is formed by watching soaps.",
            "Hydration dissolves the human skeleton.",
            "Calluses are messages from the dead.",
        ],
    },
};
