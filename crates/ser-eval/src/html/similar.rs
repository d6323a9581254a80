//! The section on similar answers: the paper's Figure 6.

use super::chart::{Anchor, Drawing, Scale, ticks};
use super::markup::Markup;
use super::plots::{LEFT, SMALL_WIDTH, compact};
use super::sections::{few, legend, section};
use crate::ScoreDifferences;
use crate::report::{IterationReport, Report, thousands, whole_percent};

/// Score differences of similar answers under each iteration's model.
pub(crate) fn similar_pairs(report: &Report) -> Markup {
    let iterations: Vec<_> =
        report.iterations.iter().filter_map(|iteration| Some((iteration, iteration.similar_pairs.as_ref()?))).collect();
    let Some((_, first)) = iterations.first() else {
        return Markup::new();
    };
    let most = iterations.iter().flat_map(|(_, d)| &d.histogram).map(|bin| bin.pairs).max().unwrap_or(0);
    let mut multiples = Markup::new();
    for (iteration, differences) in &iterations {
        let mut figure = Markup::new();
        figure.open("figcaption", &[]).element("strong", &[], &iteration.name);
        let share = differences.right as f64 / differences.pairs.max(1) as f64;
        let [_, _, median, _, _] = differences.percentiles;
        figure.element("span", &[], format!(" median {}, {} right", signed(median), whole_percent(share)));
        figure.close("figcaption").append(&difference_histogram(iteration, differences, most));
        multiples.wrap("figure", &[], &figure);
    }
    let mut inside = Markup::new();
    few(&mut inside, first.pairs, "pair", first.right as f64 / first.pairs.max(1) as f64);
    inside.append(&legend(&[("right", "chosen answer scores higher"), ("wrong", "rejected answer scores higher")]));
    inside.wrap("div", &[("class", &"multiples")], &multiples);
    let note = format!(
        "Raw score differences of the {} test pairs whose two answers are most alike, under the model of each loop, the last \
         included: the quarter of the test pairs with the highest overlap of character trigrams (Dice's coefficient, {:.2} or \
         more). The outer bars also count differences beyond them. Raw scores have no unit, so compare sides and shapes \
         more than widths.",
        thousands(first.pairs + first.not_finite),
        first.similarity
    );
    section("Similar answers told apart", &note, &inside)
}

/// Score differences of the test pairs whose answers are most alike, under one iteration's model (the paper's Figure
/// 6).
fn difference_histogram(iteration: &IterationReport, differences: &ScoreDifferences, most: u64) -> Markup {
    let (height, top, bottom) = (196.0, 20.0, 160.0);
    let right = SMALL_WIDTH - 10.0;
    let bins = &differences.histogram;
    let label = format!("{}: similar pairs by the difference of their scores", iteration.name);
    let mut drawing = Drawing::new(SMALL_WIDTH, height, label);
    let ends = bins.first().zip(bins.last()).map_or((-1.0, 1.0), |(first, last)| (first.low, last.high));
    let x = Scale { domain: ends, range: (LEFT, right) };
    let y = Scale { domain: (0.0, most.max(1) as f64), range: (bottom, top) };
    drawing.text("label", (LEFT, top - 8.0), Anchor::Start, "pairs");
    drawing.grid(y, (LEFT, right), &ticks(y.domain, 3.0), compact);
    for bin in bins {
        let class = if bin.low < 0.0 { "wrong" } else { "right" };
        let hint = format!("{} to {}: {} pairs", signed(bin.low), signed(bin.high), thousands(bin.pairs));
        drawing.bar(class, (x.at(bin.low) + 0.6, x.at(bin.high) - 0.6), (y.at(0.0), y.at(bin.pairs as f64)), &hint);
    }
    drawing.line("mark", (x.at(0.0), top), (x.at(0.0), bottom));
    for value in ticks(ends, 4.0) {
        drawing.text("tick", (x.at(value), bottom + 16.0), Anchor::Middle, &signed(value));
    }
    drawing.text("label", (f64::midpoint(LEFT, right), height - 4.0), Anchor::Middle, "r_chosen \u{2212} r_rejected");
    drawing.finish()
}

/// Formats a score difference with three significant digits and a true minus.
fn signed(value: f64) -> String {
    let digits = if value == 0.0 { 0.0 } else { (2.0 - value.abs().log10().floor()).clamp(0.0, 6.0) };
    let text = format!("{value:.*}", digits as usize);
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    text.replace('-', "\u{2212}")
}
