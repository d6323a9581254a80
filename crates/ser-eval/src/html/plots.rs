//! The report's plots.

use ser_core::LearningStatus;

use super::chart::{Anchor, Drawing, Scale, nice_domain, ticks};
use super::markup::Markup;
use crate::report::{BaselineKind, IterationReport, Report, SelectionBin, percent, thousands, whole_percent};
use crate::{Calibration, Estimate};

const WIDTH: f64 = 400.0;
/// Width and height of plots that are shown three in a row.
pub(super) const SMALL_WIDTH: f64 = 320.0;

pub(super) const LEFT: f64 = 46.0;

/// Whether labels fit side by side, each centred in `slot` units. Widths are those of bold text on a phone, where it is
/// larger.
fn fit(labels: &[String], slot: f64) -> bool {
    const CHARACTER: f64 = 7.4;
    labels.iter().all(|label| CHARACTER * label.chars().count() as f64 + 6.0 <= slot)
}

/// Names under the columns of a chart: the iterations' names; their numbers if the names do not fit; every second,
/// third, ... number if the numbers do not fit.
fn loop_labels(iterations: &[&IterationReport], slot: f64) -> Vec<String> {
    let names: Vec<String> = iterations.iter().map(|iteration| iteration.name.clone()).collect();
    if fit(&names, slot) {
        return names;
    }
    let numbers: Vec<String> = iterations.iter().map(|iteration| iteration.number.to_string()).collect();
    let every = (1u32..).find(|every| fit(&numbers, slot * f64::from(*every))).unwrap_or(1) as usize;
    numbers.into_iter().enumerate().map(|(i, n)| if i % every == 0 { n } else { String::new() }).collect()
}

fn percent_label(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// A count that fits beside an axis: `1,500`, `12k`, `1.5M`.
pub(super) fn compact(count: f64) -> String {
    let shorter = |value: f64, unit: char| format!("{}{unit}", (value * 10.0).round() / 10.0);
    if count >= 1e6 {
        shorter(count / 1e6, 'M')
    } else if count >= 1e4 {
        shorter(count / 1e3, 'k')
    } else {
        thousands(count as u64)
    }
}

/// The middle of the `i`th of `n` equal parts of a range.
fn middle(range: (f64, f64), i: usize, n: usize) -> f64 {
    range.0 + (range.1 - range.0) * (i as f64 + 0.5) / n.max(1) as f64
}

/// The status as text.
pub(crate) fn status_name(status: LearningStatus) -> &'static str {
    match status {
        LearningStatus::Status1 => "Status 1",
        LearningStatus::Status2 => "Status 2",
        LearningStatus::Stop => "Stop",
    }
}

