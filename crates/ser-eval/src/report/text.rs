//! The headline table as text.

use super::headline::{Row, percent, points, rows, thousands, whole_percent};
use super::sentences::{few_pairs, few_test_pairs, what_changed, what_steps};
use super::table::aligned;
use super::{BaselineKind, Report, comparison_table};

/// Two lines each, so that the table fits 80 columns.
const HEADINGS: [[&str; COLUMNS]; 2] = [
    ["", "", "", "vs", "gap", "", "labels", "trained", "human"],
    ["", "accuracy", "interval", "Loop 0", "closed", "kept", "right", "on", "labels"],
];

const COLUMNS: usize = 9;

impl Report {
    /// The headline table as plain text: Loop 0, the later iterations, SER and the baselines; then the comparisons of
    /// policies. Ends with a line break.
    pub fn to_text(&self) -> String {
        let rows = rows(self);
        let mut lines: Vec<[String; COLUMNS]> = HEADINGS.iter().map(|line| line.map(str::to_owned)).collect();
        lines.extend(rows.iter().map(cells));
        // Empty columns are left out.
        let filled = |column: usize| {
            lines.iter().skip(HEADINGS.len()).filter_map(|l| l.get(column)).any(|cell| !cell.is_empty())
        };
        let widths: Vec<Option<usize>> = (0..COLUMNS)
            .map(|column| {
                let cells = lines.iter().filter_map(|l| l.get(column));
                filled(column).then(|| cells.map(|cell| cell.chars().count()).max().unwrap_or(0))
            })
            .collect();
        let total: usize = widths.iter().flatten().map(|w| w + 2).sum::<usize>().saturating_sub(2);
        let rule = "\u{2500}".repeat(total);
        let mut text = String::new();
        for (index, line) in lines.iter().enumerate() {
            let after = index.checked_sub(HEADINGS.len()).and_then(|i| rows.get(i));
            let before = index.checked_sub(HEADINGS.len() + 1).and_then(|i| rows.get(i));
            if index == HEADINGS.len() || after.is_some_and(|r| r.compared) && before.is_some_and(|r| !r.compared) {
                text.push_str(&rule);
                text.push('\n');
            }
            text.push_str(&aligned(line, &widths));
        }
        if rows.iter().any(|row| row.chosen) {
            text.push_str("* chosen as the run's result\n");
        }
        let sentences = self.changes.as_ref().map(what_changed).into_iter().chain(what_steps(self));
        let test = self.baseline(BaselineKind::Ser).map(|ser| ser.evaluation.accuracy);
        let validation = self.iterations.iter().rev().find_map(|r| Some((r.validation_pairs?, r.validation_accuracy?)));
        let few = [
            test.and_then(few_test_pairs),
            validation.and_then(|(pairs, accuracy)| few_pairs(pairs, "validation pair", accuracy)),
        ];
        for line in sentences.chain(few.into_iter().flatten().map(|text| format!("Caution: {text}."))) {
            text.push_str(&wrapped(&line));
        }
        if let Some(policy) = self.policy.as_ref().filter(|policy| !policy.comparisons.is_empty()) {
            text.push('\n');
            text.push_str(&comparison_table(&policy.comparisons));
        }
        text
    }
}

fn cells(row: &Row<'_>) -> [String; COLUMNS] {
    let or_empty = |value: Option<String>| value.unwrap_or_default();
    [
        format!("{}{}", row.name, if row.chosen { " *" } else { "" }),
        format!("{} %", percent(row.accuracy.value)),
        format!("{} \u{2013} {}", percent(row.accuracy.low), percent(row.accuracy.high)),
        or_empty(row.gain.map(points)),
        or_empty(row.gap_closed.map(whole_percent)),
        or_empty(row.kept.map(thousands)),
        or_empty(row.precision.map(|p| format!("{} %", percent(p)))),
        thousands(row.trained_on),
        or_empty(row.human_labels.map(thousands)),
    ]
}

/// Wraps a sentence at 80 columns.
fn wrapped(sentence: &str) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in sentence.split(' ') {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > 80 {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += width;
    }
    text.push('\n');
    text
}
