//! Comparisons of policies as a text table.

use super::table::aligned;
use super::{Comparison, percent, thousands};

/// Two lines, so that the table fits 80 columns with names of usual length.
const HEADINGS: [[&str; 9]; 2] = [
    ["", "", "", "", "", "win", "", "std.", "equal"],
    ["", "win", "tie", "lose", "failed", "rate", "interval", "error", "length"],
];

/// Longer names are cut, so that the table fits a terminal.
const LONGEST_NAME: usize = 48;

/// Comparisons as plain text, one per line, followed by the judges. Ends with a line break.
pub fn comparison_table(comparisons: &[Comparison]) -> String {
    let mut lines: Vec<[String; 9]> = HEADINGS.iter().map(|line| line.map(str::to_owned)).collect();
    lines.extend(comparisons.iter().map(cells));
    let widths: Vec<Option<usize>> = (0..9)
        .map(|column| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max())
        .collect();
    let total: usize = widths.iter().flatten().map(|width| width + 2).sum::<usize>().saturating_sub(2);
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        if index == HEADINGS.len() {
            text.push_str(&"\u{2500}".repeat(total));
            text.push('\n');
        }
        text.push_str(&aligned(line, &widths));
    }
    let mut judges: Vec<&str> = comparisons.iter().map(|comparison| comparison.judge.as_str()).collect();
    judges.dedup();
    match judges.as_slice() {
        [] => {}
        [judge] => text.push_str(&format!("judge: {judge}\n")),
        _ => {
            for comparison in comparisons {
                text.push_str(&format!("judge of {}: {}\n", name(comparison), comparison.judge));
            }
        }
    }
    for comparison in comparisons.iter().filter(|comparison| comparison.counts.contradictions > 0) {
        text.push_str(&contradictions(comparison));
    }
    text
}

/// One line on how often the judge contradicted itself.
fn contradictions(comparison: &Comparison) -> String {
    let of = if comparison.against.is_empty() { String::new() } else { format!(" ({})", name(comparison)) };
    let rate =
        comparison.contradiction_rate.map_or(String::new(), |rate| format!(", {} % of those asked", percent(rate)));
    format!("contradicted itself on {} pairs{rate}{of}\n", thousands(comparison.counts.contradictions))
}

fn name(comparison: &Comparison) -> String {
    let name = format!("{} vs {}", comparison.policy, comparison.against);
    if name.chars().count() <= LONGEST_NAME {
        return name;
    }
    name.chars().take(LONGEST_NAME - 1).chain(['\u{2026}']).collect()
}

fn cells(comparison: &Comparison) -> [String; 9] {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "\u{2013}".to_owned());
    let share = |value: f64| format!("{} %", percent(value));
    let counts = comparison.counts;
    [
        name(comparison),
        thousands(counts.wins),
        thousands(counts.ties),
        thousands(counts.losses),
        thousands(counts.failures),
        or_dash(comparison.win_rate.map(|rate| share(rate.value))),
        or_dash(comparison.win_rate.map(|rate| format!("{} \u{2013} {}", percent(rate.low), percent(rate.high)))),
        or_dash(comparison.standard_error.map(percent)),
        or_dash(comparison.length_controlled.map(|rate| share(rate.value))),
    ]
}