/// Test accuracy of every iteration with its interval, and Full as a dashed line (the paper's Figure 2).
pub(crate) fn accuracy_per_loop(report: &Report) -> Markup {
    let full = report.baseline(BaselineKind::Full).map(|b| b.evaluation.accuracy.value);
    let estimates: Vec<Estimate> = report.iterations.iter().map(|r| r.evaluation.accuracy).collect();
    let low = estimates.iter().map(|e| e.low).chain(full).fold(f64::INFINITY, f64::min);
    let high = estimates.iter().map(|e| e.high).chain(full).fold(f64::NEG_INFINITY, f64::max);
    let mut label = "Test accuracy per loop:".to_owned();
    for iteration in &report.iterations {
        label.push_str(&format!(" {} {} %;", iteration.name, percent(iteration.evaluation.accuracy.value)));
    }
    if let Some(full) = full {
        label.push_str(&format!(" Full {} %.", percent(full)));
    }
    // Space above the highest interval for its value.
    let (height, top, bottom) = (256.0, 30.0, 232.0);
    let right = if full.is_some() { WIDTH - 52.0 } else { WIDTH - 10.0 };
    let mut drawing = Drawing::new(WIDTH, height, label);
    let (bounds_low, bounds_high) = nice_domain((low, high), 4.0);
    let domain = (bounds_low.max(0.0), bounds_high.min(1.0));
    let y = Scale { domain, range: (bottom, top) };
    drawing.grid(y, (LEFT, right), &ticks(domain, 4.0), percent_label);
    if let Some(full) = full {
        let at = y.at(full);
        drawing.line("full", (LEFT, at), (right, at));
        drawing.text("label", (right + 6.0, at - 2.0), Anchor::Start, "Full");
        drawing.text("value", (right + 6.0, at + 12.0), Anchor::Start, &percent(full));
    }
    let x = |i| middle((LEFT, right), i, report.iterations.len());
    let points: Vec<(f64, f64)> = estimates.iter().enumerate().map(|(i, e)| (x(i), y.at(e.value))).collect();
    drawing.path("line", &points);
    for (i, (iteration, estimate)) in report.iterations.iter().zip(&estimates).enumerate() {
        let (at, low, high) = (x(i), y.at(estimate.low), y.at(estimate.high));
        drawing.line("whisker", (at, low), (at, high));
        drawing.line("whisker", (at - 4.0, low), (at + 4.0, low));
        drawing.line("whisker", (at - 4.0, high), (at + 4.0, high));
        let hint = format!(
            "{}: {} % ({} to {})",
            iteration.name,
            percent(estimate.value),
            percent(estimate.low),
            percent(estimate.high)
        );
        let class = if iteration.chosen { "dot chosen" } else { "dot" };
        drawing.dot(class, (at, y.at(estimate.value)), if iteration.chosen { 6.0 } else { 4.5 }, &hint);
    }
    // Labels go above the intervals, where no line between two dots runs, and are drawn after all lines.
    let slot = (right - LEFT) / report.iterations.len().max(1) as f64;
    let values: Vec<String> = estimates.iter().map(|estimate| percent(estimate.value)).collect();
    let all = fit(&values, slot);
    let labels = loop_labels(&report.iterations.iter().collect::<Vec<_>>(), slot);
    for (i, (iteration, estimate)) in report.iterations.iter().zip(&estimates).enumerate() {
        let mut over = y.at(estimate.high) - 7.0;
        if let Some(full) = full.map(|full| y.at(full))
            && (over - 12.0..over + 4.0).contains(&full)
        {
            over = full - 6.0;
        }
        if (iteration.chosen || all)
            && let Some(value) = values.get(i)
        {
            drawing.text("value halo", (x(i), over), Anchor::Middle, value);
        }
        if let Some(label) = labels.get(i) {
            drawing.text("tick", (x(i), bottom + 18.0), Anchor::Middle, label);
        }
    }
    drawing.finish()
}

