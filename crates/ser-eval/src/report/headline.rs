//! The rows of the headline table, for the terminal and the page.

use super::{Baseline, BaselineKind, Report};
use crate::Estimate;

/// One model in the headline table.
#[derive(Clone, Debug)]
pub(crate) struct Row<'r> {
    pub(crate) name: &'r str,
    pub(crate) accuracy: Estimate,
    /// Accuracy minus Loop 0's.
    pub(crate) gain: Option<f64>,
    pub(crate) gap_closed: Option<f64>,
    /// Pool pairs kept for this iteration.
    pub(crate) kept: Option<u64>,
    pub(crate) precision: Option<f64>,
    pub(crate) trained_on: u64,
    pub(crate) human_labels: Option<u64>,
    /// Whether this iteration's model is the run's result.
    pub(crate) chosen: bool,
    /// True for SER and the baselines, which follow the iterations.
    pub(crate) compared: bool,
    pub(crate) kind: Option<BaselineKind>,
}

/// Loop 0, the later iterations, then SER and the baselines.
pub(crate) fn rows(report: &Report) -> Vec<Row<'_>> {
    let value = |kind| report.baseline(kind).map(|b| b.evaluation.accuracy.value);
    let loop0 = report.iterations.first().map(|r| r.evaluation.accuracy.value).or(value(BaselineKind::Loop0));
    let full = value(BaselineKind::Full);
    let gap = |accuracy: f64| {
        let (floor, top) = loop0.zip(full).filter(|(floor, top)| top > floor)?;
        Some((accuracy - floor) / (top - floor))
    };
    let iterations = report.iterations.iter().map(|iteration| {
        let accuracy = iteration.evaluation.accuracy;
        let later = iteration.number > 0;
        let baseline = report.baseline(BaselineKind::Loop0).filter(|_| !later);
        Row {
            name: &iteration.name,
            accuracy,
            gain: loop0.filter(|_| later).map(|floor| accuracy.value - floor),
            gap_closed: gap(accuracy.value).filter(|_| later),
            kept: iteration.selection.as_ref().map(|s| s.kept),
            precision: iteration.selection.as_ref().and_then(|s| s.precision).map(|p| p.value),
            trained_on: iteration.trained_on,
            human_labels: baseline.map(|b| b.human_labels),
            chosen: iteration.chosen,
            compared: false,
            kind: None,
        }
    });
    // Loop 0 is already among the iterations.
    let repeated = |b: &&Baseline| b.kind == BaselineKind::Loop0 && !report.iterations.is_empty();
    let baselines = report.baselines.iter().filter(|b| !repeated(b)).map(|baseline| Row {
        name: baseline.kind.label(),
        accuracy: baseline.evaluation.accuracy,
        gain: baseline.gain.map(|g| g.value),
        gap_closed: baseline.gap_closed,
        kept: None,
        precision: None,
        trained_on: baseline.trained_on,
        human_labels: Some(baseline.human_labels),
        chosen: false,
        compared: true,
        kind: Some(baseline.kind),
    });
    iterations.chain(baselines).collect()
}

/// A share as a percentage with one decimal, without the sign: `68.6`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// A difference of shares in points, signed, with a true minus: `+11.7`.
pub(crate) fn points(difference: f64) -> String {
    let rounded = (1000.0 * difference).round() / 10.0;
    if rounded == 0.0 { "0.0".to_owned() } else { format!("{rounded:+.1}").replace('-', "\u{2212}") }
}

/// A share as whole per cent: `92 %`.
pub(crate) fn whole_percent(share: f64) -> String {
    // Zero has no minus sign.
    let rounded = (100.0 * share).round() + 0.0;
    format!("{rounded:.0} %").replace('-', "\u{2212}")
}

/// A count with thousands separators: `31,284,837`.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(0.68564), "68.6");
        assert_eq!(
            (points(0.117), points(-0.0234), points(-0.0001)),
            ("+11.7".into(), "\u{2212}2.3".into(), "0.0".into())
        );
        assert_eq!((whole_percent(0.919), whole_percent(-0.001)), ("92 %".into(), "0 %".into()));
        assert_eq!([0, 12, 999, 1000, 31_284_837].map(thousands), ["0", "12", "999", "1,000", "31,284,837"]);
    }
}
