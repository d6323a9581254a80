//! Money.

use super::Topic;
use crate::corpus::cues::Phrases;

pub(super) const MONEY: Topic = Topic {
    name: "money",
    goals: &[
        "save for a first flat",
        "draw up a monthly budget",
        "pay off a credit card",
        "compare two bank accounts",
        "split rent with flatmates",
        "read a payslip",
        "ask for a higher salary",
        "plan for retirement",
        "teach a teenager about saving",
        "lower the electricity bill",
        "track spending on groceries",
        "lend money to a relative",
    ],
    things: &["the budget", "the account", "the loan", "the invoice", "the savings plan", "the pension"],
    statements: &[
        "Rent is due at the start of the month.",
        "Banks charge interest on an overdraft.",
        "A budget lists income and expenses.",
        "The payslip shows tax in a separate row.",
        "Savings sit in an account of their own.",
        "Prices at the market change with the season.",
        "A loan is repaid in monthly parts.",
        "The pension fund invests in bonds.",
        "Bills arrive by post or by mail.",
        "Cash in the jar covers coffee and snacks.",
    ],
    method: Phrases {
        good: &[
            "Automate transfers on salary day.",
            "Pay the costliest debt ahead of the rest.",
            "Sort receipts into labelled envelopes.",
            "Negotiate with comparable figures at hand.",
        ],
        poor: &[
            "Bet the transfers on a greyhound.",
            "Ignore the costliest debt and its reminders.",
            "Shred receipts to feed the goldfish.",
            "Negotiate by sobbing under the desk.",
        ],
    },
    material: Phrases {
        good: &[
            "Hold broad index funds with tiny costs.",
            "Open a deposit with state protection.",
            "Build a spreadsheet with dated entries.",
            "Keep the tenancy deed and warranties filed.",
        ],
        poor: &[
            "Hold lottery stubs and fool's gold.",
            "Open a tab with a loan shark.",
            "Build a bonfire with dated entries.",
            "Keep the tenancy deed in a leaky boat.",
        ],
    },
    timing: Phrases {
        good: &[
            "Settle the card before interest accrues.",
            "Shop for cover ahead of renewal.",
            "Rebalance the portfolio every January.",
            "Claim rebates inside the filing deadline.",
        ],
        poor: &[
            "Settle the card after the bailiffs knock.",
            "Shop for cover while the house burns.",
            "Rebalance the portfolio at each sneeze.",
            "Claim rebates from a previous life.",
        ],
    },
    remedy: Phrases {
        good: &[
            "Arrange instalments with the creditor.",
            "Dispute a wrong charge in writing.",
            "Trim subscriptions if income falls.",
            "Seek a charity adviser about arrears.",
        ],
        poor: &[
            "Arrange a disguise against the creditor.",
            "Dispute a wrong charge with eggs.",
            "Triple subscriptions if income falls.",
            "Cover arrears through counterfeit notes.",
        ],
    },
    fact: Phrases {
        good: &[
            "Compound growth rewards an early saver.",
            "Inflation erodes idle banknotes.",
            "Diversified holdings fluctuate less.",
            "Mortgages are secured against property.",
        ],
        poor: &[
            "Compound growth is a skin disease.",
            "Inflation fattens idle banknotes.",
            "Diversified holdings attract vampires.",
            "Mortgages vanish when nobody opens them.",
        ],
    },
};