/// Pairs that each iteration adds: Loop 0's human-labelled seed, then the pool pairs kept, those with the right label
/// below those with the wrong one (the paper's Figure 3).
pub(crate) fn kept_per_loop(report: &Report) -> Markup {
    let iterations: Vec<&IterationReport> =
        report.iterations.iter().filter(|r| r.number == 0 || r.selection.is_some()).collect();
    let size = |iteration: &&IterationReport| {
        iteration.selection.as_ref().map_or(iteration.trained_on, |selection| selection.pool)
    };
    let highest = iterations.iter().map(size).max().unwrap_or(0) as f64;
    let mut label = "Pairs per loop:".to_owned();
    for iteration in &iterations {
        label.push_str(&match &iteration.selection {
            None => format!(" {} {} human labels;", iteration.name, iteration.trained_on),
            Some(selection) => format!(" {} {} kept of {};", iteration.name, selection.kept, selection.pool),
        });
    }
    let (height, top, bottom) = (256.0, 30.0, 232.0);
    let right = WIDTH - 10.0;
    let mut drawing = Drawing::new(WIDTH, height, label);
    let y = Scale { domain: (0.0, highest.max(1.0)), range: (bottom, top) };
    drawing.grid(y, (LEFT, right), &ticks(y.domain, 4.0), compact);
    let slot = (right - LEFT) / iterations.len().max(1) as f64;
    let half = (0.32 * slot).min(34.0);
    // A count, with the share of right labels below it if there is one.
    let values: Vec<[String; 2]> = iterations
        .iter()
        .map(|iteration| match &iteration.selection {
            None => [compact(iteration.trained_on as f64), String::new()],
            Some(selection) => {
                let precision = selection.precision.map(|p| whole_percent(p.value)).unwrap_or_default();
                [compact(selection.kept as f64), precision]
            }
        })
        .collect();
    let shown = fit(&values.iter().flatten().cloned().collect::<Vec<_>>(), slot);
    let labels = loop_labels(&iterations, slot);
    for (i, iteration) in iterations.iter().enumerate() {
        let at = middle((LEFT, right), i, iterations.len());
        let x = (at - half, at + half);
        let hint = |what: &str, count: f64| format!("{}: {} {what}", iteration.name, thousands(count.round() as u64));
        let bar_top = match &iteration.selection {
            None => {
                let labelled = iteration.trained_on as f64;
                drawing.bar("human", x, (y.at(0.0), y.at(labelled)), &hint("human labels", labelled));
                labelled
            }
            Some(selection) => {
                let kept = selection.kept as f64;
                // Selected pairs without a gold label are neither right nor wrong; their bar is stacked above both.
                let judged = selection.precision.map_or(kept, |p| p.pairs as f64);
                let correct = selection.precision.map_or(kept, |p| p.pairs as f64 * p.value);
                let pool = selection.pool as f64;
                drawing.bar("pool", x, (y.at(0.0), y.at(pool)), &hint("pairs in the pool", pool));
                let right_name = if selection.precision.is_some() { "kept with the right label" } else { "kept" };
                drawing.bar("right", x, (y.at(0.0), y.at(correct)), &hint(right_name, correct));
                drawing.bar(
                    "wrong",
                    x,
                    (y.at(correct), y.at(judged)),
                    &hint("kept with a wrong label", judged - correct),
                );
                if judged < kept {
                    let hint = hint("kept without a gold label", kept - judged);
                    drawing.bar("unjudged", x, (y.at(judged), y.at(kept)), &hint);
                }
                kept
            }
        };
        if shown && let Some(lines) = values.get(i) {
            let lines: Vec<&String> = lines.iter().filter(|line| !line.is_empty()).collect();
            for (above, line) in lines.iter().rev().enumerate() {
                let over = y.at(bar_top) - 6.0 - 14.0 * above as f64;
                drawing.text("value halo", (at, over), Anchor::Middle, line);
            }
        }
        if let Some(label) = labels.get(i) {
            drawing.text("tick", (at, bottom + 18.0), Anchor::Middle, label);
        }
    }
    drawing.finish()
}

/// The pool of one iteration by Delta, the pairs kept, and above it how often the higher-scored answer is right.
pub(crate) fn delta_histogram(iteration: &IterationReport, bins: &[SelectionBin]) -> Markup {
    let judged: Vec<(&SelectionBin, f64)> = bins
        .iter()
        .filter(|b| b.with_gold > 0)
        .filter_map(|b| Some((b, b.correct? as f64 / b.with_gold as f64)))
        .collect();
    let (height, bottom) = (if judged.is_empty() { 196.0 } else { 306.0 }, 36.0);
    let right = SMALL_WIDTH - 10.0;
    let label = format!("{}: pairs of the pool by Delta, with the share that is labelled right", iteration.name);
    let mut drawing = Drawing::new(SMALL_WIDTH, height, label);
    let x = Scale { domain: (0.0, 1.0), range: (LEFT, right) };
    if !judged.is_empty() {
        let y = Scale { domain: (0.0, 1.0), range: (104.0, 24.0) };
        drawing.text("label", (LEFT, 12.0), Anchor::Start, "labelled right");
        drawing.grid(y, (LEFT, right), &[0.0, 0.5, 1.0], percent_label);
        let points: Vec<_> =
            judged.iter().map(|(b, share)| (x.at(f64::midpoint(b.low, b.high)), y.at(*share))).collect();
        drawing.path("line", &points);
        for ((bin, share), at) in judged.iter().zip(points) {
            let hint = format!(
                "Delta {:.2} to {:.2}: {} of {} pairs with a gold label labelled right",
                bin.low,
                bin.high,
                whole_percent(*share),
                thousands(bin.with_gold)
            );
            drawing.dot("dot", at, 2.5, &hint);
        }
    }
    let highest = bins.iter().map(|b| b.pairs).max().unwrap_or(0).max(1) as f64;
    let y = Scale { domain: (0.0, highest), range: (height - bottom, height - bottom - 140.0) };
    drawing.text("label", (LEFT, height - bottom - 148.0), Anchor::Start, "pairs");
    drawing.grid(y, (LEFT, right), &ticks(y.domain, 3.0), compact);
    for bin in bins {
        let ends = (x.at(bin.low) + 0.6, x.at(bin.high) - 0.6);
        let hint = format!(
            "Delta {:.2} to {:.2}: {} pairs, {} kept",
            bin.low,
            bin.high,
            thousands(bin.pairs),
            thousands(bin.kept)
        );
        drawing.bar("pool", ends, (y.at(0.0), y.at(bin.pairs as f64)), &hint);
        drawing.bar("right", ends, (y.at(0.0), y.at(bin.kept as f64)), &hint);
    }
    for value in [0.0, 0.25, 0.5, 0.75, 1.0] {
        drawing.text("tick", (x.at(value), height - bottom + 16.0), Anchor::Middle, &format!("{value}"));
    }
    drawing.text("label", (f64::midpoint(LEFT, right), height - 4.0), Anchor::Middle, "Delta = |p_A \u{2212} p_B|");
    drawing.finish()
}

