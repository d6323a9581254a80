//! Computing.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const COMPUTING: Topic = Topic {
    name: "computing",
    goals: &[
        "speed up an ageing laptop",
        "recover a deleted folder",
        "set up a home network",
        "learn a programming language",
        "organise thousands of photos",
        "automate a weekly report",
        "choose a text editor",
        "move files to a new computer",
        "debug a crashing script",
        "write a sorting function",
        "secure a mail account",
        "host a small website",
    ],
    things: &["the laptop", "the folder", "the script", "the router", "the database", "the keyboard"],
    statements: &[
        "Files live in folders on the disk.",
        "A script runs its lines from the top.",
        "The router hands an address to each device.",
        "Memory holds the programs in use.",
        "Browsers keep copies of the pages they show.",
        "A loop visits the items of a list.",
        "The editor colours keywords and comments.",
        "Servers answer requests over the network.",
        "Tables store rows and columns of values.",
        "The fan spins up under a heavy load.",
    ],
    method: Phrases {
        good: &[
            "Profile the code before tuning loops.",
            "Commit small patches with clear notes.",
            "Reproduce the crash in a minimal case.",
            "Encrypt the partition with a passphrase.",
        ],
        poor: &[
            "Delete loops until the fan goes quiet.",
            "Commit passwords with the entire recycle bin.",
            "Hammer keys until the crash gets bored.",
            "Encrypt the partition and eat the passphrase.",
        ],
    },
    material: Phrases {
        good: &[
            "Install a solid state drive and spare memory.",
            "Pick a distribution with long support.",
            "Use a static analyser and unit tests.",
            "Buy shielded cable and a managed switch.",
        ],
        poor: &[
            "Install nine antivirus toolbars and a screensaver.",
            "Pick a cracked release full of trojans.",
            "Use a ouija board and wishful thinking.",
            "Buy a coat hanger for the ethernet.",
        ],
    },
    timing: Phrases {
        good: &[
            "Patch the kernel in a maintenance window.",
            "Rotate credentials each quarter.",
            "Flush caches after the migration completes.",
            "Archive logs before the quota is hit.",
        ],
        poor: &[
            "Patch the kernel in a live surgery.",
            "Rotate credentials once per century.",
            "Yank the plug while the migration runs.",
            "Archive logs after the disk has melted.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Roll back to the latest snapshot.",
            "Restore lost rows from the replica.",
            "Reseat the module if booting fails.",
            "Quarantine malware in a sandbox.",
        ],
        poor: &[
            "Pour coffee over the latest snapshot.",
            "Retype lost rows from imagination.",
            "Freeze the module if booting fails.",
            "Forward malware to your colleagues.",
        ],
    },
    fact: Phrases {
        good: &[
            "Binary search halves the range per probe.",
            "Compilers translate source into machine instructions.",
            "Parity bits reveal a flipped digit.",
            "Threads contend for a mutex.",
        ],
        poor: &[
            "Binary search works best on soup.",
            "Compilers translate source into whale song.",
            "Parity bits leak from the monitor.",
            "Threads are knitted by the vendor.",
        ],
    },
};