/// Accuracy against confidence: points on the diagonal are calibrated.
pub(crate) fn reliability(calibration: &Calibration) -> Markup {
    let (height, top, bottom) = (304.0, 14.0, 256.0);
    let right = WIDTH - 10.0;
    let rows: Vec<_> = calibration.bins.iter().filter_map(|bin| Some((bin, bin.confidence?, bin.accuracy?))).collect();
    let lowest = rows.iter().map(|(_, _, accuracy)| *accuracy).fold(0.5, f64::min);
    let mut drawing = Drawing::new(WIDTH, height, "Accuracy against confidence of SER's model".to_owned());
    let x = Scale { domain: (0.5, 1.0), range: (LEFT, right) };
    let y = Scale { domain: nice_domain((lowest, 1.0), 5.0), range: (bottom, top) };
    drawing.grid(y, (LEFT, right), &ticks(y.domain, 5.0), percent_label);
    drawing.line("full", (x.at(0.5), y.at(0.5)), (x.at(1.0), y.at(1.0)));
    drawing.path("line", &rows.iter().map(|(_, c, a)| (x.at(*c), y.at(*a))).collect::<Vec<_>>());
    let most = rows.iter().map(|(bin, ..)| bin.pairs).max().unwrap_or(1) as f64;
    for (bin, confidence, accuracy) in rows {
        let hint = format!(
            "{} pairs: confidence {} %, accuracy {} %",
            thousands(bin.pairs),
            percent(confidence),
            percent(accuracy)
        );
        // The area is proportional to the number of pairs.
        let radius = 3.0 + 5.0 * (bin.pairs as f64 / most).sqrt();
        drawing.dot("dot", (x.at(confidence), y.at(accuracy)), radius, &hint);
    }
    for value in [0.5, 0.6, 0.7, 0.8, 0.9, 1.0] {
        drawing.text("tick", (x.at(value), bottom + 21.0), Anchor::Middle, &percent_label(value));
    }
    drawing.text("label", (f64::midpoint(LEFT, right), height - 6.0), Anchor::Middle, "confidence");
    drawing.finish()
}

/// An estimate as a dot on its interval, for a table cell; `mark` is a thin line at a reference value.
pub(crate) fn interval(estimate: Estimate, domain: (f64, f64), mark: Option<f64>, strong: bool) -> Markup {
    let label = format!("{} to {} %", percent(estimate.low), percent(estimate.high));
    let mut drawing = Drawing::new(130.0, 18.0, label.clone());
    let x = Scale { domain, range: (6.0, 124.0) };
    if let Some(mark) = mark {
        drawing.line("mark", (x.at(mark), 0.0), (x.at(mark), 18.0));
    }
    drawing.line("whisker", (x.at(estimate.low), 9.0), (x.at(estimate.high), 9.0));
    drawing.dot(if strong { "dot chosen" } else { "dot" }, (x.at(estimate.value), 9.0), 4.0, &label);
    drawing.finish()
}
